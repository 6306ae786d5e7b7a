"""django-debug-toolbar with all its panels, and its store in memory."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

APPS = ["debug_toolbar"]
MIDDLEWARE_BEFORE = ["debug_toolbar.middleware.DebugToolbarMiddleware"]
MIDDLEWARE_AFTER: list[str] = []
SETTINGS: dict[str, Any] = {
    "DEBUG_TOOLBAR_CONFIG": {
        "SHOW_TOOLBAR_CALLBACK": "tests.observers.with_toolbar.is_shown",
        "RESULTS_CACHE_SIZE": 10_000,
    },
}
URLS = [("__debug__/", "debug_toolbar.urls")]


def start() -> None:
    pass


def mark(who: str) -> None:
    pass


def is_shown(request: HttpRequest) -> bool:
    return request.path != "/report/"


def report() -> list[Any]:
    from debug_toolbar.store import get_store

    store = get_store()
    return [dict(store.panels(request_id)) for request_id in store.request_ids()]

"""structlog with django-structlog, which binds context variables to each request."""

from __future__ import annotations

from typing import Any

import structlog

from tests.observers import journal

APPS = ["django_structlog"]
MIDDLEWARE_BEFORE: list[str] = []
MIDDLEWARE_AFTER = ["django_structlog.middlewares.RequestMiddleware"]
SETTINGS: dict[str, Any] = {
    "DJANGO_STRUCTLOG_TRUST_UPSTREAM_REQUEST_ID": True,
    "DJANGO_STRUCTLOG_TRUST_UPSTREAM_CORRELATION_ID": True,
}
URLS: list[tuple[str, str]] = []


def start() -> None:
    def write(logger: Any, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        journal.write(dict(event))
        raise structlog.DropEvent

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.dict_tracebacks,
            write,
        ]
    )


def mark(who: str) -> None:
    structlog.contextvars.bind_contextvars(who=who)
    structlog.get_logger().info("marked")


def report() -> list[Any]:
    return []

"""A project that keeps everything in its thread and its connection: each answer says whose state it has seen.

Nothing but Django, SQLite and default settings. ``AGE`` in the environment is CONN_MAX_AGE, ``SIDE`` the handler.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import django
from asgiref.sync import sync_to_async
from django.conf import settings

settings.configure(
    SECRET_KEY="x" * 50,
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    USE_I18N=True,
    LOGGING_CONFIG=None,
    INSTALLED_APPS=["django.contrib.contenttypes"],
    MIDDLEWARE=[f"{__name__}.Owner", *os.environ.get("MORE", "").split()],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ["DATABASE"],
            "CONN_MAX_AGE": int(os.environ["AGE"]),
        }
    },
)
django.setup()

from django.conf.urls.i18n import i18n_patterns  # noqa: E402
from django.core.signals import request_finished, request_started  # noqa: E402
from django.db import connection  # noqa: E402
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse  # noqa: E402
from django.urls import path  # noqa: E402
from django.utils.decorators import sync_only_middleware  # noqa: E402
from django.utils.deprecation import MiddlewareMixin  # noqa: E402

local = threading.local()
counts = {"requests": 0, "finished elsewhere": 0, "left behind": 0}
from tests.e2e.promise_kinds import ROWS_COUNT  # noqa: E402

NUMBERS = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS_COUNT}) SELECT i FROM n"


class Counter:
    """An execute_wrapper of one request."""

    count = 0

    def __call__(self, execute: Callable[..., Any], *args: Any) -> Any:
        self.count += 1
        return execute(*args)


class Owner(MiddlewareMixin):
    def process_request(self, request: Any) -> None:
        local.owner = connection.owner = request.GET["owner"]  # type: ignore[attr-defined]
        request.counter = Counter()
        if any(isinstance(wrapper, Counter) for wrapper in connection.execute_wrappers):
            counts["left behind"] += 1
        connection.execute_wrappers.append(request.counter)
        with connection.cursor() as cursor:
            cursor.execute("CREATE TEMP TABLE IF NOT EXISTS owner (name TEXT)")
            cursor.execute("DELETE FROM owner")
            cursor.execute("INSERT INTO owner VALUES (%s)", [local.owner])

    def process_response(self, request: Any, response: Any) -> Any:
        response._resource_closers.append(lambda: setattr(local, "closed", request.META["QUERY_STRING"].encode()))
        return response


@sync_only_middleware
def around(get_response: Any) -> Any:
    """Middleware that is only sync: the view behind it is async, or below another segment."""
    return lambda request: get_response(request)


def begin(scope: Any, **kwargs: Any) -> None:
    local.begun = scope["query_string"]


def finish(**kwargs: Any) -> None:
    counts["requests"] += 1
    if not getattr(local, "begun", None) or local.begun != getattr(local, "closed", None):
        counts["finished elsewhere"] += 1
    local.begun = local.closed = None


request_started.connect(begin)
request_finished.connect(finish)


def state(request: Any) -> dict[str, Any]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM owner")
        row = cursor.fetchone()
    begun = getattr(local, "begun", None) == request.META["QUERY_STRING"].encode()
    return {
        "local": getattr(local, "owner", None),
        "connection": getattr(connection, "owner", None),
        "table": row and row[0],
        "thread": request.GET["owner"] if begun else "another's",
    }


def page(request: Any) -> HttpResponse:
    return JsonResponse(state(request))


async def apage(request: Any) -> HttpResponse:
    found = {}
    for number in range(3):
        found |= {f"{key} {number}": value for key, value in (await sync_to_async(state)(request)).items()}
        await asyncio.sleep(0.002)  # a view that waits: others come in between
    return JsonResponse(found)


def stream(request: Any) -> HttpResponse:
    return StreamingHttpResponse(json.dumps(state(request)) for _ in range(1))


async def astream(request: Any) -> HttpResponse:
    async def parts() -> AsyncIterator[str]:
        yield "["
        for _ in range(3):
            yield json.dumps(await sync_to_async(state)(request)) + ","
            await asyncio.sleep(0.002)
        yield "{}]"

    return StreamingHttpResponse(parts())


def fail(request: Any) -> HttpResponse:
    raise ZeroDivisionError


def handler500(request: Any) -> HttpResponse:
    return JsonResponse(state(request), status=500)


def export(request: Any) -> HttpResponse:
    """The cursor of the view is read while the content is sent."""
    cursor = connection.cursor()
    cursor.execute(NUMBERS)
    return StreamingHttpResponse(f"{number}\n" for (number,) in cursor)


def lines() -> Iterator[str]:
    cursor = connection.cursor()
    cursor.execute(NUMBERS)
    while rows := cursor.fetchmany(100):
        yield "".join(f"{number:400}\n" for (number,) in rows)


def generator(request: Any) -> HttpResponse:
    return StreamingHttpResponse(lines())


async def queries(request: Any) -> HttpResponse:
    for _ in range(3):
        await sync_to_async(state)(request)
    return JsonResponse({"count": request.counter.count})


def report(request: Any) -> HttpResponse:
    return JsonResponse(counts)


urlpatterns = [
    path("sync/", page),
    path("async/", apage),
    path("stream/", stream),
    path("astream/", astream),
    path("fail/", fail),
    path("export/", export),
    path("generator/", generator),
    path("queries/", queries),
    path("report/", report),
    *i18n_patterns(path("page/", page)),
]

application = importlib.import_module(os.environ["SIDE"]).get_asgi_application()

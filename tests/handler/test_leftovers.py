"""What a request leaves on its thread for the next: as in a WSGI server with threads, but nothing in its connections.

Django's ASGI handler ends the thread with the request. gunicorn's ``gthread`` and ours use it again. Thread-locals may
survive that in both; a transaction, a wrapper around queries and a log of them never do in ours.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection, connections, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import RequestFactory
from django.urls import path

from fullduplex.handler.application import ASGIHandler
from fullduplex.threads.context import get_pool
from tests.handler.asgi_driver import request as ask
from tests.handler.concurrency import ALIAS, CLEAN, closed_connections, connection_state, noted_logs
from tests.handler.project import project

local = threading.local()
NOTHING = {**CLEAN, "local": False, "attribute": False}


@pytest.fixture
def database(django_db_blocker: Any, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    settings.FULLDUPLEX = {"THREADS_COUNT": 1}
    options = {**connections.settings["default"], "NAME": str(tmp_path / "db"), "CONN_MAX_AGE": 60}
    monkeypatch.setitem(connections.settings, ALIAS, options)
    get_pool().close()
    with django_db_blocker.unblock(), noted_logs(), closed_connections():
        yield
        get_pool().close()


def watch(execute: Any, *args: Any) -> Any:
    return execute(*args)


def query() -> None:
    with connections[ALIAS].cursor() as cursor:
        cursor.execute("SELECT 1")


def leave_local() -> None:
    local.left = True


def leave_attribute() -> None:
    connection.left = True  # type: ignore[attr-defined]


def leave_transaction() -> None:
    transaction.atomic(using=ALIAS).__enter__()
    query()


def leave_autocommit_off() -> None:
    transaction.set_autocommit(False, using=ALIAS)
    query()


def leave_on_commit() -> None:
    transaction.atomic(using=ALIAS).__enter__()
    transaction.on_commit(query, using=ALIAS)


def leave_wrapper() -> None:
    query()
    connections[ALIAS].execute_wrappers.append(watch)


def leave_wrapper_unconnected() -> None:
    """The connection opens while it is there already."""
    connections[ALIAS].execute_wrappers.append(watch)
    query()


def leave_wrapper_after_another() -> None:
    """And now one that had been there when it opened, and was taken away in time, must not come back."""
    with connections[ALIAS].execute_wrapper(lambda execute, *args: execute(*args)):
        query()
    connections[ALIAS].execute_wrappers.append(watch)


def leave_debug_cursor() -> None:
    connections[ALIAS].force_debug_cursor = True
    query()


LEAVING: dict[str, Callable[[], None]] = {
    "local": leave_local,
    "attribute": leave_attribute,
    "transaction": leave_transaction,
    "autocommit": leave_autocommit_off,
    "on commit": leave_on_commit,
    "wrapper": leave_wrapper,
    "wrapper unconnected": leave_wrapper_unconnected,
    "wrapper after another": leave_wrapper_after_another,
    "debug cursor": leave_debug_cursor,
}


def leave_sync(request: HttpRequest, kind: str) -> HttpResponse:
    LEAVING[kind]()
    return HttpResponse(str(threading.get_ident()))


async def leave_async(request: HttpRequest, kind: str) -> HttpResponse:
    return await sync_to_async(leave_sync)(request, kind)


def look(request: HttpRequest) -> HttpResponse:
    database: Any = connections[ALIAS]
    try:
        state = connection_state(database)
    except Exception as error:  # gthread's thread cannot be used any more
        state = {"error": repr(error)}
    local_state = {"local": hasattr(local, "left"), "attribute": hasattr(connection, "left")}
    return JsonResponse({"thread": str(threading.get_ident()), "found": {**state, **local_state}})


ROUTES = [path("sync/<kind>/", leave_sync), path("async/<kind>/", leave_async), path("look/", look)]


def in_wsgi(where: str) -> tuple[bytes, dict[str, Any]]:
    application = WSGIHandler()

    def serve(where: str) -> bytes:
        response = application(RequestFactory().get(where).environ, lambda *args: None)
        try:
            return b"".join(response)
        finally:
            response.close()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(serve, where).result(), json.loads(thread.submit(serve, "/look/").result())


def in_ours(where: str) -> tuple[bytes, dict[str, Any]]:
    async def both() -> tuple[bytes, dict[str, Any]]:
        application = ASGIHandler()
        return (await ask(application, where)).body, json.loads((await ask(application, "/look/")).body)

    return asyncio.run(both())


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("kind", LEAVING)
def test_the_next_request_on_the_thread_finds_no_more_than_in_wsgi_and_clean_connections(kind: str, mode: str) -> None:
    with project(*ROUTES):
        wsgi_thread, theirs = in_wsgi(f"/{mode}/{kind}/")
        thread, ours = in_ours(f"/{mode}/{kind}/")
    assert thread.decode() == ours["thread"]
    assert wsgi_thread.decode() == theirs["thread"]
    assert theirs["found"] != NOTHING or kind == "autocommit"  # Django closes such a connection: it has left something
    assert {**ours["found"], **CLEAN} == ours["found"]
    for what in ("local", "attribute"):
        assert ours["found"][what] in (False, theirs["found"][what])

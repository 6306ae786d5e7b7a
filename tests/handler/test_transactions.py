"""What a view leaves open in its database is nobody else's: Django's handler against ours, on a database in a file.

Django's has a connection for each request, which dies with it; ours are used again.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections, transaction
from django.db.backends.sqlite3.base import DatabaseWrapper
from django.http import HttpResponse, JsonResponse
from django.urls import path

from fullduplex.handler.application import ASGIHandler
from fullduplex.threads.context import get_pool
from tests.handler.asgi_driver import Connection, http_scope
from tests.handler.project import project
from tests.handler.test_differential import DjangoHandler, ask, log

ALIAS = "leaks"
opened: list[Any] = []  # the driver's connections; Django leaves those with a transaction to the garbage collection


@pytest.fixture
def database(django_db_blocker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    def noted(wrapper: DatabaseWrapper, params: Any) -> Any:
        connection = get_new_connection(wrapper, params)
        opened.append(connection)
        return connection

    get_new_connection = DatabaseWrapper.get_new_connection
    monkeypatch.setattr(DatabaseWrapper, "get_new_connection", noted)
    options = {**connections.settings["default"], "NAME": str(tmp_path / "db"), "CONN_MAX_AGE": None}
    monkeypatch.setitem(connections.settings, ALIAS, options)
    get_pool().close()
    logging.disable(logging.CRITICAL)
    with django_db_blocker.unblock():
        execute("CREATE TABLE leak (kind TEXT)")
        connections[ALIAS].close()
        yield options
    logging.disable(logging.NOTSET)
    get_pool().close()
    del connections[ALIAS]
    close_opened()


def close_opened() -> None:
    for connection in opened:
        connection.close()
    opened.clear()


def execute(statement: str, *parameters: str) -> list[Any]:
    with connections[ALIAS].cursor() as cursor:
        cursor.execute(statement, parameters)
        rows: list[Any] = cursor.fetchall()
    return rows


# Views -------------------------------------------------------------------------------------------


def begin() -> None:
    transaction.set_autocommit(False, using=ALIAS)


def enter() -> None:
    transaction.atomic(using=ALIAS).__enter__()
    transaction.on_commit(lambda: log.append("committed"), using=ALIAS)


def enter_and_condemn() -> None:
    enter()
    transaction.set_rollback(True, using=ALIAS)


def enter_inside() -> None:
    """The savepoint that is left open takes the place of the block around it, which is then left open, too."""
    with transaction.atomic(using=ALIAS):
        enter()


LEAKS: dict[str, Callable[[], None]] = {
    "autocommit": begin,
    "atomic": enter,
    "condemned": enter_and_condemn,
    "nested": enter_inside,
}


def insert(kind: str) -> None:
    execute("INSERT INTO leak VALUES (%s)", kind)


def leave_open(kind: str, raises: bool, write: bool = True) -> None:
    LEAKS[kind]()
    if kind != "condemned" and write:
        insert(kind)
    if raises:
        raise ZeroDivisionError(kind)


def leak_sync(request: Any, kind: str, raises: str, write: str) -> HttpResponse:
    leave_open(kind, raises == "raises", write == "writes")
    return HttpResponse(kind)


async def leak_async(request: Any, kind: str, raises: str, write: str) -> HttpResponse:
    await sync_to_async(leave_open)(kind, False, write == "writes")
    log.append(await sync_to_async(state)())  # the request itself is still in it
    if raises == "raises":
        raise ZeroDivisionError(kind)
    return HttpResponse(kind)


def raise_inside(request: Any) -> HttpResponse:
    """No leak: the block is left by the exception."""
    with transaction.atomic(using=ALIAS):
        insert("raised")
        raise ZeroDivisionError


def state() -> dict[str, Any]:
    connection = connections[ALIAS]
    found = {
        "atomic": connection.in_atomic_block,
        "autocommit": connection.get_autocommit(),
        "savepoints": len(connection.savepoint_ids),
        "condemned": connection.in_atomic_block and connection.get_rollback(),
        "on_commit": len(connection.run_on_commit),
    }
    if not found["condemned"]:
        found["rows"] = len(execute("SELECT * FROM leak"))
    return found


def look(request: Any) -> JsonResponse:
    return JsonResponse(state())


async def look_async(request: Any) -> JsonResponse:
    return JsonResponse(await sync_to_async(state)())


ROUTES = [
    path("sync/leak/<kind>/<raises>/<write>/", leak_sync),
    path("async/leak/<kind>/<raises>/<write>/", leak_async),
    path("sync/raise/", raise_inside),
    path("sync/look/", look),
    path("async/look/", look_async),
]
MODES = ("sync", "async")
NOTHING = {"atomic": False, "autocommit": True, "savepoints": 0, "condemned": False, "on_commit": 0, "rows": 0}


# One request after the other ---------------------------------------------------------------------


async def leak_then_look(application: Any, where: str, mode: str) -> list[dict[str, Any]]:
    return [await ask(application, path, "GET", b"") for path in (where, f"/{mode}/look/")]


def in_both(where: str, mode: str) -> list[dict[str, Any]]:
    """Return the answers to a leak and to the request after it, in which the handlers do not differ."""
    seen = []
    with project(*ROUTES):
        for application in (DjangoHandler(), ASGIHandler()):
            seen.append(asyncio.run(leak_then_look(application, where, mode)))
            get_pool().close()
            close_opened()
    assert seen[1] == seen[0]
    return seen[1]


@pytest.mark.parametrize("atomic_requests", [False, True])
@pytest.mark.parametrize("raises", ["raises", "returns"])
@pytest.mark.parametrize("kind", LEAKS)
@pytest.mark.parametrize("mode", MODES)
def test_the_next_request_sees_nothing_of_a_transaction_that_was_left_open(
    database: dict[str, Any], mode: str, kind: str, raises: str, atomic_requests: bool
) -> None:
    database["ATOMIC_REQUESTS"] = atomic_requests
    leaking, looking = in_both(f"/{mode}/leak/{kind}/{raises}/writes/", mode)
    answers = mode == "sync" or not atomic_requests  # Django refuses ATOMIC_REQUESTS with async views
    if answers:
        fails = raises == "raises" or (atomic_requests and kind == "autocommit")
        assert leaking["status"] == (500 if fails else 200)
        expected = {**NOTHING, "atomic": atomic_requests, "autocommit": not atomic_requests}
        assert json.loads(looking["content"]) == expected
    assert "committed" not in leaking["log"] + looking["log"]


@pytest.mark.usefixtures("database")
def test_an_exception_inside_a_block_leaves_nothing_open() -> None:
    leaking, looking = in_both("/sync/raise/", "sync")
    assert leaking["status"] == 500
    assert json.loads(looking["content"]) == NOTHING


# Many at once ------------------------------------------------------------------------------------


async def answer(application: Any, where: str) -> tuple[int, bytes]:
    connection = Connection(application, http_scope(where))
    connection.put(type="http.request", body=b"", more_body=False)
    await connection.end()
    return connection.events.get_nowait()["status"], connection.events.get_nowait()["body"]


async def all_at_once(application: Any, *where: str) -> list[tuple[int, bytes]]:
    return await asyncio.gather(*(answer(application, path) for path in where))


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("threads_count", [1, 3, 16])
def test_of_many_at_once_none_sees_what_another_leaves_open(threads_count: int) -> None:
    leaks = [f"/{mode}/leak/{kind}/{end}/reads/" for mode in MODES for kind in LEAKS for end in ("raises", "returns")]
    where = [path for leak in leaks for path in (leak, "/sync/look/", "/async/look/")]
    with project(*ROUTES, FULLDUPLEX={"THREADS_COUNT": threads_count}):
        theirs = asyncio.run(all_at_once(DjangoHandler(), *where))
        close_opened()
        ours = asyncio.run(all_at_once(ASGIHandler(), *where))
    assert ours == theirs
    assert [json.loads(body) for path, (_, body) in zip(where, ours, strict=True) if "look" in path] == [
        NOTHING
    ] * 2 * len(leaks)


@pytest.mark.usefixtures("database")
def test_what_is_left_open_blocks_no_writer_behind_it() -> None:
    """With Django the lock of SQLite stays until the connection is collected."""
    leaks = [f"/{mode}/leak/{kind}/returns/writes/" for mode in MODES for kind in LEAKS]
    with project(*ROUTES, FULLDUPLEX={"THREADS_COUNT": 2}) as application:
        answers = asyncio.run(all_at_once(application, *leaks, "/sync/look/", *leaks, "/async/look/"))
        assert {status for status, _ in answers} == {200}
        assert json.loads(asyncio.run(answer(application, "/sync/look/"))[1]) == NOTHING

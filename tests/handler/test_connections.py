"""Database connections outlive requests, and Django's rules for such connections hold."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.db.backends.signals import connection_created
from django.db.backends.sqlite3.base import DatabaseWrapper
from django.http import HttpResponse
from django.urls import path

from fullduplex.threads.context import get_pool
from tests.handler.asgi_driver import Connection, http_scope
from tests.handler.project import project

ALIAS = "checked"
used: list[Any] = []  # the driver's connection of each request
checks: list[Any] = []  # and those that a health check has looked at


def sync_view(request: Any) -> HttpResponse:
    for _ in range(2):
        with connections[ALIAS].cursor() as cursor:
            cursor.execute("SELECT 1")
    used.append(connections[ALIAS].connection)
    return HttpResponse()


async def async_view(request: Any) -> HttpResponse:
    return await sync_to_async(sync_view)(request)


@pytest.fixture
def database(
    django_db_blocker: Any, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Any]]:
    """A database whose connections stay, and can be seen to be dead (SQLite's always pass the health check)."""
    settings.FULLDUPLEX = {"THREADS_COUNT": 1}  # while it is cleaned, a second request would find another

    def is_usable(wrapper: Any) -> bool:
        checks.append(wrapper.connection)
        try:
            wrapper.connection.execute("SELECT 1")
        except Exception:
            return False
        return True

    monkeypatch.setattr(DatabaseWrapper, "is_usable", is_usable)
    options = {**connections.settings["default"], "NAME": str(tmp_path / "db"), "CONN_MAX_AGE": None}
    monkeypatch.setitem(connections.settings, ALIAS, options)
    used.clear()
    checks.clear()
    get_pool().close()
    with django_db_blocker.unblock():
        yield options
    get_pool().close()


async def status(application: Any, where: str) -> int:
    connection = Connection(application, http_scope(where))
    connection.put(type="http.request", body=b"", more_body=False)
    await connection.end()
    code: int = connection.events.get_nowait()["status"]
    return code


@pytest.mark.parametrize("where", ["/sync/", "/async/"])
def test_a_dead_connection_is_noticed_and_replaced_on_the_next_request(database: dict[str, Any], where: str) -> None:
    database["CONN_HEALTH_CHECKS"] = True
    with project(path("sync/", sync_view), path("async/", async_view)) as application:
        for _ in range(2):
            assert asyncio.run(status(application, where)) == 200
        used[1].close()  # as a database that restarts, or a firewall, does
        for _ in range(2):
            assert asyncio.run(status(application, where)) == 200
    old, same, new, same_new = used
    assert old is same
    assert new is same_new is not old
    assert checks == [old, old, new]  # once for each request that finds a connection, whatever its queries


def test_without_health_checks_one_request_fails_and_the_next_has_a_new_connection(
    database: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    database["CONN_HEALTH_CHECKS"] = False
    with project(path("", sync_view)) as application:
        assert asyncio.run(status(application, "/")) == 200
        used[0].close()
        assert asyncio.run(status(application, "/")) == 500
        assert "closed database" in caplog.text
        assert asyncio.run(status(application, "/")) == 200
    assert used[0] is not used[1]
    assert checks == [used[0]]  # after the error


@pytest.mark.usefixtures("database")
def test_what_connection_created_installs_stays_with_the_connection() -> None:
    seen: list[str] = []

    def observe(execute: Any, sql: str, *args: Any) -> Any:
        seen.append(sql)
        return execute(sql, *args)

    def install(connection: Any, **kwargs: Any) -> None:
        if observe not in connection.execute_wrappers:
            connection.execute_wrappers.append(observe)

    connection_created.connect(install)
    try:
        with project(path("", sync_view)) as application:
            for _ in range(4):
                assert asyncio.run(status(application, "/")) == 200
    finally:
        connection_created.disconnect(install)
    assert len(seen) == 8
    assert used[0] is used[1] is used[2] is used[3]


def test_nobody_sees_receivers_of_ours() -> None:
    """Who patches how receivers are called (error trackers, to time them) finds those of the project alone."""
    modules = {receiver.__module__ for receivers in connection_created._live_receivers(None) for receiver in receivers}
    assert not any(module.startswith("fullduplex") for module in modules)


class ServerCursor:
    """What a driver gives for rows that the server keeps."""

    name = "rows"

    def __init__(self, order: list[tuple[str, str]]) -> None:
        self._order = order

    def close(self) -> None:
        self._order.append(("cursor", threading.current_thread().name))


@pytest.mark.parametrize("max_age_s", [None, 0])
def test_a_cursor_that_a_request_leaves_is_closed_in_its_thread_before_the_connection(
    database: dict[str, Any], max_age_s: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    database["CONN_MAX_AGE"] = max_age_s
    order: list[tuple[str, str]] = []
    left: list[Any] = []

    def leave(request: Any) -> HttpResponse:
        connections[ALIAS].ensure_connection()
        left.append(connections[ALIAS].make_cursor(ServerCursor(order)))
        return HttpResponse()

    close_connection = DatabaseWrapper.close

    def close(wrapper: Any) -> None:
        if wrapper.alias == ALIAS:
            order.append(("connection", threading.current_thread().name))
        close_connection(wrapper)

    monkeypatch.setattr(DatabaseWrapper, "close", close)
    with project(path("leave/", leave), path("", sync_view)) as application:
        for where in ("/leave/", "/"):
            assert asyncio.run(status(application, where)) == 200
    get_pool().close()
    assert order[0] == ("cursor", "fullduplex-thread")
    assert ("connection", "fullduplex-thread") in order[1:]
    left.clear()

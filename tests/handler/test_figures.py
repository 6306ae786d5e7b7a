"""What Django tells a server of itself that collects figures."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from fullduplex.handler.application import get_asgi_application
from fullduplex.handler.figures import STATE, figures
from fullduplex.threads.connections import ConnectionFigures, connection_figures


async def lifespan(state: dict[str, Any] | None) -> None:
    """Start and stop an application."""
    events = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> dict[str, str]:
        return {"type": next(events)}

    async def send(message: Any) -> None:
        assert message["type"].endswith(".complete")

    scope = {"type": "lifespan"} if state is None else {"type": "lifespan", "state": state}
    await get_asgi_application()(scope, receive, send)


async def test_a_server_that_collects_is_given_a_source_once() -> None:
    state: dict[str, Any] = {STATE: []}
    await lifespan(state)
    await lifespan(state)
    assert state[STATE] == [figures]


@pytest.mark.parametrize("state", [None, {}, {STATE: "something else"}])
async def test_other_servers_are_given_nothing(state: dict[str, Any] | None) -> None:
    before = None if state is None else dict(state)
    await lifespan(state)
    assert state == before


async def test_names_are_those_of_prometheus() -> None:
    found = {name: (kind, value) for name, kind, _, value in figures()}
    assert found["fullduplex_groups"] == ("gauge", 0)
    assert found["fullduplex_thread_waiting"] == ("gauge", 0)
    assert found["fullduplex_deliveries"][0] == "counter"
    assert len(found) == 15


@pytest.mark.django_db(transaction=True)
def test_connections_to_databases_are_counted_while_they_are_open() -> None:
    def use() -> tuple[ConnectionFigures, ...]:
        before = connection_figures()
        own = connections["default"]
        own.ensure_connection()
        meanwhile = connection_figures()
        BaseDatabaseWrapper.close(own)  # Django's own close() leaves SQLite in memory open
        return before, meanwhile, connection_figures()

    with ThreadPoolExecutor(1) as thread:
        before, meanwhile, after = thread.submit(use).result()
    assert meanwhile.opened_count == before.opened_count + 1
    assert meanwhile.open_count == before.open_count + 1
    assert after.open_count == before.open_count

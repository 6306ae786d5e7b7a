"""The ASGI application: which scopes it takes, and lifespan."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.http import HttpResponse
from django.urls import path

from fullduplex.handler.application import ASGIHandler, get_asgi_application
from tests.handler.asgi_driver import Connection, request
from tests.handler.project import project


async def test_http_goes_djangos_way() -> None:
    async def page(request: Any) -> HttpResponse:
        return HttpResponse("hello")

    with project(path("page/", page)) as application:
        response = await request(application, "/page/")
        assert (response.status, response.body) == (200, b"hello")
        assert (await request(application, "/none/")).status == 404


def test_get_asgi_application_returns_the_handler() -> None:
    assert isinstance(get_asgi_application(), ASGIHandler)


async def test_an_unknown_scope_type_is_an_error_that_names_the_known() -> None:
    with project() as application, pytest.raises(ValueError, match="http, websocket and lifespan, not 'carrier'"):
        await application({"type": "carrier"}, None, None)  # type: ignore[arg-type]


async def test_lifespan_answers_startup_and_shutdown_and_keeps_the_state() -> None:
    with project() as application:
        state: dict[str, Any] = {"fullduplex.worker_count": 1}
        server = Connection(application, {"type": "lifespan", "asgi": {"version": "3.0"}, "state": state})
        server.put(type="lifespan.startup")
        assert await server.event() == {"type": "lifespan.startup.complete"}
        assert application.state is state
        server.put(type="lifespan.shutdown")
        assert await server.event() == {"type": "lifespan.shutdown.complete"}
        await server.end()


async def test_lifespan_without_state() -> None:
    with project() as application:
        server = Connection(application, {"type": "lifespan", "asgi": {"version": "3.0"}})
        server.put(type="lifespan.startup")
        await server.event()
        assert application.state == {}
        server.put(type="lifespan.shutdown")
        await server.event()
        await server.end()


@pytest.mark.parametrize("phase", ["startup", "shutdown"])
async def test_a_failure_in_lifespan_is_reported_and_logged(
    phase: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(self: ASGIHandler) -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError("no layer")

    monkeypatch.setattr(ASGIHandler, phase, fail)
    with project() as application:
        server = Connection(application, {"type": "lifespan", "asgi": {"version": "3.0"}})
        server.put(type="lifespan.startup")
        if phase == "shutdown":
            assert (await server.event())["type"] == "lifespan.startup.complete"
            server.put(type="lifespan.shutdown")
        assert await server.event() == {"type": f"lifespan.{phase}.failed", "message": "no layer"}
        await server.end()
    assert len(caplog.records) == 1

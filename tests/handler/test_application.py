"""The ASGI application: which scopes it takes, and lifespan."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
from django.http import HttpResponse
from django.urls import path

from fullduplex.exceptions import LayerUnavailable
from fullduplex.handler.application import ASGIHandler, get_asgi_application
from fullduplex.layers.memory import MemoryLayer
from tests.handler.asgi_driver import Connection, http_scope, request
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


async def test_the_views_are_imported_at_startup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "urls_of_startup.py").write_text("urlpatterns = []\n")
    monkeypatch.syspath_prepend(tmp_path)
    with project(ROOT_URLCONF="urls_of_startup") as application:
        assert "urls_of_startup" not in sys.modules
        await application.startup()
        assert sys.modules.pop("urls_of_startup").urlpatterns == []


async def test_views_that_cannot_be_imported_are_the_business_of_each_request(caplog: pytest.LogCaptureFixture) -> None:
    with project(ROOT_URLCONF="no_such_urls", DEBUG_PROPAGATE_EXCEPTIONS=True) as application:
        await application.startup()
        (record,) = caplog.records
        assert "no_such_urls" in record.getMessage()
        for _ in range(2):
            client = Connection(application, http_scope())
            client.put(type="http.request")
            with pytest.raises(ModuleNotFoundError, match="no_such_urls"):
                await client.end()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("lifespan", [True, False])
async def test_a_urlconf_may_query_when_it_is_imported(
    lifespan: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not on the loop, where Django refuses it; many requests that come first find it whole."""
    (tmp_path / "querying_urls.py").write_text(
        "from django.contrib.auth.models import Group\n"
        "from django.http import HttpResponse\n"
        "from django.urls import path\n"
        "count = Group.objects.count()\n"
        "async def view(request): return HttpResponse(str(count))\n"
        "urlpatterns = [path('', view)]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "querying_urls", raising=False)
    with project(ROOT_URLCONF="querying_urls") as application:
        if lifespan:
            await application.startup()
        answers = await asyncio.gather(*(request(application) for _ in range(5)))
    assert [answer.body for answer in answers] == [b"0"] * 5
    assert caplog.records == []


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


# Layers --------------------------------------------------------------------------------------


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """What the layers are told of the number of workers."""
    told: list[int | None] = []
    monkeypatch.setattr("fullduplex.handler.application.note_serving", told.append)
    return told


async def test_the_worker_count_of_lifespan_reaches_the_layers_once(told: list[int | None]) -> None:
    with project() as application:
        server = Connection(application, {"type": "lifespan", "state": {"fullduplex.worker_count": 4}})
        server.put(type="lifespan.startup")
        await server.event()
        await request(application)
        server.put(type="lifespan.shutdown")
        await server.event()
        await server.end()
    assert told == [4]


async def test_without_lifespan_the_layers_hear_that_this_process_serves(told: list[int | None]) -> None:
    with project() as application:
        await request(application)
        await request(application)
    assert told == [None]


class Layer(MemoryLayer):
    events: ClassVar[list[str]] = []
    error: ClassVar[Exception | None] = None

    async def open(self) -> None:
        self.events.append("open")
        if self.error is not None:
            raise self.error

    async def close(self) -> None:
        self.events.append("close")


@pytest.mark.parametrize("error", [None, LayerUnavailable("connection refused")])
async def test_a_configured_layer_is_opened_and_closed_and_may_be_out_of_reach_at_first(
    error: Exception | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Layer, "error", error)
    monkeypatch.setattr(Layer, "events", [])
    with project(CHANNEL_LAYERS={"default": {"BACKEND": f"{__name__}.Layer"}}) as application:
        server = Connection(application, {"type": "lifespan"})
        server.put(type="lifespan.startup")
        assert (await server.event())["type"] == "lifespan.startup.complete"
        server.put(type="lifespan.shutdown")
        assert (await server.event())["type"] == "lifespan.shutdown.complete"
        await server.end()
    assert Layer.events == ["open", "close"]
    assert [record.getMessage() for record in caplog.records] == (
        ["The layer cannot be reached yet: connection refused"] if error else []
    )


@pytest.mark.parametrize("settings", [{"FULLDUPLEX": {"TYPO": 1}}, {"CHANNEL_LAYERS": {"default": {}}}])
async def test_wrong_settings_stop_the_start(settings: dict[str, Any]) -> None:
    with project(**settings) as application:
        server = Connection(application, {"type": "lifespan"})
        server.put(type="lifespan.startup")
        assert (await server.event())["type"] == "lifespan.startup.failed"
        await server.end()

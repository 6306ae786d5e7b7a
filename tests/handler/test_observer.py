"""``SOCKET_VIEW_OBSERVER``: a context around each socket's view, which knows its route, its user and its failures."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.core.signals import got_request_exception
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import path

from fullduplex.exceptions import Disconnected
from fullduplex.sockets.views import websocket as socket_view
from fullduplex.sockets.websocket import WebSocket
from tests.handler.asgi_driver import refusal, websocket
from tests.handler.project import project

SOCKETS_COUNT = 50
FOREVER_S = 3600.0

name_of_request: contextvars.ContextVar[str] = contextvars.ContextVar("name_of_request", default="nobody")
place: contextvars.ContextVar[str] = contextvars.ContextVar("place", default="nowhere")
seen: list[tuple[str, Any]] = []  # route or step, and what it ended with


@pytest.fixture(autouse=True)
def nothing_seen() -> Iterator[None]:
    seen.clear()
    yield
    seen.clear()


@contextmanager
def observe(request: HttpRequest) -> Iterator[None]:
    assert request.resolver_match is not None
    route = request.resolver_match.route
    token = place.set(f"{route} {request.GET.get('who')}")
    try:
        yield
    except BaseException as error:
        seen.append((route, error))
        raise
    else:
        seen.append((route, None))
    finally:
        place.reset(token)


@asynccontextmanager
async def aobserve(request: HttpRequest) -> AsyncIterator[None]:
    await asyncio.sleep(0)
    with observe(request):
        yield
    await asyncio.sleep(0)


@contextmanager
def swallow(request: HttpRequest) -> Iterator[None]:
    with suppress(ZeroDivisionError):
        yield


@contextmanager
def broken(request: HttpRequest) -> Iterator[None]:
    raise ZeroDivisionError("the observer")
    yield


def observed(name: str) -> dict[str, str]:
    return {"SOCKET_VIEW_OBSERVER": f"{__name__}.{name}"}


class Naming:
    """Middleware that names each request in a context variable."""

    async_capable = True
    sync_capable = False

    def __new__(cls, get_response: Any) -> Any:
        async def name(request: HttpRequest) -> Any:
            name_of_request.set(str(request.GET.get("who")))
            return await get_response(request)

        return name


class SyncNaming:
    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> Any:
        name_of_request.set(str(request.GET.get("who")))
        return self.get_response(request)


NAMING = pytest.mark.parametrize("middleware", ["Naming", "SyncNaming"])


@contextmanager
def told() -> Iterator[list[tuple[str, str, str]]]:
    """The errors that ``got_request_exception`` and the log tell of, and the context in which they do."""
    found = []

    def note(what: str, error: BaseException | None) -> None:
        found.append((f"{what}: {error}", name_of_request.get(), place.get()))

    def receiver(**kwargs: Any) -> None:
        note("signal", sys.exc_info()[1])

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.ERROR:
                note("log", record.exc_info[1] if record.exc_info else None)
            else:
                note("log", record.args[0] if isinstance(record.args, tuple) else None)  # type: ignore[arg-type]

    handler, logger = Handler(), logging.getLogger("django.request")
    got_request_exception.connect(receiver)
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)
        got_request_exception.disconnect(receiver)


@NAMING
@pytest.mark.parametrize("name", ["observe", "aobserve", ""])
async def test_the_errors_of_many_sockets_are_told_in_the_contexts_of_their_views(name: str, middleware: str) -> None:
    together = asyncio.Event()

    @socket_view
    async def view(socket: WebSocket, room: str) -> None:
        who = socket.request.GET["who"]
        await socket.accept()
        assert place.get() == (f"ws/<str:room>/ {who}" if name else "nowhere")
        await together.wait()
        raise ZeroDivisionError(who)

    settings = {"FULLDUPLEX": observed(name) if name else {}, "MIDDLEWARE": [f"{__name__}.{middleware}"]}
    with told() as errors, project(path("ws/<str:room>/", view), **settings) as application:
        async with AsyncExitStack() as stack:
            sockets = [
                await stack.enter_async_context(websocket(application, f"/ws/a/?who=u{number}"))
                for number in range(SOCKETS_COUNT)
            ]
            for socket in sockets:
                await socket.accepted()
            together.set()
            for socket in sockets:
                assert await socket.closed() == (1011, "")
    users = [f"u{number}" for number in range(SOCKETS_COUNT)]
    where = "ws/<str:room>/ {}" if name else "nowhere"
    assert sorted(errors) == sorted(
        (f"{what}: {who}", who, where.format(who)) for who in users for what in ("log", "signal")
    )
    assert sorted((route, str(error)) for route, error in seen) == sorted(
        ("ws/<str:room>/", who) for who in users if name
    )


@pytest.mark.parametrize("error", [Http404("no"), PermissionDenied("no"), SuspiciousOperation("no")], ids=repr)
async def test_a_refusal_is_no_failure(error: Exception) -> None:
    @socket_view
    async def view(socket: WebSocket) -> None:
        raise error

    with project(path("", view), FULLDUPLEX=observed("observe")) as application:
        assert (await refusal(application)).status < 500
    assert seen == [("", None)]


async def test_a_returned_response_is_no_failure() -> None:
    @socket_view
    async def view(socket: WebSocket) -> HttpResponse:
        return HttpResponse(status=410)

    with project(path("", view), FULLDUPLEX=observed("observe")) as application:
        assert (await refusal(application)).status == 410
    assert seen == [("", None)]


@pytest.mark.parametrize("name", ["observe", "aobserve"])
async def test_a_failure_before_the_accept_leaves_through_it_and_is_told_once(name: str) -> None:
    @socket_view
    async def view(socket: WebSocket) -> None:
        raise ZeroDivisionError("early")

    with told() as errors, project(path("", view), FULLDUPLEX=observed(name)) as application:
        assert (await refusal(application)).status == 500
    assert [str(error) for _, error in seen] == ["early"]
    assert sorted(what for what, *_ in errors) == ["log: early", "signal: early"]


async def leaves(socket: WebSocket) -> None:
    while True:
        await socket.receive()


async def leaves_in_a_group(socket: WebSocket) -> None:
    await socket.accept()
    async with asyncio.TaskGroup() as group:
        group.create_task(leaves(socket))


async def stays(socket: WebSocket) -> None:
    await socket.accept()
    await asyncio.Event().wait()


@pytest.mark.parametrize("view", [leaves, leaves_in_a_group, stays])
async def test_a_client_that_leaves_is_no_failure(view: Callable[[WebSocket], Any]) -> None:
    """Whether the view hears of it, lets the news pass, or is cancelled."""
    settings = {**observed("observe"), "DISCONNECT_GRACE_S": 0.0}
    with told() as errors, project(path("", socket_view(view)), FULLDUPLEX=settings) as application:
        async with websocket(application) as client:
            await client.accepted()
    assert seen == [("", None)]
    assert errors == []


@NAMING
async def test_a_client_that_breaks_the_protocol_is_no_failure_and_the_warning_has_the_context_of_the_view(
    middleware: str,
) -> None:
    @socket_view
    async def view(socket: WebSocket) -> None:
        await socket.receive_json()

    settings = {"FULLDUPLEX": observed("observe"), "MIDDLEWARE": [f"{__name__}.{middleware}"]}
    with told() as errors, project(path("", view), **settings) as application:
        async with websocket(application, "/?who=me") as client:
            await client.accepted()
            client.put(type="websocket.receive", text="{")
            assert (await client.closed())[0] == 1007
    assert seen == [("", None)]
    assert errors == [("log: a JSON message was expected", "me", "nowhere")]


async def test_a_view_that_is_cancelled_from_within_has_failed() -> None:
    @socket_view
    async def view(socket: WebSocket) -> None:
        await socket.accept()
        raise asyncio.CancelledError

    with told() as errors, project(path("", view), FULLDUPLEX=observed("observe")) as application:
        async with websocket(application, "/?who=me") as client:
            await client.accepted()
            assert await client.closed() == (1011, "")
    assert [type(error) for _, error in seen] == [asyncio.CancelledError]
    assert [where for *_, where in errors] == [" me", " me"]


async def test_an_observer_may_keep_a_failure_but_it_has_been_told() -> None:
    @socket_view
    async def view(socket: WebSocket) -> None:
        await socket.accept()
        raise ZeroDivisionError("late")

    with told() as errors, project(path("", view), FULLDUPLEX=observed("swallow")) as application:
        async with websocket(application) as client:
            await client.accepted()
            assert await client.closed() == (1000, "")
    assert sorted(what for what, *_ in errors) == ["log: late", "signal: late"]


@pytest.mark.parametrize("name", ["broken", "missing"])
async def test_an_observer_that_fails_refuses_the_handshake(name: str) -> None:
    @socket_view
    async def view(socket: WebSocket) -> None:
        await socket.accept()

    with told() as errors, project(path("", view), FULLDUPLEX=observed(name)) as application:
        assert (await refusal(application)).status == 500
    assert len(errors) == 2


async def test_the_news_that_the_client_left_stays_in_the_view() -> None:
    """An observer does not change what the view itself catches."""
    ends: list[str] = []

    @socket_view
    async def view(socket: WebSocket) -> None:
        await socket.accept()
        try:
            await socket.receive()
        except Disconnected:
            ends.append("left")

    with project(path("", view), FULLDUPLEX=observed("aobserve")) as application:
        async with websocket(application) as client:
            await client.accepted()
    assert ends == ["left"]
    assert seen == [("", None)]

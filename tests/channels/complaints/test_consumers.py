"""Consumers, and how they are told of their end."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from django.test import override_settings

from tests.channels.complaints.conftest import Side

IN_MEMORY = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
CONNECT = {"type": "websocket.connect"}
TEXT = {"type": "websocket.receive", "text": "hello"}
GONE = {"type": "websocket.disconnect", "code": 1001}


def websocket(application: Any, **scope: Any) -> Any:
    """A socket as a server opens it: nothing of the test tools of either side."""
    scope = {"type": "websocket", "path": "/", "headers": [], "subprotocols": [], "query_string": b"", **scope}
    return ApplicationCommunicator(application, scope)


async def opened(application: Any, **scope: Any) -> Any:
    socket = websocket(application, **scope)
    await socket.send_input(CONNECT)
    socket.accept = await socket.receive_output(10)
    return socket


async def answer_to(socket: Any, event: Any, side: Side) -> Any:
    """Return the first event, or the name of the exception that the application ends with."""
    await socket.send_input(event)
    return await side.outcome(socket.receive_output(side.of(ours=10, theirs=0.3)))


def test_a_synchronous_consumer_that_waits_blocks_no_other(side: Side) -> None:
    """ch#2132"""
    freed = threading.Event()
    seen: list[bool] = []

    class Waiting(side.module("generic.websocket").WebsocketConsumer):  # type: ignore[misc]
        def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            seen.append(freed.wait(side.of(ours=10, theirs=0.5)))

    class Freeing(side.module("generic.websocket").WebsocketConsumer):  # type: ignore[misc]
        def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            freed.set()
            self.send("done")

    async def scenario() -> bool:
        router = side.module("routing").ProtocolTypeRouter
        waiting = await opened(router({"websocket": Waiting.as_asgi()}))
        freeing = await opened(router({"websocket": Freeing.as_asgi()}))
        await waiting.send_input(TEXT)
        await asyncio.sleep(0.05)
        await freeing.send_input(TEXT)
        await freeing.receive_output(20)
        for socket in (waiting, freeing):
            await socket.send_input(GONE)
            await socket.wait(20)
        return seen[0]

    assert side.run(scenario()) is side.of(ours=True, theirs=False)


def test_disconnect_runs_after_an_error_in_a_handler(side: Side) -> None:
    codes: list[int] = []

    class Failing(side.module("generic.websocket").AsyncWebsocketConsumer):  # type: ignore[misc]
        async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            raise LookupError("a handler that fails")

        async def disconnect(self, code: int) -> None:
            codes.append(code)

    async def scenario() -> str:
        socket = await opened(Failing.as_asgi())
        await socket.send_input(TEXT)
        return str(await side.outcome(socket.wait(5)))

    assert side.run(scenario()) == "LookupError"
    assert codes == side.of(ours=[1011], theirs=[])


@pytest.mark.parametrize("when", ["at the end", "after an error"])
def test_a_consumer_leaves_the_groups_that_it_joined(side: Side, when: str) -> None:
    """ch#2094, ch#1703: members that have left stay in their groups, and messages wait for them."""

    class Member(side.module("generic.websocket").AsyncWebsocketConsumer):  # type: ignore[misc]
        async def connect(self) -> None:
            await self.channel_layer.group_add("room", self.channel_name)
            await self.accept()

        async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            raise LookupError("a handler that fails")

    async def scenario() -> int:
        layer = side.module("layers").get_channel_layer()
        for _ in range(3):
            socket = await opened(Member.as_asgi())
            await socket.send_input(GONE if when == "at the end" else TEXT)
            await side.outcome(socket.wait(5))
        await layer.group_send("room", {"type": "nobody.is.here"})
        return len(layer.groups.get("room", ())) + len(layer.channels)

    with override_settings(CHANNEL_LAYERS=IN_MEMORY):
        assert side.run(scenario()) == side.of(ours=0, theirs=6)


def test_headers_of_an_accept_may_be_a_dict_of_strings(side: Side) -> None:
    class Named(side.module("generic.websocket").AsyncWebsocketConsumer):  # type: ignore[misc]
        async def connect(self) -> None:
            await self.accept(headers={"X-Room": "1"})

    async def scenario() -> Any:
        return (await opened(Named.as_asgi())).accept["headers"]

    assert side.run(scenario()) == side.of(ours=[(b"x-room", b"1")], theirs=["X-Room"])


@override_settings(SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies")
def test_a_session_that_connect_changes_is_saved_and_its_cookie_set(side: Side) -> None:
    class Visited(side.module("generic.websocket").AsyncWebsocketConsumer):  # type: ignore[misc]
        async def connect(self) -> None:
            self.scope["session"]["visits"] = 1
            await self.accept()

    async def scenario() -> bool:
        application = side.module("sessions").SessionMiddlewareStack(Visited.as_asgi())
        headers = (await opened(application)).accept.get("headers", ())
        return any(name.lower() == b"set-cookie" for name, _ in headers)

    assert side.run(scenario()) is side.of(ours=True, theirs=False)


def test_cookies_that_http2_splits_all_count(side: Side) -> None:
    """RFC 9113 section 8.2.3."""

    async def scenario() -> Any:
        async def inner(scope: Any, receive: Any, send: Any) -> Any:
            return scope["cookies"]

        headers = [(b"cookie", b"a=1"), (b"cookie", b"b=2")]
        return await side.module("sessions").CookieMiddleware(inner)(
            {"type": "websocket", "headers": headers}, None, None
        )

    assert side.run(scenario()) == side.of(ours={"a": "1", "b": "2"}, theirs={"a": "1"})


def test_an_origin_that_is_no_url_is_refused(side: Side) -> None:
    async def scenario() -> Any:
        consumer = side.module("generic.websocket").AsyncWebsocketConsumer
        application = side.module("security.websocket").OriginValidator(consumer.as_asgi(), ["example.com"])
        answer = await answer_to(websocket(application, headers=[(b"origin", b"http://[")]), CONNECT, side)
        return answer if isinstance(answer, str) else answer["type"]

    assert side.run(scenario()) == side.of(ours="websocket.close", theirs="ValueError")


def test_an_error_in_one_listener_ends_the_worker(side: Side) -> None:
    class Layer:
        async def receive(self, channel: str) -> Any:
            if channel == "broken":
                raise LookupError("a layer that fails")
            await asyncio.Event().wait()

    async def scenario() -> str:
        async def application(scope: Any, receive: Any, send: Any) -> None:
            pass

        worker = side.module("worker").Worker(application, ["broken", "silent"], Layer())
        await asyncio.wait_for(worker.handle(), side.of(ours=10, theirs=0.3))
        return "returned"

    assert side.run(side.outcome(scenario())) == side.of(ours="ExceptionGroup", theirs="TimeoutError")


# Routing -----------------------------------------------------------------------------------------


def test_include_in_a_router(side: Side) -> None:
    """ch#1428"""
    from django.urls import include, path

    async def inner(scope: Any, receive: Any, send: Any) -> Any:
        return scope["url_route"]["kwargs"]

    async def scenario() -> Any:
        router = side.module("routing").URLRouter(
            [path("rooms/<int:room>/", include(([path("<name>/", inner)], "app")))]
        )
        return await router({"type": "websocket", "path": "/rooms/1/ada/"}, None, None)

    expected = side.of(ours={"room": 1, "name": "ada"}, theirs="ImproperlyConfigured")
    assert side.run(side.outcome(scenario())) == expected


def test_a_path_without_a_route_is_404_and_no_error(side: Side) -> None:
    async def scenario() -> Any:
        routing = side.module("routing")
        application = routing.ProtocolTypeRouter({"websocket": routing.URLRouter([])})
        scope = {"headers": [(b"host", b"testserver")], "extensions": {"websocket.http.response": {}}}
        answer = await answer_to(websocket(application, **scope), CONNECT, side)
        return answer if isinstance(answer, str) else answer["status"]

    assert side.run(scenario()) == side.of(ours=404, theirs="ValueError")


def test_lifespan_of_a_router(side: Side) -> None:
    async def scenario() -> Any:
        async def http(scope: Any, receive: Any, send: Any) -> None:
            pass

        router = side.module("routing").ProtocolTypeRouter({"http": http})
        process = ApplicationCommunicator(router, {"type": "lifespan"})
        answer = await answer_to(process, {"type": "lifespan.startup"}, side)
        return answer if isinstance(answer, str) else answer["type"]

    assert side.run(scenario()) == side.of(ours="lifespan.startup.complete", theirs="ValueError")


# The in-process layer ----------------------------------------------------------------------------


def test_patterns_of_channel_capacity(side: Side) -> None:
    async def scenario() -> Any:
        return side.module("layers").InMemoryChannelLayer(channel_capacity={"tiny.*": 1}).get_capacity("tiny.one")

    assert side.run(side.outcome(scenario())) == side.of(ours=1, theirs="ValueError")


def test_a_thread_wakes_a_receiver(side: Side) -> None:
    """What a thread sends is noticed when the loop next wakes up for another reason, which may be never."""
    received = threading.Event()
    in_time: list[bool] = []
    layer = side.module("layers").InMemoryChannelLayer()

    def send() -> None:
        time.sleep(side.of(ours=0, theirs=0.5))  # until the loop sleeps, on a busy machine too
        asyncio.run(layer.send("c", {"n": 1}))
        in_time.append(received.wait(side.of(ours=10, theirs=0.3)))
        if not in_time[0]:
            loop.call_soon_threadsafe(lambda: None)

    async def scenario() -> None:
        nonlocal loop
        loop = asyncio.get_running_loop()
        loop.call_later(0.1, thread.start)
        await layer.receive("c")
        received.set()

    loop: asyncio.AbstractEventLoop
    thread = threading.Thread(target=send)
    side.run(scenario())
    thread.join()
    assert in_time == [side.of(ours=True, theirs=False)]


def test_a_member_that_is_full_is_told_of(side: Side, caplog: pytest.LogCaptureFixture) -> None:
    """cr#109: what is over capacity is lost without a word."""
    layer = side.module("layers").InMemoryChannelLayer(capacity=2)

    async def scenario() -> None:
        await layer.group_add("g", "stuck")
        for number in range(3):
            await layer.group_send("g", {"n": number})

    with caplog.at_level(logging.DEBUG):
        side.run(scenario())
    assert getattr(layer, "dropped_count", None) == side.of(ours=1, theirs=None)
    assert ("'stuck' is full" in caplog.text) is side.of(ours=True, theirs=False)


def test_a_message_that_expires_ends_no_membership(side: Side) -> None:
    layer = side.module("layers").InMemoryChannelLayer(expiry=0.05)

    async def scenario() -> list[str]:
        await layer.group_add("g", "member")
        await layer.group_send("g", {"n": 1})
        await asyncio.sleep(0.2)
        await layer.group_send("g", {"n": 2})
        return list(layer.groups["g"])

    assert side.run(scenario()) == side.of(ours=["member"], theirs=[])

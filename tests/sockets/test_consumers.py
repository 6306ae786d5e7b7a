"""Consumers for WebSockets: in the URLconf, and as ASGI applications."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from typing import Any

import pytest
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.test import TestCase, override_settings
from django.urls import path, reverse
from django.utils.deprecation import MiddlewareMixin

from fullduplex.exceptions import AcceptConnection, DenyConnection, StopConsumer
from fullduplex.layers.channels import get_channel_layer
from fullduplex.sockets.consumers import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    InvalidMessage,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)
from fullduplex.testing import Client
from tests.handler.asgi_driver import WebSocketConnection, refusal, request, websocket, websocket_scope
from tests.handler.project import project

MEMORY = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}


class Echo(WebsocketConsumer):
    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        self.send(text_data, bytes_data)


class AsyncEcho(AsyncWebsocketConsumer):
    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data, bytes_data)


class JsonEcho(JsonWebsocketConsumer):
    def receive_json(self, content: Any, **kwargs: Any) -> None:
        self.send_json(content)


class AsyncJsonEcho(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json(content)


both = pytest.mark.parametrize("consumer", [Echo, AsyncEcho])
both_json = pytest.mark.parametrize("consumer", [JsonEcho, AsyncJsonEcho])


@pytest.fixture(params=["view", "asgi"])
def serve(request: pytest.FixtureRequest) -> Any:
    """Opens a socket to a consumer, both ways of serving it."""

    @asynccontextmanager
    async def serve(consumer: Any, **changes: Any) -> AsyncIterator[WebSocketConnection]:
        with project(path("ws/", consumer.as_view())) as application:
            if request.param == "asgi":
                application = consumer.as_asgi()
            async with websocket(application, "/ws/", **changes) as connection:
                yield connection

    return serve


@both
async def test_messages_of_both_kinds_and_empty_ones(serve: Any, consumer: Any) -> None:
    async with serve(consumer) as connection:
        await connection.accepted()
        for message in ("hello", b"\0\1", "", b""):
            connection.send(message)
            assert await connection.message() == message


@both_json
async def test_json(serve: Any, consumer: Any) -> None:
    async with serve(consumer) as connection:
        await connection.accepted()
        connection.send('{"a": [1, null]}')
        assert await connection.message() == '{"a": [1, null]}'


async def test_json_takes_what_django_has_words_for() -> None:
    assert JsonEcho.encode_json({"on": date(2026, 1, 2)}) == '{"on": "2026-01-02"}'
    assert await AsyncJsonEcho.encode_json({"on": date(2026, 1, 2)}) == '{"on": "2026-01-02"}'
    assert await AsyncJsonEcho.decode_json("[1]") == JsonEcho.decode_json("[1]") == [1]


@both_json
@pytest.mark.parametrize(("message", "code"), [("{", 1007), ("", 1007), (b"{}", 1003)])
async def test_what_is_no_json_closes_the_socket_of_a_view(consumer: Any, message: Any, code: int) -> None:
    with project(path("ws/", consumer.as_view())) as application:
        async with websocket(application, "/ws/") as connection:
            await connection.accepted()
            connection.send(message)
            assert (await connection.closed())[0] == code


@both_json
async def test_what_is_no_json_is_an_error_of_the_application(consumer: Any) -> None:
    connection = WebSocketConnection(consumer.as_asgi(), websocket_scope("/"))
    connection.connect()
    await connection.accepted()
    connection.send(b"{}")
    with pytest.raises(ValueError, match="No text section"):
        await connection.end()
    assert issubclass(InvalidMessage, ValueError)


# Accepting and refusing --------------------------------------------------------------------------


class Choosy(WebsocketConsumer):
    def connect(self) -> None:
        cookies = [("X-Room", "1"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
        self.accept(self.scope["subprotocols"][1], headers=cookies)
        self.send("first")
        self.send("second")


class AsyncChoosy(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.accept("two", headers=[(b"x-room", b"1"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")])
        await self.send("first")
        await self.send("second")


@pytest.mark.parametrize("consumer", [Choosy, AsyncChoosy])
async def test_accept_chooses_a_subprotocol_and_headers_and_goes_out_before_messages(serve: Any, consumer: Any) -> None:
    async with serve(consumer, subprotocols=["one", "two"]) as connection:
        accept = await connection.accepted()
        assert accept["subprotocol"] == "two"
        assert accept["headers"] == [(b"x-room", b"1"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
        assert [await connection.message(), await connection.message()] == ["first", "second"]


class Lists(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        await self.accept(headers=[[b"x-room", b"1"], [b"X-Hall", b"2"]])


async def test_header_fields_of_an_accept_stay_what_they_are_where_that_can_go_out() -> None:
    async with websocket(Lists.as_asgi(), "/") as connection:
        assert (await connection.accepted())["headers"] == [[b"x-room", b"1"], (b"x-hall", b"2")]


class Refusing(WebsocketConsumer):
    def connect(self) -> None:
        self.close()

    def disconnect(self, code: int) -> None:
        ended.append(code)


class AsyncRefusing(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        raise DenyConnection

    async def disconnect(self, code: int) -> None:
        ended.append(code)


ended: list[int] = []


@pytest.fixture(autouse=True)
def _nothing_ended() -> None:
    ended.clear()


@pytest.mark.parametrize("consumer", [Refusing, AsyncRefusing])
async def test_a_close_refuses_and_the_consumer_still_disconnects(consumer: Any) -> None:
    with project(path("ws/", consumer.as_view())) as application:
        assert (await refusal(application, "/ws/")).status == 403
    assert ended == [1006]


@pytest.mark.parametrize("consumer", [Refusing, AsyncRefusing])
async def test_a_close_before_the_accept_as_asgi(consumer: Any) -> None:
    async with websocket(consumer.as_asgi()) as connection:
        assert (await connection.event())["type"] == "websocket.close"
    assert ended == [1001]


async def test_accept_connection(serve: Any) -> None:
    class Accepting(AsyncWebsocketConsumer):
        async def connect(self) -> None:
            raise AcceptConnection

    class SyncAccepting(WebsocketConsumer):
        def connect(self) -> None:
            raise AcceptConnection

    for consumer in (Accepting, SyncAccepting):
        async with serve(consumer) as connection:
            await connection.accepted()


@pytest.mark.parametrize(("error", "status"), [(Http404, 404), (PermissionDenied, 403), (RuntimeError, 500)])
@pytest.mark.parametrize("sync", [True, False])
async def test_an_exception_in_connect_refuses_as_in_any_view(
    error: type[Exception], status: int, sync: bool, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(WebsocketConsumer):
        def connect(self) -> None:
            raise error("no room")

        def disconnect(self, code: int) -> None:
            ended.append(code)

    class AsyncFailing(AsyncWebsocketConsumer):
        async def connect(self) -> None:
            raise error("no room")

        async def disconnect(self, code: int) -> None:
            ended.append(code)

    with project(path("ws/", (Failing if sync else AsyncFailing).as_view())) as application:
        assert (await refusal(application, "/ws/")).status == status
    assert ended == [1011]
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == (1 if status == 500 else 0)
    if errors:
        assert type(errors[0].exc_info[1]) is RuntimeError  # type: ignore[index]


async def test_a_subprotocol_that_was_not_offered_is_an_error_at_the_accept() -> None:
    class Wrong(WebsocketConsumer):
        def connect(self) -> None:
            with pytest.raises(ValueError, match="offers the subprotocols"):
                self.accept("chat")
            self.accept()

    with project(path("ws/", Wrong.as_view())) as application:
        async with websocket(application, "/ws/") as connection:
            await connection.accepted()


class NeedsThread(MiddlewareMixin):
    """Its hook waits for the thread that ``connect`` has, and so does the accept."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        return response


async def test_connect_cannot_send_without_bound() -> None:
    class Flooding(WebsocketConsumer):
        def connect(self) -> None:
            self.accept()
            for _ in range(10):
                self.send("x" * 100)

    middleware = {"MIDDLEWARE": [f"{__name__}.NeedsThread"]}
    with project(path("ws/", Flooding.as_view()), FULLDUPLEX={"OUTBOX_MAX_BYTES": 500}, **middleware) as application:
        async with websocket(application, "/ws/") as connection:
            event = await connection.event()
            while event["type"] in ("websocket.accept", "websocket.send"):
                event = await connection.event()
            assert event["type"] == "websocket.close"
            assert event["code"] == 1011


# In the URLconf ----------------------------------------------------------------------------------


async def test_routes_have_names_and_arguments() -> None:
    class Room(AsyncWebsocketConsumer):
        def __init__(self, greeting: str) -> None:
            super().__init__()
            self.greeting = greeting

        async def connect(self) -> None:
            await self.accept()
            await self.send(f"{self.greeting} {self.scope['url_route']['kwargs']['name']}")

    view = Room.as_view(greeting="Hello")
    assert view.consumer_class is Room
    assert view.__name__ == "Room"
    with project(path("rooms/<slug:name>/", view, name="room")) as application:
        async with websocket(application, reverse("room", args=["lobby"])) as connection:
            await connection.accepted()
            assert await connection.message() == "Hello lobby"


async def test_plain_http_gets_426() -> None:
    with project(path("ws/", Echo.as_view())) as application:
        assert (await request(application, "/ws/")).status == 426


async def test_a_foreign_origin_is_refused_before_a_consumer_is_made() -> None:
    class Never(AsyncWebsocketConsumer):
        def __init__(self) -> None:
            raise AssertionError

    with project(path("ws/", Never.as_view())) as application:
        answer = await refusal(application, "/ws/", headers={"origin": "http://elsewhere.test"})
        assert answer.status == 403


@pytest.mark.parametrize("wrong", [Echo, Echo.as_asgi(), AsyncEcho, AsyncEcho.as_asgi()])
async def test_a_consumer_that_is_no_view_is_an_error_that_says_so(
    wrong: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with project(path("ws/<name>/", wrong)) as application:
        assert (await refusal(application, "/ws/a/")).status == 500
    assert "Echo.as_view() in the URLconf" in caplog.text


@both
async def test_a_class_that_is_called_as_an_application_says_so(consumer: Any) -> None:
    with pytest.raises(TypeError, match=r"Echo\.as_asgi\(\)"):
        consumer(websocket_scope("/"), None, None)


async def test_the_scope_has_session_and_cookies() -> None:
    class Scope(JsonWebsocketConsumer):
        def connect(self) -> None:
            self.accept()
            self.send_json([self.scope["user"].is_authenticated, self.scope["session"].session_key])
            self.send_json(self.scope["cookies"])

    with project(path("ws/", Scope.as_view()), **STANDARD) as application:
        async with websocket(application, "/ws/", headers={"cookie": "a=1"}) as connection:
            await connection.accepted()
            assert [await connection.message(), await connection.message()] == ["[false, null]", '{"a": "1"}']


STANDARD = {
    "MIDDLEWARE": [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ]
}


# Events of the channel layer ---------------------------------------------------------------------


class Member(WebsocketConsumer):
    groups = ("lobby",)

    def chat_message(self, event: dict[str, Any]) -> None:
        self.send(event["text"])


class AsyncMember(AsyncWebsocketConsumer):
    groups = ("lobby",)

    async def chat_message(self, event: dict[str, Any]) -> None:
        await self.send(event["text"])


@pytest.mark.parametrize("consumer", [Member, AsyncMember])
async def test_groups_are_joined_and_left(serve: Any, consumer: Any) -> None:
    with override_settings(CHANNEL_LAYERS=MEMORY):
        layer = get_channel_layer()
        async with serve(consumer) as connection:
            await connection.accepted()
            for number in range(3):
                await layer.group_send("lobby", {"type": "chat.message", "text": str(number)})
            assert [await connection.message() for _ in range(3)] == ["0", "1", "2"]
        assert (layer.groups, layer.channels) == ({}, {})


async def test_groups_that_it_joined_by_itself_are_left_when_it_fails(serve: Any) -> None:
    class Forgetful(AsyncWebsocketConsumer):
        async def connect(self) -> None:
            await self.channel_layer.group_add("lobby", self.channel_name)
            raise RuntimeError

    with override_settings(CHANNEL_LAYERS=MEMORY):
        layer = get_channel_layer()
        async with serve(Forgetful) as connection:
            await asyncio.wait({connection.task})  # a view's error is answered by Django, an application's raised
        assert layer.groups == {}


async def test_without_a_layer_groups_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fullduplex.sockets.consumer.get_channel_layer", lambda alias: None)
    for consumer in (Member, AsyncMember):
        connection = WebSocketConnection(consumer.as_asgi(), websocket_scope("/"))
        connection.connect()
        with pytest.raises(ValueError, match="BACKEND is unconfigured"):
            await connection.end()


# The end -----------------------------------------------------------------------------------------


class Ending(WebsocketConsumer):
    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if text_data == "close":
            self.close(4001, "enough")
        elif text_data == "stop":
            raise StopConsumer
        elif text_data == "send and close":
            self.send("bye", close=4002)
        else:
            raise RuntimeError

    def disconnect(self, code: int) -> None:
        ended.append(code)


class AsyncEnding(AsyncWebsocketConsumer):
    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if text_data == "close":
            await self.close(4001, "enough")
        elif text_data == "stop":
            raise StopConsumer
        elif text_data == "send and close":
            await self.send("bye", close=4002)
        else:
            raise RuntimeError

    async def disconnect(self, code: int) -> None:
        ended.append(code)


endings = pytest.mark.parametrize("consumer", [Ending, AsyncEnding])


@endings
async def test_the_client_leaves(serve: Any, consumer: Any) -> None:
    async with serve(consumer) as connection:
        await connection.accepted()
        connection.leave(4000)
        await connection.end()
    assert ended == [4000]


@endings
async def test_a_close_of_its_own_is_told_with_its_code(consumer: Any) -> None:
    with project(path("ws/", consumer.as_view())) as application:
        for message, code, reason in (("close", 4001, "enough"), ("send and close", 4002, "")):
            async with websocket(application, "/ws/") as connection:
                await connection.accepted()
                connection.send(message)
                if message != "close":
                    assert await connection.message() == "bye"
                assert await connection.closed() == (code, reason)
                await connection.end()
    assert ended == [4001, 4002]


@endings
@pytest.mark.parametrize(("message", "disconnect_code", "close_code"), [("stop", 1000, 1000), ("fail", 1011, 1011)])
async def test_a_handler_that_ends_the_consumer_disconnects_first(
    consumer: Any, message: str, disconnect_code: int, close_code: int
) -> None:
    with project(path("ws/", consumer.as_view())) as application:
        async with websocket(application, "/ws/") as connection:
            await connection.accepted()
            connection.send(message)
            assert (await connection.closed())[0] == close_code
    assert ended == [disconnect_code]


@endings
async def test_a_handler_that_fails_as_asgi_disconnects_and_raises(consumer: Any) -> None:
    connection = WebSocketConnection(consumer.as_asgi(), websocket_scope("/"))
    connection.connect()
    await connection.accepted()
    connection.send("fail")
    with pytest.raises(RuntimeError):
        await connection.end()
    assert ended == [1011]


@endings
async def test_a_server_that_stops(serve: Any, consumer: Any) -> None:
    async with serve(consumer) as connection:
        await connection.accepted()
        connection.task.cancel()
        await asyncio.wait({connection.task})
    assert connection.task.cancelled()
    assert ended == [1006]


async def test_a_send_to_a_client_that_has_left_ends_the_consumer_quietly(caplog: pytest.LogCaptureFixture) -> None:
    class Late(AsyncWebsocketConsumer):
        async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            await left.wait()
            while True:
                await self.send("anybody there?")
                await asyncio.sleep(0)

        async def disconnect(self, code: int) -> None:
            ended.append(code)

    left = asyncio.Event()
    with project(path("ws/", Late.as_view())) as application:
        async with websocket(application, "/ws/") as connection:
            await connection.accepted()
            connection.send("go")
            connection.leave(4000)
            left.set()
            await connection.end()
    assert ended == [4000]
    assert not caplog.records


async def test_disconnect_runs_although_leaving_the_groups_failed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*args: Any) -> None:
        raise ConnectionError("the layer is gone")

    class Broken(AsyncEnding):
        groups = ("lobby",)

    with override_settings(CHANNEL_LAYERS=MEMORY):
        monkeypatch.setattr(get_channel_layer(), "group_discard", fail)
        async with websocket(Broken.as_asgi()) as connection:
            await connection.accepted()
            connection.leave(4000)
            with pytest.raises(ConnectionError):
                await connection.end()
    assert ended == [4000]


async def test_a_disconnect_that_fails_too_is_logged_and_the_first_error_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(AsyncWebsocketConsumer):
        async def connect(self) -> None:
            raise RuntimeError("first")

        async def disconnect(self, code: int) -> None:
            raise KeyError("second")

    connection = WebSocketConnection(Broken.as_asgi(), websocket_scope("/"))
    connection.connect()
    with pytest.raises(RuntimeError, match="first"):
        await connection.end()
    [record] = caplog.records
    assert type(record.exc_info[1]) is KeyError  # type: ignore[index]


def test_what_is_left_in_a_closed_loop_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """Tests of projects close their loops without waiting for what runs there."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)  # which would tell of the task

    async def begin() -> asyncio.Task[None]:
        events: list[Any] = [{"type": "websocket.connect"}]
        accepted = loop.create_future()

        async def receive() -> Any:
            return events.pop() if events else await loop.create_future()

        async def send(event: Any) -> None:
            accepted.set_result(event)

        task = loop.create_task(AsyncEcho.as_asgi()(websocket_scope("/"), receive, send))
        assert (await accepted)["type"] == "websocket.accept"
        return task

    task = loop.run_until_complete(begin())
    loop.close()
    task.get_coro().close()  # type: ignore[union-attr]  # as the garbage collector does
    assert caplog.records == []


# Threads -----------------------------------------------------------------------------------------


class Sleeper(WebsocketConsumer):
    """Sleeps until another consumer wakes it: it needs a thread at the same time."""

    awake = threading.Event()

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if text_data == "sleep":
            self.send(str(self.awake.wait(30)))
        elif text_data == "wake":
            self.awake.set()
        else:
            self.send(text_data)


async def test_a_consumer_that_sleeps_blocks_no_other(serve: Any) -> None:
    Sleeper.awake.clear()
    async with serve(Sleeper) as one, serve(Sleeper) as other:
        await one.accepted()
        await other.accepted()
        for message in ("sleep", "a", "b"):
            one.send(message)
        other.send("wake")
        assert [await one.message() for _ in range(3)] == ["True", "a", "b"]


async def test_a_sync_consumer_sends_to_groups_from_its_thread(serve: Any) -> None:
    from asgiref.sync import async_to_sync

    class Talker(Member):
        def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
            async_to_sync(self.channel_layer.group_send)("lobby", {"type": "chat.message", "text": text_data})

    with override_settings(CHANNEL_LAYERS=MEMORY):
        async with serve(Talker) as one, serve(Talker) as other:
            await one.accepted()
            await other.accepted()
            one.send("hello")
            assert [await one.message(), await other.message()] == ["hello", "hello"]


# Through the test client ---------------------------------------------------------------------------


class Counting(JsonWebsocketConsumer):
    def connect(self) -> None:
        self.accept()
        self.send_json([str(self.scope["user"]), User.objects.count()])


class AsyncCounting(AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        await self.accept()
        await self.send_json([str(self.scope["user"]), await User.objects.acount()])


class TestClient(TestCase):
    """A consumer of either kind sees the transaction of the test, and who is logged in."""

    client_class = Client

    def test_user_and_database(self) -> None:
        user = User.objects.create(username="ada")
        for consumer in (Counting, AsyncCounting):
            with project(path("ws/", login_required(consumer.as_view(), login_url="/login/")), **STANDARD):
                self.client.logout()
                assert self.client.handshake("/ws/").url == "/login/?next=/ws/"  # type: ignore[attr-defined]
                self.client.force_login(user)
                with self.client.websocket("/ws/") as socket:
                    assert socket.receive_json() == ["ada", 1]

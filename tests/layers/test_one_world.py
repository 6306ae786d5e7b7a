"""Sockets and consumers in one group: each send reaches both kinds, whatever carries it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import date
from typing import Any

import pytest
from django.test import override_settings
from django.urls import path

from fullduplex import Group, WebSocket, websocket
from fullduplex.layers import close_layer, get_layer
from fullduplex.layers.channels import get_channel_layer
from fullduplex.layers.channels_memory import InMemoryChannelLayer
from fullduplex.sockets.consumers import AsyncWebsocketConsumer, WebsocketConsumer
from tests.handler import asgi_driver
from tests.handler.project import project
from tests.layers.servers import Server


class ThirdParty(InMemoryChannelLayer):
    """A channel layer that is none of ours, as far as the settings know."""


@websocket
async def socket_view(socket: WebSocket) -> None:
    await socket.join("lobby")
    await socket.send("joined")
    async for _ in socket:
        pass


class Declared(AsyncWebsocketConsumer):
    groups = ("lobby",)

    async def connect(self) -> None:
        await self.accept()
        await self.send("joined")

    async def chat_message(self, event: dict[str, Any]) -> None:
        await self.send(f"event {event['text']}")


class Added(WebsocketConsumer):
    def connect(self) -> None:
        from asgiref.sync import async_to_sync

        async_to_sync(self.channel_layer.group_add)("lobby", self.channel_name)
        self.accept()
        self.send("joined")

    def chat_message(self, event: dict[str, Any]) -> None:
        self.send(f"event {event['text']}")


MEMBERS = {"socket": socket_view, "declared": Declared.as_view(), "added": Added.as_view()}


@pytest.fixture(params=["implied", "memory", "third party", "redis", "pubsub", "redis, by our name"])
def layer(request: pytest.FixtureRequest) -> Iterator[str]:
    kind: str = request.param
    if kind == "implied":
        yield kind
        return
    backend = {
        "memory": "channels.layers.InMemoryChannelLayer",
        "third party": f"{__name__}.ThirdParty",
        "redis": "channels_redis.core.RedisChannelLayer",
        "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "redis, by our name": "fullduplex.layers.redis.RedisLayer",
    }[kind]
    config: dict[str, Any] = {}
    if "redis" in backend:
        server: Server = request.getfixturevalue("valkey")
        config = {"hosts": [server.url]}
    with override_settings(CHANNEL_LAYERS={"default": {"BACKEND": backend, "CONFIG": config}}):
        yield kind


@asynccontextmanager
async def members() -> AsyncIterator[dict[str, asgi_driver.WebSocketConnection]]:
    """One of each kind, all of them joined."""
    with project(*(path(f"{name}/", view) for name, view in MEMBERS.items())) as application:
        async with AsyncExitStack() as stack:
            connections = {}
            for name in MEMBERS:
                connection = await stack.enter_async_context(asgi_driver.websocket(application, f"/{name}/"))
                await connection.accepted()
                assert await connection.message() == "joined"
                connections[name] = connection
            yield connections
        channel_layer = get_channel_layer()
        if hasattr(channel_layer, "close"):
            await channel_layer.close()
        await close_layer()


async def messages(connections: dict[str, asgi_driver.WebSocketConnection]) -> dict[str, str | bytes]:
    return {name: await connection.message() for name, connection in connections.items()}


async def test_each_send_reaches_both_kinds(layer: str) -> None:
    async with members() as connections:
        await Group("lobby").asend({"text": "hello"})
        assert await messages(connections) == dict.fromkeys(MEMBERS, '{"text":"hello"}')
        await asyncio.to_thread(Group("lobby").send, b"\0\1")
        assert await messages(connections) == dict.fromkeys(MEMBERS, b"\0\1")
        await get_channel_layer().group_send("lobby", {"type": "chat.message", "text": "hello"})
        received = await messages(connections)
        assert json.loads(received.pop("socket")) == {"type": "chat.message", "text": "hello"}
        assert received == dict.fromkeys(("declared", "added"), "event hello")
        await get_channel_layer().group_send("lobby", {"type": "websocket.send", "text": "as it is"})
        assert await messages(connections) == dict.fromkeys(MEMBERS, "as it is")


class Late(AsyncWebsocketConsumer):
    """Accepts when it is told to."""

    groups = ("lobby",)

    async def connect(self) -> None:
        """Not yet."""

    async def call(self, event: dict[str, Any]) -> None:
        calls.append(event["name"])

    async def now(self, event: dict[str, Any]) -> None:
        await self.accept()


class LateSync(WebsocketConsumer):
    groups = ("lobby",)

    def connect(self) -> None:
        """Not yet."""

    def call(self, event: dict[str, Any]) -> None:
        calls.append(event["name"])

    def now(self, event: dict[str, Any]) -> None:
        self.accept()


calls: list[str] = []


@pytest.mark.parametrize("consumer", [Late, LateSync])
async def test_no_message_opens_a_socket(consumer: Any) -> None:
    with project(path("late/", consumer.as_view())) as application:
        async with asgi_driver.websocket(application, "/late/") as connection:
            layer = get_channel_layer()
            async with asyncio.timeout(30):
                while "lobby" not in layer.groups:
                    await asyncio.sleep(0)
                await Group("lobby").asend("early")
                await Group("lobby").asend(b"early, too")
                await layer.group_send("lobby", {"type": "call", "name": consumer.__name__})
                while consumer.__name__ not in calls:
                    await asyncio.sleep(0.001)
            assert connection.events.empty()
            await layer.group_send("lobby", {"type": "now"})
            await connection.accepted()
            assert [await connection.message() for _ in range(2)] == ["early", b"early, too"]


async def test_they_stay_one_world_when_members_come_and_go(layer: str) -> None:
    async with members():
        pass
    async with members() as connections:
        await Group("lobby").asend("again")
        assert await messages(connections) == dict.fromkeys(MEMBERS, "again")


async def test_the_local_layer_refuses_consumers_in_groups(caplog: pytest.LogCaptureFixture) -> None:
    class Alone(AsyncWebsocketConsumer):
        pass

    local = {"default": {"BACKEND": "fullduplex.layers.local.LocalLayer"}}
    routes = (path("alone/", Alone.as_view()), path("declared/", MEMBERS["declared"]))
    with override_settings(CHANNEL_LAYERS=local), project(*routes) as application:
        async with asgi_driver.websocket(application, "/alone/") as connection:
            await connection.accepted()
        assert (await asgi_driver.refusal(application, "/declared/")).status == 500
    assert "The local layer has sockets alone" in caplog.text


async def test_an_event_that_no_socket_can_get_is_the_senders_error() -> None:
    async with members() as connections:
        with pytest.raises(TypeError, match="not JSON serializable"):
            await get_channel_layer().group_send("lobby", {"type": "chat.message", "text": object()})
        await get_channel_layer().group_send("lobby", {"type": "chat.message", "text": date(2026, 1, 2)})
        assert json.loads(await connections["socket"].message())["text"] == "2026-01-02"
        assert await connections["declared"].message() == "event 2026-01-02"


async def test_where_the_sender_cannot_know_it_is_an_error_in_the_log(
    valkey: Server, caplog: pytest.LogCaptureFixture
) -> None:
    backend = {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [valkey.url]}}
    with override_settings(CHANNEL_LAYERS={"default": backend}):
        async with members() as connections:
            await get_channel_layer().group_send("lobby", {"type": "chat.message", "text": b"\0"})
            assert await connections["declared"].message() == "event b'\\x00'"
            await Group("lobby").asend("after")
            assert await connections["socket"].message() == "after"
    assert "An event to the group 'lobby' cannot be sent to its sockets" in caplog.text


async def test_a_member_that_is_cancelled_while_it_joins_takes_no_other_with_it(valkey: Server) -> None:
    backend = {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [valkey.url]}}
    with override_settings(CHANNEL_LAYERS={"default": backend}):
        layer = get_channel_layer()
        one, two = await layer.new_channel(), await layer.new_channel()
        joins = [asyncio.ensure_future(layer.group_add("lobby", channel)) for channel in (one, two)]
        await asyncio.sleep(0)
        joins[0].cancel()
        await joins[1]
        await get_layer().apublish("lobby", "hello")
        assert await layer.receive(two) == {"type": "websocket.send", "text": "hello"}
        await layer.close()

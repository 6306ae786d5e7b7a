"""What the vectors do not have: bounds, refusals that pass, tokens, and what is asked of a client that is closed."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fullduplex.client import Client, ClientClosed, Message, Position, RequestFailed, Subscribed
from fullduplex.client import client as client_module
from fullduplex.client import subscription as subscription_module
from fullduplex.client.subscription import State
from tests.client.test_vectors import Line

WELCOME = (
    '{"type":"welcome","protocol":"fullduplex.v1","heartbeat_s":25,"max_message_bytes":1000,"max_groups":10,'
    '"max_requests":2,"token":%s}'
)


class Server:
    """The other end of a client's connections."""

    def __init__(self, token: str = "false") -> None:
        self.lines: asyncio.Queue[Line] = asyncio.Queue()
        self.line: Line
        self._token = token

    async def dial(self) -> Line:
        line = Line()
        line.to_client.put_nowait(WELCOME % self._token)
        self.lines.put_nowait(line)
        return line

    async def connected(self) -> None:
        self.line = await self.lines.get()

    def say(self, text: str) -> None:
        self.line.to_client.put_nowait(text)

    async def hear(self) -> Any:
        async with asyncio.timeout(5):
            return await self.line.to_server.get()


@asynccontextmanager
async def connected(monkeypatch: pytest.MonkeyPatch, **options: Any) -> AsyncIterator[tuple[Client, Server]]:
    monkeypatch.setattr(client_module, "pause", lambda seconds: asyncio.sleep(0))
    monkeypatch.setattr(client_module, "wait_s", lambda attempt, random: 0.0)
    server = Server()
    async with Client("ws://unused", dial=server.dial, **options) as client:
        await server.connected()
        yield client, server


def message(offset: int, text: str = "x" * 400) -> str:
    return f'{{"type":"message","group":"a","offset":{offset},"data":{{"text":"{text}"}}}}'


async def test_a_slow_application_is_served_from_the_history(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription_module, "PATIENCE_S", 0.0)
    async with connected(monkeypatch, max_buffer_bytes=4_000) as (client, server):
        room = client.subscribe("a")
        assert await server.hear() == {"type": "subscribe", "group": "a", "id": 1}
        server.say(
            '{"type":"subscribed","id":1,"group":"a","recovered":true,"position":{"offset":0,"epoch":"e"},"latest":0}'
        )
        for offset in range(1, 9):
            server.say(message(offset))
        assert await server.hear() == {"type": "unsubscribe", "group": "a", "id": 2}
        server.say('{"type":"reply","id":2}')
        assert isinstance(await anext(room), Subscribed)
        heard = []
        while room.state is State.FULL:
            event = await anext(room)
            assert isinstance(event, Message)
            assert event.position is not None
            heard.append(event.position.offset)
        assert heard == [*range(1, len(heard) + 1)]
        asked = await server.hear()
        last = asked["after"]["offset"]
        assert asked == {"type": "subscribe", "group": "a", "id": 3, "after": {"offset": last, "epoch": "e"}}
        assert len(heard) < last < 8
        server.say(
            f'{{"type":"subscribed","id":3,"group":"a","recovered":true,"position":{{"offset":{last},"epoch":"e"}},"latest":8}}'
        )
        for offset in range(last + 1, 9):
            server.say(message(offset))
        while heard[-1] < 8:
            event = await anext(room)
            if isinstance(event, Message) and event.position is not None:
                heard.append(event.position.offset)
        assert heard == [*range(1, 9)]
        assert room.position == Position(8, "e")


async def test_a_small_buffer_makes_no_application_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription_module, "PATIENCE_S", 60.0)
    async with connected(monkeypatch, max_buffer_bytes=1_000) as (client, server):
        room = client.subscribe("a")
        await server.hear()
        server.say(
            '{"type":"subscribed","id":1,"group":"a","recovered":true,"position":{"offset":0,"epoch":"e"},"latest":0}'
        )
        for offset in range(1, 51):
            server.say(message(offset))
        assert isinstance(await anext(room), Subscribed)
        for offset in range(1, 51):
            event = await anext(room)
            assert isinstance(event, Message)
            assert event.position == Position(offset, "e")
        assert room.state is State.LIVE
        assert server.line.to_server.empty(), "it has left the group, and come back"


async def test_refusals_that_pass_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (client, server):
        room = client.subscribe("a")
        for number in (1, 2):
            assert (await server.hear())["id"] == number
            server.say(f'{{"type":"error","id":{number},"code":"unavailable","message":""}}')
        publishing = asyncio.create_task(client.publish("a", {}, key="k"))
        third, fourth = await server.hear(), await server.hear()
        subscribe, publish = (third, fourth) if third["type"] == "subscribe" else (fourth, third)
        server.say(f'{{"type":"error","id":{publish["id"]},"code":"timeout","message":""}}')
        assert {**await server.hear(), "id": 0} == {**publish, "id": 0}
        server.say('{"type":"reply","id":5,"position":null}')
        assert await publishing is None
        server.say(f'{{"type":"subscribed","id":{subscribe["id"]},"group":"a","recovered":true,"position":null}}')
        assert isinstance(await anext(room), Subscribed)
        server.say('{"type":"unsubscribed","group":"a","code":"forbidden","reason":"out"}')
        with pytest.raises(RequestFailed, match="out"):
            await anext(room)


async def test_the_servers_bounds_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch) as (client, server):
        with pytest.raises(RequestFailed, match="too_large"):
            await client.publish("a", {"text": "x" * 1_000})
        calls = [asyncio.create_task(client.call("echo", n)) for n in range(3)]
        assert [(await server.hear())["params"] for _ in range(2)] == [0, 1]
        await asyncio.sleep(0)
        assert server.line.to_server.empty()
        server.say('{"type":"reply","id":3,"result":1}')
        assert (await server.hear())["params"] == 2
        with pytest.raises(TimeoutError):
            await client.call("slow", timeout_s=0.01)
        with pytest.raises(ValueError, match="already"):
            _ = client.subscribe("b"), client.subscribe("b")
        await client.close()
        assert [type(result) for result in await asyncio.gather(*calls, return_exceptions=True)] == [
            ClientClosed,
            int,
            ClientClosed,
        ]
        with pytest.raises(ClientClosed):
            await client.call("echo")
        with pytest.raises(ClientClosed):
            client.subscribe("c")


async def test_a_token_is_renewed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    server, tokens = Server("true"), iter(("one", "two"))

    async def token() -> str:
        return next(tokens)

    opening = asyncio.create_task(Client("ws://unused", dial=server.dial, token=token).__aenter__())
    await server.connected()
    assert (await server.hear())["token"] == "one"
    server.say('{"type":"reply","id":1,"expires_in_s":0.05}')
    client = await opening
    assert (await server.hear())["token"] == "two"
    await client.close()


async def test_a_client_whose_opening_is_given_up_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    never = asyncio.Event()

    async def dial() -> Line:
        await never.wait()
        raise AssertionError

    opening = asyncio.create_task(Client("ws://unused", dial=dial).__aenter__())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    del opening
    gc.collect()
    assert told == []


async def test_without_a_token_that_is_wanted_it_gives_up() -> None:
    server = Server("true")
    with pytest.raises(ClientClosed) as closed:
        async with Client("ws://unused", dial=server.dial):
            pass
    assert closed.value.code == 4501

"""One socket that speaks fullduplex.v1: what the protocol promises, and bounds."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import asynccontextmanager
from typing import Any

import pytest
from django.core.signals import got_request_exception
from django.test import TestCase

from fullduplex import Endpoint, Group
from fullduplex.realtime.hub import Hub, get_hub
from fullduplex.testing import AsyncClient, AsyncWebSocketSession, Client, HandshakeRefused
from tests.endpoint.site import Site


@asynccontextmanager
async def connected(path: str = "/realtime/", **options: Any) -> Any:
    client = AsyncClient(raise_request_exception=False)
    async with client.websocket(path, subprotocols=["fullduplex.v1"], **options) as socket:
        welcome = await socket.receive_json()
        assert welcome["type"] == "welcome"
        yield socket


async def ask(socket: AsyncWebSocketSession, kind: str, request_id: int = 1, **members: Any) -> Any:
    await socket.send({"type": kind, "id": request_id, **members})
    return await socket.receive_json()


async def test_without_the_subprotocol_it_is_refused() -> None:
    with pytest.raises(HandshakeRefused) as refused:
        async with AsyncClient().websocket("/realtime/", subprotocols=["other"]):
            pass
    assert refused.value.response.status_code == 400
    assert b"subprotocol fullduplex.v1" in refused.value.response.content
    with pytest.raises(HandshakeRefused) as refused:
        async with AsyncClient().websocket("/realtime/?refuse", subprotocols=["fullduplex.v1"]):
            pass
    assert refused.value.response.status_code == 403


async def test_the_default_is_to_refuse() -> None:
    endpoint = Endpoint()
    assert not await endpoint.may_subscribe("a")
    assert not await endpoint.may_publish("a", {})


def test_hooks_are_coroutines() -> None:
    with pytest.raises(TypeError, match=r"Wrong.call_sync must be an `async def` method"):

        class Wrong(Endpoint):
            def call_sync(self, params: Any) -> None: ...

    with pytest.raises(TypeError, match="has no attribute 'heartbeats'"):
        Site.as_view(heartbeats=1)


async def test_errors_reach_the_log_once_and_the_client_as_internal(caplog: pytest.LogCaptureFixture) -> None:
    async with connected() as socket:
        for number, (kind, members) in enumerate(
            [("call", {"method": "fail"}), ("call", {"method": "unsayable"}), ("subscribe", {"group": "broken.1"})], 1
        ):
            caplog.clear()
            error = await ask(socket, kind, number, **members)
            assert error == {"type": "error", "id": number, "code": "internal", "message": "The server failed."}
            (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
            assert record.exc_info


async def test_a_client_cannot_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Any] = []

    def hear(**told: Any) -> None:
        heard.append(told)

    got_request_exception.connect(hear)
    try:
        async with connected() as socket:
            for number in range(1, 51):
                assert (await ask(socket, "call", number, method="fail"))["code"] == "internal"
    finally:
        got_request_exception.disconnect(hear)
    assert len(heard) == 50, "who tracks errors counts them himself"
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1


async def test_a_test_hears_what_a_call_raised() -> None:
    async with AsyncClient().websocket("/realtime/", subprotocols=["fullduplex.v1"]) as socket:
        await socket.receive_json()
        assert (await ask(socket, "call", method="fail"))["code"] == "internal"
        await socket.close()
        with pytest.raises(RuntimeError, match="for the log alone"):
            await socket.receive()


async def test_half_a_surrogate_pair_is_the_clients_fault() -> None:
    async with connected() as socket:
        await socket.send('{"type":"publish","id":1,"group":"chat.1","data":["\\ud800"]}')
        assert (await socket.receive_json())["code"] == "bad_request"
        await socket.send('{"type":"call","id":2,"method":"echo","params":{"\\udfff":1}}')
        assert (await socket.receive_json())["code"] == "bad_request"
        assert (await ask(socket, "call", 3, method="half"))["code"] == "internal"


async def test_a_session_that_is_cancelled_leaves_no_member_behind() -> None:
    """As when the server's own call is cancelled while the layer takes its time."""
    async with connected() as socket:
        for number in range(1, 6):
            await ask(socket, "subscribe", number, group=f"news.{number}")
        assert len(get_hub().groups) == 5
        assert Site.last is not None
        session: Any = Site.last.serving
        stopping = asyncio.create_task(session.stop())
        await asyncio.sleep(0)
        stopping.cancel()
        await asyncio.wait({stopping})
        for _ in range(5):
            await asyncio.sleep(0)
        assert get_hub().groups == []


async def test_what_is_longer_than_it_may_be_ends_the_socket() -> None:
    async with connected("/hasty/") as socket:
        await socket.send({"type": "call", "id": 1, "method": "echo", "params": "é" * 600})
        assert (await socket.wait_closed())[0] == 1009
    async with connected("/hasty/") as socket:
        await socket.send(b"{}")
        assert (await socket.wait_closed())[0] == 4500


async def test_bounds_of_groups_and_requests() -> None:
    async with connected("/hasty/") as socket:
        for number in (1, 2):
            assert (await ask(socket, "subscribe", number, group=f"news.{number}"))["type"] == "subscribed"
        assert (await ask(socket, "subscribe", 3, group="news.3"))["code"] == "limit"
        assert (await ask(socket, "unsubscribe", 4, group="news.1"))["type"] == "reply"
        assert (await ask(socket, "subscribe", 5, group="news.3"))["type"] == "subscribed"
        for number in (6, 7, 8):
            await socket.send({"type": "call", "id": number, "method": "wait"})
        told = [await socket.receive_json() for _ in range(3)]
        assert [(error["id"], error["code"]) for error in told] == [(8, "limit"), (6, "timeout"), (7, "timeout")]
        assert (await ask(socket, "call", 9, method="echo", params=1))["result"] == 1


async def test_what_concerns_one_group_keeps_its_order() -> None:
    async with connected() as socket:
        await socket.send({"type": "subscribe", "id": 1, "group": "chat.1"})
        await socket.send({"type": "publish", "id": 2, "group": "chat.1", "data": {"slow": 0.05}})
        await socket.send({"type": "publish", "id": 3, "group": "chat.1", "data": {"n": 2}})
        await socket.send({"type": "unsubscribe", "id": 4, "group": "chat.1"})
        await socket.send({"type": "publish", "id": 5, "group": "chat.2", "data": {}})
        told = [await socket.receive_json() for _ in range(7)]
        assert [message["data"] for message in told if message["type"] == "message"] == [{"slow": 0.05}, {"n": 2}]
        order = [message["id"] for message in told if "id" in message]
        assert [number for number in order if number != 5] == [1, 2, 3, 4]
        assert order.index(5) < order.index(2)
        await Group("chat.1").asend({})
        assert await socket.receive_nothing()


async def test_leaving_cancels_what_runs_and_leaves_the_groups() -> None:
    async with connected() as socket:
        await ask(socket, "subscribe", 1, group="chat.1")
        await socket.send({"type": "call", "id": 2, "method": "wait"})
        await ask(socket, "call", 3, method="echo", params=1)
        assert get_hub().member_count("chat.1") == 1
        await socket.close(1001)
    assert Site.last is not None
    assert Site.last.told == ["cancelled", 1001]
    assert get_hub().groups == []


async def test_what_a_project_swallows_and_ends() -> None:
    async with connected() as socket:
        await ask(socket, "subscribe", 1, group="chat.1")
        assert await ask(socket, "publish", 2, group="chat.1", data=["swallowed"]) == {
            "type": "reply",
            "id": 2,
            "position": None,
        }
        told = [await ask(socket, "call", 3, method="leave", params="chat.1"), await socket.receive_json()]
        assert {"type": "unsubscribed", "group": "chat.1", "code": "forbidden", "reason": "asked for"} in told
        assert (await ask(socket, "subscribe", 4, group="chat.1"))["type"] == "subscribed"


async def test_kinds_of_payloads_and_gaps() -> None:
    async with connected() as socket:
        await ask(socket, "subscribe", 1, group="news.1")
        for payload in ({"a": 1}, "text", b"\x00\x01"):
            await Group("news.1").asend(payload)
        told = [await socket.receive_json() for _ in range(3)]
        head = {"type": "message", "group": "news.1"}
        assert told == [{**head, "data": {"a": 1}}, {**head, "data": "text"}, {**head, "base64": "AAE="}]
        get_hub().gap("news.1")
        assert await socket.receive_json() == {"type": "gap", "group": "news.1", "position": None}


async def test_a_token_expires_and_is_renewed() -> None:
    async with connected("/tokens/") as socket:
        assert (await ask(socket, "token", 1, token="short"))["expires_in_s"] == 0.2
        assert (await socket.wait_closed())[0] == 4001
    async with connected("/tokens/") as socket:
        await ask(socket, "token", 1, token="good")
        await ask(socket, "subscribe", 2, group="chat.1")
        assert (await ask(socket, "token", 3, token="bad"))["code"] == "unauthorized"
        await socket.send({"type": "token", "id": 4, "token": "narrow"})
        assert [(await socket.receive_json())["type"] for _ in range(2)] == ["unsubscribed", "reply"]
        await asyncio.sleep(0)
    async with connected("/tokens/") as socket:
        assert (await ask(socket, "token", 1, token="nan"))["code"] == "internal"
        assert (await ask(socket, "subscribe", 2, group="chat.1"))["code"] == "unauthorized"
        for number, token in ((3, "short"), (4, "nan")):
            await socket.send({"type": "token", "id": number, "token": token})
        assert (await socket.wait_closed())[0] == 4001
    async with connected() as socket:
        assert (await ask(socket, "token", 1, token="good"))["code"] == "unsupported"


@pytest.mark.parametrize(("token", "code"), [("denied", "forbidden"), ("stuck", "timeout")])
async def test_what_a_new_token_is_not_known_to_allow_ends(token: str, code: str) -> None:
    async with connected("/tokens/hasty/") as socket:
        await ask(socket, "token", 1, token="good")
        for number in (2, 3):
            await ask(socket, "subscribe", number, group=f"chat.{number}")
        await socket.send({"type": "token", "id": 4, "token": token})
        told = [await socket.receive_json() for _ in range(3)]
        ended = {message["group"]: message["code"] for message in told if message["type"] == "unsubscribed"}
        assert ended == {"chat.2": code, "chat.3": code}
        await Group("chat.2").asend({})
        assert await socket.receive_nothing()


async def test_what_begins_while_a_token_comes_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    joins, goes_on = asyncio.Event(), asyncio.Event()
    join = Hub.join

    async def slow(self: Hub, *args: Any) -> None:
        joins.set()
        await goes_on.wait()
        await join(self, *args)

    monkeypatch.setattr(Hub, "join", slow)
    async with connected("/tokens/") as socket:
        await ask(socket, "token", 1, token="good")
        await socket.send({"type": "subscribe", "id": 2, "group": "chat.1"})
        await joins.wait()
        assert (await ask(socket, "token", 3, token="narrow"))["type"] == "reply"
        goes_on.set()
        assert [(await socket.receive_json())["type"] for _ in range(2)] == ["subscribed", "unsubscribed"]


async def test_who_does_not_end_keeps_nobody_in_a_group(settings: Any) -> None:
    settings.FULLDUPLEX = {**settings.FULLDUPLEX, "DISCONNECT_GRACE_S": 0.1}
    async with connected() as socket:
        await ask(socket, "subscribe", 1, group="chat.1")
        await socket.send({"type": "call", "id": 2, "method": "linger"})
        await ask(socket, "call", 3, method="echo", params=1)
        await socket.close(1001)
        while get_hub().groups:
            await asyncio.sleep(0)
        assert Site.last is not None
        while Site.last.told != [1001]:
            await asyncio.sleep(0)
        Site.last.lingers.set()


async def test_a_thousand_clients_are_told_from_one_envelope() -> None:
    async with connected() as one, connected() as other, AsyncClient().websocket("/plain/") as plain:
        for socket in (one, other):
            await ask(socket, "subscribe", 1, group="chat.1")
        await plain.receive()
        await Group("chat.1").asend({"n": 1})
        told = [await socket.receive() for socket in (one, other)]
        assert json.loads(told[0])["data"] == {"n": 1}
        assert told[0] is told[1]
        assert await plain.receive() == '{"n":1}'


class TestSynchronously(TestCase):
    client_class = Client

    def test_it_works_in_a_test_case(self) -> None:
        with self.client.websocket("/realtime/", subprotocols=["fullduplex.v1"]) as socket:
            assert socket.receive_json()["type"] == "welcome"
            socket.send({"type": "subscribe", "id": 1, "group": "chat.1"})
            assert socket.receive_json()["recovered"]
            Group("chat.1").send({"n": 1})
            assert socket.receive_json()["data"] == {"n": 1}

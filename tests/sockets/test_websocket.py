"""The WebSocket object on plain ASGI: no handler of ours below it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.http import HttpRequest
from django.test import override_settings

from fullduplex.exceptions import Disconnected, LocalProtocolError, RemoteProtocolError
from fullduplex.realtime.groups import Group
from fullduplex.realtime.hub import get_hub
from fullduplex.sockets.websocket import SocketState, WebSocket


class Server:
    """The two ASGI callables of a server, with what goes through them."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.incoming: asyncio.Queue[Any] = asyncio.Queue()
        self.broken: BaseException | None = None
        self.accepting: asyncio.Event | None = None

    async def receive(self) -> Any:
        return await self.incoming.get()

    async def send(self, event: Any) -> None:
        if self.broken is not None:
            raise self.broken
        self.sent.append(event)
        if event["type"] == "websocket.accept" and self.accepting is not None:
            await self.accepting.wait()

    def kinds(self) -> list[str]:
        return [event["type"].removeprefix("websocket.") for event in self.sent]

    def message(self, data: str | bytes) -> None:
        self.incoming.put_nowait({"type": "websocket.receive", "text" if isinstance(data, str) else "bytes": data})

    def leave(self, **event: Any) -> None:
        self.incoming.put_nowait({"type": "websocket.disconnect", **event})


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def socket(server: Server) -> WebSocket:
    request = HttpRequest()
    request.META["HTTP_X_NAME"] = "value"
    return WebSocket(request, {"type": "websocket", "subprotocols": ["a", "b"]}, server.receive, server.send)


# Accepting -----------------------------------------------------------------------------------


async def test_a_new_socket_is_connecting(socket: WebSocket) -> None:
    assert (socket.state, socket.accepted, socket.closed) == (SocketState.CONNECTING, False, False)
    assert (socket.close_code, socket.close_reason) == (None, "")
    assert socket.subprotocols == ["a", "b"]
    assert socket.headers["x-name"] == "value"


async def test_accept_with_subprotocol_and_headers(socket: WebSocket, server: Server) -> None:
    await socket.accept("b", {"X-A": "1"})
    assert server.sent == [{"type": "websocket.accept", "subprotocol": "b", "headers": [(b"X-A", b"1")]}]
    assert socket.accepted


async def test_accepting_twice_is_an_error(socket: WebSocket) -> None:
    await socket.accept()
    with pytest.raises(LocalProtocolError, match="accepted already"):
        await socket.accept()


async def test_a_subprotocol_that_was_not_offered_is_an_error(socket: WebSocket, server: Server) -> None:
    with pytest.raises(ValueError, match=r"offers the subprotocols \['a', 'b'\], and 'c' is none"):
        await socket.accept("c")
    assert server.sent == []


@pytest.mark.parametrize("name", ["Sec-WebSocket-Protocol", "content-type", "ETag", "Connection", "Upgrade"])
async def test_a_header_that_an_accept_may_not_carry_is_an_error(socket: WebSocket, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        await socket.accept(headers={name: "1"})


@pytest.mark.parametrize("first", ["receive", "send", "iteration"])
async def test_the_first_of_these_accepts(first: str, socket: WebSocket, server: Server) -> None:
    server.message("x")
    if first == "receive":
        assert await socket.receive() == "x"
    elif first == "send":
        await socket.send("y")
    else:
        assert await anext(aiter(socket)) == "x"
    assert server.kinds()[0] == "accept"
    await socket.send("z")
    assert server.kinds().count("accept") == 1


async def test_two_tasks_accept_once_and_both_wait_for_it(socket: WebSocket, server: Server) -> None:
    server.accepting = asyncio.Event()
    server.message("x")
    tasks = [asyncio.ensure_future(socket.send("one")), asyncio.ensure_future(socket.receive())]
    for _ in range(5):
        await asyncio.sleep(0)
    assert server.kinds() == ["accept"]
    assert not socket.accepted
    server.accepting.set()
    assert await asyncio.gather(*tasks) == [None, "x"]
    assert server.kinds() == ["accept", "send"]


async def test_a_caller_that_gives_up_does_not_take_the_accept_back(socket: WebSocket, server: Server) -> None:
    server.accepting = asyncio.Event()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(socket.accept(), 0)
    await asyncio.sleep(0)
    server.accepting.set()
    await socket.send("x")
    assert server.kinds() in (["accept", "send"], ["send"])


async def test_an_accept_that_fails_is_a_disconnect(socket: WebSocket, server: Server) -> None:
    server.broken = OSError("reset")
    with pytest.raises(Disconnected):
        await socket.accept()
    assert socket.closed


# Receiving -----------------------------------------------------------------------------------


async def test_messages_keep_their_kind(socket: WebSocket, server: Server) -> None:
    server.message("text")
    server.message(b"bytes")
    server.message("")
    server.incoming.put_nowait({"type": "websocket.receive", "text": None, "bytes": b"1"})
    server.incoming.put_nowait({"type": "websocket.receive", "text": "2", "bytes": None})
    assert [await socket.receive() for _ in range(5)] == ["text", b"bytes", "", b"1", "2"]


async def test_iteration_ends_when_the_client_leaves(socket: WebSocket, server: Server) -> None:
    server.message("one")
    server.leave(code=4000, reason="bye")
    assert [message async for message in socket] == ["one"]
    assert (socket.state, socket.close_code, socket.close_reason) == (SocketState.CLOSED, 4000, "bye")
    assert [message async for message in socket] == []


async def test_receive_raises_when_the_client_left(socket: WebSocket, server: Server) -> None:
    server.leave(code=None)
    with pytest.raises(Disconnected) as caught:
        await socket.receive()
    assert caught.value.code == 1005
    with pytest.raises(Disconnected):
        await socket.receive()


async def test_receiving_in_two_tasks_is_an_error(socket: WebSocket, server: Server) -> None:
    await socket.accept()
    waiting = asyncio.ensure_future(socket.receive())
    await asyncio.sleep(0)
    with pytest.raises(LocalProtocolError, match="another task is receiving"):
        await socket.receive()
    server.message("for the first")
    assert await waiting == "for the first"


async def test_a_cancelled_receive_makes_room_for_the_next(socket: WebSocket, server: Server) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(socket.receive(), 0)
    server.message("x")
    assert await socket.receive() == "x"


async def test_receive_text_bytes_and_json(socket: WebSocket, server: Server) -> None:
    server.message("text")
    server.message(b"bytes")
    server.message('{"a": [1]}')
    server.message(b"2")
    assert await socket.receive_text() == "text"
    assert await socket.receive_bytes() == b"bytes"
    assert await socket.receive_json() == {"a": [1]}
    assert await socket.receive_json() == 2


@pytest.mark.parametrize(
    ("method", "message", "code"),
    [
        ("receive_text", b"", 1003),
        ("receive_bytes", "", 1003),
        ("receive_json", "{", 1007),
        ("receive_json", b"\xff", 1007),
        ("receive_json", "[" * 100_000, 1007),
    ],
)
async def test_a_message_of_the_wrong_kind_is_the_clients_fault(
    method: str, message: str | bytes, code: int, socket: WebSocket, server: Server
) -> None:
    server.message(message)
    with pytest.raises(RemoteProtocolError) as caught:
        await getattr(socket, method)()
    assert caught.value.close_code == code


# Sending and closing -------------------------------------------------------------------------


async def test_payloads(socket: WebSocket, server: Server) -> None:
    import datetime

    await socket.send("text")
    await socket.send(b"bytes")
    await socket.send({"day": datetime.date(2026, 1, 2), "é": [1]})
    await socket.send([])
    assert server.sent[1:] == [
        {"type": "websocket.send", "text": "text"},
        {"type": "websocket.send", "bytes": b"bytes"},
        {"type": "websocket.send", "text": server.sent[3]["text"]},
        {"type": "websocket.send", "text": "[]"},
    ]
    import json

    assert json.loads(server.sent[3]["text"]) == {"day": "2026-01-02", "é": [1]}


async def test_another_payload_is_an_error_and_accepts_nothing(socket: WebSocket, server: Server) -> None:
    for payload in (None, 1, {1, 2}, object()):
        with pytest.raises(TypeError):
            await socket.send(payload)  # type: ignore[arg-type]
    assert server.sent == []


async def test_a_failing_send_is_a_disconnect_and_the_socket_is_closed(socket: WebSocket, server: Server) -> None:
    await socket.accept()
    server.broken = Disconnected(4001, "gone")
    with pytest.raises(Disconnected) as caught:
        await socket.send("x")
    assert (caught.value.code, socket.close_code, socket.close_reason) == (4001, 4001, "gone")


async def test_an_oserror_of_another_server_is_a_disconnect_too(socket: WebSocket, server: Server) -> None:
    await socket.accept()
    server.broken = BrokenPipeError()
    with pytest.raises(Disconnected) as caught:
        await socket.send("x")
    assert caught.value.code == 1006


async def test_close_sends_code_and_reason_once(socket: WebSocket, server: Server) -> None:
    await socket.accept()
    await socket.close(4000, "enough")
    await socket.close(4001)
    assert server.sent[1:] == [{"type": "websocket.close", "code": 4000, "reason": "enough"}]
    assert (socket.state, socket.close_code, socket.close_reason) == (SocketState.CLOSED, 4000, "enough")
    with pytest.raises(Disconnected):
        await socket.send("x")


async def test_close_before_the_accept_refuses(socket: WebSocket, server: Server) -> None:
    await socket.close()
    assert server.kinds() == ["close"]
    with pytest.raises(Disconnected):
        await socket.accept()


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2999, 5000])
async def test_a_code_that_may_not_be_sent_is_an_error(socket: WebSocket, code: int) -> None:
    with pytest.raises(ValueError, match=str(code)):
        await socket.close(code)


async def test_a_reason_has_at_most_123_bytes(socket: WebSocket, server: Server) -> None:
    with pytest.raises(ValueError, match="123 bytes"):
        await socket.close(1000, "é" * 62)
    await socket.close(1000, "é" * 61)
    assert server.kinds() == ["close"]


async def test_closing_what_the_client_has_closed_is_no_error(socket: WebSocket, server: Server) -> None:
    await socket.accept()
    server.broken = OSError()
    await socket.close()
    assert socket.closed


# Groups --------------------------------------------------------------------------------------


async def test_join_subscribes_first_and_what_comes_before_the_accept_waits(socket: WebSocket, server: Server) -> None:
    server.accepting = asyncio.Event()
    joining = asyncio.ensure_future(socket.join("lobby"))
    while not server.sent:
        await asyncio.sleep(0)
    assert get_hub().member_count("lobby") == 1
    await Group("lobby").asend("early")
    for _ in range(5):
        await asyncio.sleep(0)
    assert server.kinds() == ["accept"]
    server.accepting.set()
    await joining
    await socket.send("mine")
    assert [event.get("text") for event in server.sent] == [None, "early", "mine"]
    await socket.end()


async def test_leave_and_end_leave(socket: WebSocket, server: Server) -> None:
    await socket.join(Group("one"))
    await socket.join("two")
    await socket.leave("one")
    await socket.leave("never-joined")
    assert get_hub().groups == ["two"]
    await socket.end()
    assert get_hub().groups == []
    assert socket.closed
    with pytest.raises(Disconnected):
        await socket.join("three")


async def test_leaving_before_any_join_checks_the_name_all_the_same(socket: WebSocket) -> None:
    with pytest.raises(ValueError, match="no name for a group"):
        await socket.leave("no good")


async def test_a_join_that_fails_accepts_nothing(socket: WebSocket, server: Server) -> None:
    for name in ("no good", "", "x" * 100):
        with pytest.raises(ValueError, match="no name for a group"):
            await socket.join(name)
    assert server.sent == []


async def test_a_close_goes_out_behind_what_groups_have_delivered(socket: WebSocket, server: Server) -> None:
    await socket.join("lobby")
    for number in range(3):
        await Group("lobby").asend(str(number))
    await socket.close(4000)
    assert [event.get("text") or event.get("code") for event in server.sent[1:]] == ["0", "1", "2", 4000]
    await socket.end()


async def test_a_client_too_slow_for_its_groups_is_closed_with_1013(socket: WebSocket, server: Server) -> None:
    with override_settings(FULLDUPLEX={"OUTBOX_MAX_BYTES": 100}):
        await socket.join("lobby")
    await Group("lobby").asend("x" * 1_000)
    while "close" not in server.kinds():
        await asyncio.sleep(0)
    assert (socket.state, socket.close_code) == (SocketState.CLOSED, 1013)
    with pytest.raises(Disconnected):
        await socket.send("x")
    await socket.end()

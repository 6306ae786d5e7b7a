"""One WebSocket -> one ASGI call: the events that an application sees, and the frames that a client gets."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from fullduplex.exceptions import Disconnected, LocalProtocolError
from fullduplex.gateway.session import GATHERED_BYTES, Session
from fullduplex.limits import WebSocketLimits
from fullduplex.wire import handshake
from fullduplex.wire.deflate import DeflateParameters
from fullduplex.wire.events import Close, ConnectionEnded, Event, Message, Ping, Pong
from fullduplex.wire.websocket import WebSocketCodec
from tests.gateway.wired import Wired

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: " + KEY + b"\r\nSec-WebSocket-Version: 13\r\n"
)


class Client(Wired):
    """A WebSocket client on a wired connection."""

    codec: WebSocketCodec

    async def connect(self, *fields: bytes) -> bytes:
        """Handshake; return the server's head."""
        answer = await self.feed(HANDSHAKE + b"".join(field + b"\r\n" for field in fields) + b"\r\n")
        head, _, rest = answer.partition(b"\r\n\r\n")
        deflate = None
        if b"permessage-deflate" in head:
            deflate = DeflateParameters(server_no_context_takeover=True, client_no_context_takeover=True)
        self.codec = WebSocketCodec(WebSocketLimits(), deflate=deflate, client=True, now_s=0)
        self.early = self.read(rest) if rest else []
        return head

    def read(self, data: bytes) -> list[Event]:
        events = self.codec.receive_data(data, 0)
        while self.codec.holds_data:
            events += self.codec.receive_data(b"", 0)
        return events

    async def say(self, *events: Event) -> list[Event]:
        """Send events in one read; return what came back."""
        for event in events:
            self.codec.send(event)
        return await self.raw(self.codec.data_to_send())

    async def raw(self, *pieces: bytes) -> list[Event]:
        answer = await self.feed(*pieces)
        return self.read(answer) if answer else []


async def accept(receive, send, **accept: Any) -> None:
    assert (await receive()) == {"type": "websocket.connect"}
    await send({"type": "websocket.accept", **accept})


async def echo(scope, receive, send):
    await accept(receive, send)
    while (message := await receive())["type"] != "websocket.disconnect":
        await send({**message, "type": "websocket.send"})


def record(seen: list[Any]) -> Any:
    """An application that accepts and remembers what it receives."""

    async def app(scope, receive, send):
        await accept(receive, send)
        while not seen or seen[-1]["type"] != "websocket.disconnect":
            seen.append(await receive())

    return app


async def test_the_scope_is_honest(framing):
    seen: dict[str, Any] = {}

    async def app(scope, receive, send):
        seen.update(scope)
        await accept(receive, send)

    client = Client(app)
    client.gateway.state = {"pool": 1}
    await client.connect(b"Sec-WebSocket-Protocol: a, b", b"Origin: http://a")
    extension = seen["extensions"].pop("fullduplex.prepared")
    assert extension["version"] == 1
    asked = [(b"upgrade", b"websocket"), (b"connection", b"Upgrade"), (b"sec-websocket-key", KEY)]
    assert seen == {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1" if framing == "http1" else "2",
        "scheme": "ws",
        "path": "/ws",
        "raw_path": b"/ws",
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"host", b"a"),
            *(asked if framing == "http1" else []),
            (b"sec-websocket-version", b"13"),
            (b"sec-websocket-protocol", b"a, b"),
            (b"origin", b"http://a"),
        ],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8000),
        "subprotocols": ["a", "b"],
        "extensions": {"websocket.http.response": {}},
        "state": {"pool": 1},
    }
    await client.finish()


async def test_accept_carries_subprotocol_and_headers():
    async def app(scope, receive, send):
        await accept(receive, send, subprotocol="b", headers=[(b"set-cookie", b"x=1")])
        await receive()

    client = Client(app)
    head = await client.connect(b"Sec-WebSocket-Protocol: a, b")
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    lines = head.lower().split(b"\r\n")
    assert b"sec-websocket-protocol: b" in lines
    assert b"set-cookie: x=1" in lines
    assert b"sec-websocket-accept: " + handshake.accept_value(KEY).lower() in lines
    await client.finish()


async def test_messages_both_ways_also_empty_ones():
    client = Client(echo)
    await client.connect()
    for data in ("hello", "", "ü" * 1000, b"", b"\x00\xff", b"x" * 100_000):
        assert await client.say(Message(data)) == [Message(data)]
    assert await client.say(Message("a"), Message(b"b"), Message("c")) == [Message("a"), Message(b"b"), Message("c")]
    await client.finish()


async def test_messages_are_compressed_where_offered():
    client = Client(echo)
    head = await client.connect(b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")
    assert b"permessage-deflate" in head
    client.codec.send(Message("x" * 10_000))
    answer = await client.feed(client.codec.data_to_send())
    assert len(answer) < 200
    assert client.codec.receive_data(answer, 0) == [Message("x" * 10_000)]
    await client.finish()


async def test_deflate_can_be_switched_off():
    client = Client(echo, deflate=False)
    assert b"permessage-deflate" not in await client.connect(b"Sec-WebSocket-Extensions: permessage-deflate")
    await client.finish()


async def test_context_takeover_is_agreed_where_the_configuration_says_so():
    client = Client(echo, deflate_takeover=True)
    head = await client.connect(b"Sec-WebSocket-Extensions: permessage-deflate")
    assert b"no_context_takeover" not in head
    await client.finish()


@pytest.mark.parametrize("takeover", [False, True])
async def test_prepared_messages_that_are_framed_already_do_not_disturb_the_context_of_own_ones(takeover):
    frames: dict[Any, bytes] = {}
    shared = SimpleNamespace(data="shared " * 200, frames=frames)
    own = {"type": "websocket.send", "text": "own " * 500}

    async def app(scope, receive, send):
        await accept(receive, send)
        for _ in range(3):
            await send(own)
            scope["extensions"]["fullduplex.prepared"]["write"](shared)
        await receive()

    for _ in range(2):  # the second one finds the frame
        client = Client(app, deflate_takeover=takeover)
        answer = await client.feed(HANDSHAKE + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
        answer += client.transport.take()
        parameters = DeflateParameters(server_no_context_takeover=not takeover, client_no_context_takeover=not takeover)
        codec = WebSocketCodec(WebSocketLimits(), deflate=parameters, client=True, now_s=0)
        events = codec.receive_data(answer.partition(b"\r\n\r\n")[2], 0)
        assert events == [Message(own["text"]), Message(shared.data)] * 3
        assert len(frames) == 1
        await client.finish()


async def test_pings_of_a_client_that_reads_nothing_do_not_fill_the_memory():
    client = Client(echo, write_buffer_bytes=20_000)
    await client.connect()
    client.transport.stalled = True
    sent = 0
    while client.transport.reading and sent < 10_000:
        for _ in range(20):
            client.codec.send(Ping(b"x" * 125))
        sent += 20
        await client.feed(client.codec.data_to_send())
    assert sent < 1_000
    client.transport.peer_reads()
    assert client.transport.reading
    await client.finish()


async def test_frames_in_the_read_of_the_handshake_are_not_lost():
    seen: list[Any] = []
    client = Client(record(seen))
    other = WebSocketCodec(WebSocketLimits(), client=True)
    other.send(Message("early"))
    await client.feed(HANDSHAKE + b"\r\n" + other.data_to_send())
    assert seen == [{"type": "websocket.receive", "text": "early"}]
    await client.finish()


async def test_the_client_closes():
    seen: list[Any] = []
    client = Client(record(seen))
    await client.connect()
    assert await client.say(Close(3001, "bye")) == [Close(3001)]
    assert seen == [{"type": "websocket.disconnect", "code": 3001, "reason": "bye"}]
    assert client.transport.eof_written or client.transport.is_closing()
    assert client.log.lines[-1] == ("close", "/ws", 3001, "bye", "client")
    await client.finish()


async def test_a_close_without_a_code_is_1005():
    seen: list[Any] = []
    client = Client(record(seen))
    await client.connect()
    assert await client.say(Close(1005)) == [Close(1005)]
    assert seen[0]["code"] == 1005
    await client.finish()


async def test_a_lost_connection_is_1006():
    seen: list[Any] = []
    client = Client(record(seen))
    await client.connect()
    await client.finish()
    assert seen == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]
    assert client.log.lines[-1] == ("close", "/ws", 1006, "", "lost")


async def test_messages_before_the_end_are_received_before_it():
    seen: list[Any] = []
    go = asyncio.Event()

    async def app(scope, receive, send):
        await accept(receive, send)
        await go.wait()
        await record_rest(receive, seen)

    async def record_rest(receive, seen):
        while not seen or seen[-1]["type"] != "websocket.disconnect":
            seen.append(await receive())

    client = Client(app)
    await client.connect()
    await client.say(Message("1"), Message("2"), Close(1000))
    go.set()
    await client.finish()
    assert [message["type"] for message in seen] == ["websocket.receive"] * 2 + ["websocket.disconnect"]


@pytest.mark.parametrize(
    ("message", "close"),
    [
        ({}, Close(1000)),
        ({"code": 4000, "reason": "enough"}, Close(4000, "enough")),
        ({"code": None, "reason": None}, Close(1000)),
    ],
)
async def test_the_application_closes(message, close):
    seen: list[Any] = []

    async def app(scope, receive, send):
        await accept(receive, send)
        await send({"type": "websocket.close", **message})
        with pytest.raises(Disconnected):
            await send({"type": "websocket.send", "text": "late"})
        await send({"type": "websocket.close"})
        seen.append(await receive())

    client = Client(app)
    await client.connect()
    assert client.early == [close]
    assert seen == [{"type": "websocket.disconnect", "code": close.code, "reason": close.reason}]
    assert not client.transport.is_closing(), "the client's half of the closing handshake is awaited"
    await client.raw(client.codec.data_to_send())
    assert client.transport.eof_written
    await client.finish()


async def test_a_client_that_does_not_answer_our_close_is_dropped():
    async def app(scope, receive, send):
        await accept(receive, send)

    client = Client(app, close_timeout_s=5.0)
    await client.connect()
    await client.tick(0.5)
    await client.tick(6)
    await client.tick(6)
    assert client.transport.is_closing()
    await client.finish()


async def test_closing_before_accepting_is_403():
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.close"})
        assert (await receive())["type"] == "websocket.disconnect"

    client = Client(app)
    answer = await client.feed(HANDSHAKE + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert client.log.lines == [("handshake", "/ws"), ("refuse", "/ws", 403)]
    await client.finish()


async def test_a_refusal_has_status_headers_and_body_and_the_connection_lives_on():
    async def app(scope, receive, send):
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body"})
            return
        await receive()
        headers = [(b"content-type", b"text/html"), (b"location", b"/login/")]
        await send({"type": "websocket.http.response.start", "status": 302, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": b"go ", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"there"})

    client = Client(app)
    answer = await client.feed(HANDSHAKE + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 302 Found\r\n")
    assert b"\r\nlocation: /login/\r\n" in answer
    assert b"go " in answer
    assert b"there" in answer
    assert client.log.lines[-1] == ("refuse", "/ws", 302)
    assert (await client.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    await client.finish()


@pytest.mark.http1_only(reason="Upgrade and Sec-WebSocket-Key; RFC 8441 section 5 is in tests/rfc and tests/net")
@pytest.mark.parametrize(
    ("change", "status"),
    [
        ((b"Version: 13", b"Version: 8"), b"426 "),
        ((KEY, b"short"), b"400 "),
        ((b"Sec-WebSocket-Key: " + KEY + b"\r\n", b""), b"400 "),
        ((b"GET ", b"POST "), b"400 "),
    ],
)
async def test_a_malformed_handshake_does_not_reach_the_application(change, status):
    called = []

    async def app(scope, receive, send):
        called.append(scope)

    client = Client(app)
    answer = await client.feed(HANDSHAKE.replace(*change) + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 " + status)
    if status == b"426 ":
        assert b"sec-websocket-version: 13\r\n" in answer
    assert not called
    await client.finish()


@pytest.mark.parametrize("accepted", [False, True])
async def test_an_exception_is_logged_once_and_told(accepted, caplog):
    async def app(scope, receive, send):
        if accepted:
            await accept(receive, send)
        raise RuntimeError("boom")

    client = Client(app)
    head = await client.connect()
    if accepted:
        assert client.early == [Close(1011)]
    else:
        assert head.startswith(b"HTTP/1.1 500 ")
    assert caplog.text.count("RuntimeError: boom") == 1
    await client.finish()


async def test_an_application_that_returns_without_an_answer_is_500(caplog):
    async def app(scope, receive, send):
        return

    client = Client(app)
    assert (await client.connect()).startswith(b"HTTP/1.1 500 ")
    assert "without an answer" in caplog.text
    await client.finish()


async def test_an_application_that_returns_closes_with_1000():
    async def app(scope, receive, send):
        await accept(receive, send)

    client = Client(app)
    await client.connect()
    assert client.early == [Close(1000)]
    await client.finish()


async def test_letting_disconnected_pass_is_no_error(caplog):
    async def app(scope, receive, send):
        await accept(receive, send)
        while True:
            await send({"type": "websocket.send", "text": "tick"})
            await asyncio.sleep(0)

    client = Client(app)
    await client.connect()
    await client.finish()
    assert not caplog.records


@pytest.mark.parametrize(
    "messages",
    [
        [{"type": "websocket.send", "text": "early"}],
        [{"type": "websocket.accept"}, {"type": "websocket.accept"}],
        [{"type": "websocket.accept"}, {"type": "websocket.send"}],
        [{"type": "websocket.accept"}, {"type": "websocket.close", "code": 1006}],
        [{"type": "websocket.accept"}, {"type": "websocket.http.response.start", "status": 403}],
        [{"type": "websocket.accept", "subprotocol": "never offered"}],
        [{"type": "websocket.http.response.start", "status": 200}],
        [{"type": "websocket.http.response.body", "body": b""}],
        [{"type": "http.response.start", "status": 200}],
    ],
)
async def test_a_wrong_event_raises_in_the_application(messages, caplog):
    raised = []

    async def app(scope, receive, send):
        await receive()
        for message in messages[:-1]:
            await send(message)
        try:
            await send(messages[-1])
        except LocalProtocolError as error:
            raised.append(error)

    caplog.set_level(logging.CRITICAL)
    client = Client(app)
    await client.connect()
    assert raised
    await client.finish()


async def test_bad_frames_close_with_their_code_and_the_application_learns_it():
    seen: list[Any] = []
    client = Client(record(seen))
    await client.connect()
    events = await client.raw(b"\x81\x85\0\0\0\0\xff\xff\xff\xff\xff")
    assert [event.code for event in events if isinstance(event, Close)] == [1007]
    assert seen[-1]["type"] == "websocket.disconnect"
    assert seen[-1]["code"] == 1007
    assert client.log.lines[-1][4] == "server"
    await client.finish()


async def test_too_big_a_message_is_1009():
    client = Client(echo, max_message_bytes=1000)
    await client.connect()
    events = await client.say(Message("x" * 1001))
    assert [event.code for event in events if isinstance(event, Close)] == [1009]
    await client.finish()


async def test_pings_are_answered_without_the_application():
    seen: list[Any] = []
    client = Client(record(seen))
    await client.connect()
    assert await client.say(Ping(b"x")) == [Pong(b"x")]
    assert not seen
    await client.finish()


async def test_a_silent_client_is_pinged_and_then_closed_with_1011():
    seen: list[Any] = []
    client = Client(record(seen), ping_interval_s=20.0, ping_timeout_s=20.0)
    await client.connect()
    events = client.codec.receive_data(await client.tick(21), 0)
    assert [type(event) for event in events] == [Ping]
    client.codec.data_to_send()
    events = client.codec.receive_data(await client.tick(21), 0)
    assert [event.code for event in events if isinstance(event, Close)] == [1011]
    assert seen[-1]["code"] == 1011
    await client.finish()


async def test_reading_pauses_while_the_application_takes_nothing():
    go = asyncio.Event()
    seen: list[Any] = []

    async def app(scope, receive, send):
        await accept(receive, send)
        await go.wait()
        seen.extend([await receive() for _ in range(20)])
        await receive()

    client = Client(app, read_buffer_bytes=10_000)
    await client.connect()
    for _ in range(20):
        await client.say(Message("x" * 1000))
    assert not client.transport.reading
    go.set()
    await client.settle()
    assert len(seen) == 20
    assert client.transport.reading
    await client.finish()


async def test_send_waits_while_the_client_reads_nothing():
    sent = 0

    async def app(scope, receive, send):
        nonlocal sent
        await accept(receive, send)
        for _ in range(100):
            await send({"type": "websocket.send", "bytes": b"x" * 10_000})
            sent += 1
        await receive()

    client = Client(app, write_buffer_bytes=20_000)
    client.transport.stalled = True
    await client.connect()
    assert sent <= 3
    client.transport.peer_reads()
    for _ in range(20):
        await client.settle()
    assert sent == 100
    await client.finish()


async def test_a_second_receive_at_the_same_time_is_refused():
    async def app(scope, receive, send):
        await accept(receive, send)
        first = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        with pytest.raises(LocalProtocolError, match="another task"):
            await receive()
        await first

    client = Client(app)
    await client.connect()
    await client.finish()


async def test_a_cancelled_receive_loses_nothing():
    seen: list[Any] = []

    async def app(scope, receive, send):
        await accept(receive, send)
        waiting = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        seen.append(await receive())
        await receive()

    client = Client(app)
    await client.connect()
    await client.say(Message("kept"))
    assert seen == [{"type": "websocket.receive", "text": "kept"}]
    await client.finish()


async def test_draining_closes_with_1012_and_tells_the_application():
    seen: list[Any] = []
    client = Client(record(seen))
    await client.connect()
    client.connection.drain(1.0)
    client.connection.dismiss()
    await client.settle()
    events = client.codec.receive_data(client.transport.take(), 0)
    assert [event.code for event in events if isinstance(event, Close)] == [1012]
    assert seen[-1] == {"type": "websocket.disconnect", "code": 1012, "reason": "service restart"}
    await client.finish()


async def test_a_client_that_leaves_during_the_handshake():
    seen: list[Any] = []

    async def app(scope, receive, send):
        await receive()
        seen.append(await receive())
        with pytest.raises(Disconnected):
            await send({"type": "websocket.accept"})

    client = Client(app)
    await client.feed(HANDSHAKE + b"\r\n")
    await client.finish()
    assert seen == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]


async def test_a_prepared_message_is_framed_once_for_all():
    write: list[Any] = []

    async def app(scope, receive, send):
        await accept(receive, send)
        write.append(scope["extensions"]["fullduplex.prepared"]["write"])
        await receive()

    plain, other, deflated = Client(app), Client(app), Client(app)
    await plain.connect()
    await other.connect()
    await deflated.connect(b"Sec-WebSocket-Extensions: permessage-deflate")
    prepared = SimpleNamespace(data="hello " * 100, frames={})
    for write_to in write:
        assert write_to(prepared) == 0
    assert len(prepared.frames) == 2
    await plain.settle()
    for client in (plain, other, deflated):
        assert client.codec.receive_data(client.transport.take(), 0) == [Message(prepared.data)]
        await client.finish()
    with pytest.raises(Disconnected):
        write[0](prepared)


@pytest.mark.http1_only(reason="what is one write")
async def test_of_the_prepared_messages_of_one_turn_the_first_leaves_at_once_and_the_others_in_one_write():
    write: list[Any] = []

    async def app(scope, receive, send):
        await accept(receive, send)
        write.append(scope["extensions"]["fullduplex.prepared"]["write"])
        await receive()

    clients = [Client(app), Client(app)]
    for client in clients:
        await client.connect()
        client.transport.writes.clear()
    messages = [SimpleNamespace(data=f"message {number}", frames={}) for number in range(10)]
    for message in messages:
        for write_to in write:
            write_to(message)
    assert all(len(client.transport.writes) == 1 for client in clients)
    await clients[0].settle()
    for _ in range(3):  # one in each turn: none waits
        messages.append(SimpleNamespace(data=f"message {len(messages)}", frames={}))
        for write_to in write:
            write_to(messages[-1])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    for client in clients:
        assert len(client.transport.writes) == 5
        assert client.codec.receive_data(client.transport.take(), 0) == [Message(message.data) for message in messages]
        await client.finish()


async def test_prepared_messages_keep_their_place_before_what_is_sent_and_before_the_close():
    async def app(scope, receive, send):
        await accept(receive, send)
        write = scope["extensions"]["fullduplex.prepared"]["write"]
        for number in range(3):
            write(SimpleNamespace(data=f"{number} for all", frames={}))
            await send({"type": "websocket.send", "text": f"{number} for one"})
        write(SimpleNamespace(data="x" * 100_000, frames={}))  # does not wait for the end of the turn
        write(SimpleNamespace(data="the last", frames={}))
        await send({"type": "websocket.close", "code": 4000})

    client = Client(app)
    await client.connect()
    *events, end = client.early
    texts = [text for number in range(3) for text in (f"{number} for all", f"{number} for one")]
    assert events == [Message(text) for text in (*texts, "x" * 100_000, "the last")]
    assert end == Close(4000)
    await client.finish()


async def test_prepared_messages_are_not_written_to_a_connection_that_is_lost_in_the_same_turn():
    async def app(scope, receive, send):
        await accept(receive, send)
        scope["extensions"]["fullduplex.prepared"]["write"](SimpleNamespace(data="too late", frames={}))
        client.transport.writes.clear()
        client.transport.abort()

    client = Client(app)
    await client.connect()
    assert client.transport.writes == []
    await client.finish()


@pytest.mark.http1_only(reason="over HTTP/2 everything is framed")
async def test_a_large_prepared_message_is_not_copied_for_each_member():
    write: list[Any] = []

    async def app(scope, receive, send):
        await accept(receive, send)
        write.append(scope["extensions"]["fullduplex.prepared"]["write"])
        await receive()

    client = Client(app)
    await client.connect()
    contents = (b"first", b"small", b"x" * 100_000, b"y" * 100_000)
    messages = [SimpleNamespace(data=data, frames={}) for data in contents]
    for message in messages:
        write[0](message)
    assert client.transport.writes == [frame for message in messages for frame in message.frames.values()]
    await client.finish()


async def test_a_connection_that_cannot_be_written_to_does_not_hold_up_the_messages_of_others(caplog, framing):
    write: list[Any] = []

    async def app(scope, receive, send):
        await accept(receive, send)
        write.append(scope["extensions"]["fullduplex.prepared"]["write"])
        await receive()

    broken, other = Client(app), Client(app)
    other.gateway = other.connection._gateway = broken.gateway
    for client in (broken, other):
        await client.connect()
        client.transport.writes.clear()
    getattr(broken.transport, "inner", broken.transport).write = lambda data: 1 / 0
    for write_to in write:
        with contextlib.suppress(ZeroDivisionError):  # the first message of a turn: who writes it hears of it
            write_to(SimpleNamespace(data="old news", frames={}))
        write_to(SimpleNamespace(data="news", frames={}))
    await other.settle()
    assert b"".join(other.transport.writes).endswith(b"\x04news")
    assert broken.transport.is_closing()
    if framing == "http1":  # over HTTP/2 the first of them has dropped it already
        assert "ZeroDivisionError" in caplog.text
    await broken.cut()
    await other.finish()


async def test_a_refusal_cannot_go_on_when_the_application_has_returned():
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.http.response.start", "status": 403, "headers": []})
        late.append(send)

    late: list[Any] = []
    client = Client(app)
    assert await client.feed(HANDSHAKE + b"\r\n") == b""
    assert client.transport.is_closing()
    with pytest.raises(Disconnected):
        await late[0]({"type": "websocket.http.response.body", "body": b"too late"})
    await client.finish()


async def test_a_socket_that_is_over_is_no_garbage_for_the_collector():
    async def app(scope, receive, send):
        await accept(receive, send)
        await receive()

    def session_count() -> int:
        return sum(isinstance(thing, Session) for thing in gc.get_objects())

    gc.collect()
    before = session_count()
    gc.disable()
    try:
        client = Client(app)
        await client.connect()
        assert session_count() == before + 1
        await client.say(Close(1000))
        await client.finish()
        assert session_count() == before
    finally:
        gc.enable()


@pytest.mark.parametrize("late", [False, True])
async def test_the_application_is_told_of_the_end_without_receiving(late):
    news: list[Any] = []
    ended = asyncio.Event()

    async def app(scope, receive, send):
        await accept(receive, send)
        on_disconnect = scope["extensions"]["fullduplex.prepared"]["on_disconnect"]
        if not late:
            on_disconnect(lambda code, reason: news.append((code, reason)))
        await ended.wait()
        if late:
            on_disconnect(lambda code, reason: news.append((code, reason)))

    client = Client(app)
    await client.connect()
    await client.say(Message("unread"), Close(4000, "bye"))
    assert news == ([] if late else [(4000, "bye")])
    ended.set()
    await client.settle()
    assert news == [(4000, "bye")]
    await client.finish()
    assert news == [(4000, "bye")]


async def test_the_application_is_told_of_a_handshake_that_the_server_refuses():
    news: list[Any] = []
    ended = asyncio.Event()

    async def app(scope, receive, send):
        scope["extensions"]["fullduplex.prepared"]["on_disconnect"](lambda *end: (news.append(end), ended.set()))
        await ended.wait()

    client = Client(app, handshake_timeout_s=10.0)
    answer = await client.feed(HANDSHAKE + b"\r\n")
    assert not answer
    await client.tick(11.0)
    assert news == [(1006, "")]
    await client.finish()


async def test_a_prepared_message_before_the_accept_is_refused():
    async def app(scope, receive, send):
        with pytest.raises(LocalProtocolError):
            scope["extensions"]["fullduplex.prepared"]["write"](SimpleNamespace(data="x", frames={}))
        await accept(receive, send)

    client = Client(app)
    await client.connect()
    await client.finish()


async def test_prepared_messages_report_what_waits_for_a_slow_client():
    seen: list[int] = []
    drained: list[bool] = []

    async def app(scope, receive, send):
        await accept(receive, send)
        extension = scope["extensions"]["fullduplex.prepared"]
        messages = [SimpleNamespace(data=b"x" * 10_000, frames={}) for _ in range(10)]
        seen.extend(extension["write"](message) for message in messages)
        extension["on_drain"](lambda: drained.append(True))
        await receive()

    client = Client(app)
    client.transport.stalled = True
    await client.connect()
    assert seen == sorted(seen)
    assert seen[-1] >= 100_000 - GATHERED_BYTES
    assert not drained
    client.transport.peer_reads()
    assert drained == [True]
    await client.finish()


async def test_an_eof_without_a_close_frame_is_1006():
    seen: list[Any] = []
    client = Client(record(seen))
    await client.connect()
    await client.eof()
    assert seen[-1]["code"] == 1006
    assert client.transport.is_closing()
    assert ConnectionEnded() not in client.early
    await client.finish()


async def test_a_handshake_that_was_never_answered_has_its_line():
    async def leaves_it(scope, receive, send):
        while (await receive())["type"] != "websocket.disconnect":
            pass

    async def begins_a_refusal(scope, receive, send):
        await send({"type": "websocket.http.response.start", "status": 403, "headers": []})

    for app in (leaves_it, begins_a_refusal):
        client = Client(app)
        await client.feed(HANDSHAKE + b"\r\n")
        await client.finish()
        assert client.log.lines == [("handshake", "/ws"), ("refuse", "/ws", 499)]

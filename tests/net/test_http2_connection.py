"""An HTTP/2 connection of ours against a client by hand: many streams, none of which keeps another waiting."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from fullduplex.gateway.gateway import Gateway
from fullduplex.limits import ConnectionLimits, HTTP1Limits, HTTP2Limits, LoadLimits, WebSocketLimits
from fullduplex.net.connection import Connection
from fullduplex.net.negotiate import Negotiation
from fullduplex.server.connections import Connections
from fullduplex.testing.transport import FakeTransport
from fullduplex.wire.http1 import HTTP1Codec
from fullduplex.wire.http2_errors import ErrorCode
from fullduplex.wire.http2_gate import PREFACE
from fullduplex.wire.http2_library import LIBRARIES, codec_class
from tests.wire.http2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GET,
    GOAWAY,
    HEADERS,
    PING,
    POST,
    RST_STREAM,
    SETTINGS,
    SOCKET,
    START,
    WINDOW_UPDATE,
    Frame,
    data,
    frame,
    frames,
    headers,
    settings,
    update,
)


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Peer:
    """A client; its connection begins as every one does, with HTTP/1."""

    def __init__(
        self,
        app: Any,
        library: str,
        *,
        start: bytes = START,
        h2c: str = "on",
        h2c_upgrade: bool = False,
        refused: bool = False,
        in_drain: bool = False,
        **limits: Any,
    ) -> None:
        loop = asyncio.get_running_loop()
        connection_limits = replace(ConnectionLimits(), **limits)
        self.connections = Connections()
        if in_drain:
            self.connections.drain(2.0)
        self.gateway = Gateway(app, None, WebSocketLimits(), connection_limits, LoadLimits(), server_header=False)
        defaults = self.gateway.default_fields
        negotiation = Negotiation(
            *(self.gateway, codec_class(library), HTTP2Limits(), connection_limits, self.connections),
            *(defaults, h2c, h2c_upgrade),
        )
        codec = HTTP1Codec(HTTP1Limits(), now_s=loop.time(), defaults=defaults)
        old = Connection(negotiation.http1_gateway, connection_limits, codec, self.connections, loop)
        old.switch = negotiation.take_over
        old.refused = refused
        self.transport = FakeTransport(old)
        old.connection_made(self.transport)
        for piece in (start[:7], start[7:17], start[17:30], start[30:]) if start else ():
            self.transport.protocol.data_received(piece)

    @property
    def connection(self) -> Any:
        [connection] = self.connections
        return connection

    async def feed(self, *pieces: bytes) -> list[Frame]:
        for piece in pieces:
            self.transport.protocol.data_received(piece)  # type: ignore[attr-defined]
        return await self.settle()

    async def settle(self) -> list[Frame]:
        for _ in range(20):
            await asyncio.sleep(0)
        return frames(self.transport.take())

    async def tick(self, seconds: float) -> list[Frame]:
        self.connection.tick(asyncio.get_running_loop().time() + seconds)
        return await self.settle()

    async def finish(self) -> None:
        self.transport.lose()
        for task in [*self.gateway.tasks]:
            await asyncio.wait_for(task, 30)
        assert not self.connections


def content(sent: list[Frame], stream_id: int) -> bytes:
    return b"".join(one.payload for one in sent if one.kind == DATA and one.stream_id == stream_id)


async def read(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def respond(send: Any, body: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def path(scope: Any, receive: Any, send: Any) -> None:
    await respond(send, b"%b %b" % (scope["raw_path"], scope["http_version"].encode()))


async def test_a_preface_in_pieces_is_understood(library: str) -> None:
    peer = Peer(path, library)
    sent = await peer.feed(headers(GET), headers(GET, 3))
    assert sent[0].kind == SETTINGS
    assert content(sent, 1) == content(sent, 3) == b"/ 2"
    await peer.finish()


@pytest.mark.parametrize(("h2c", "name"), [("off", "127.0.0.1"), ("local", "192.0.2.1"), ("local", "2001:db8::1")])
async def test_where_it_is_not_spoken_the_preface_is_505(library: str, h2c: str, name: str) -> None:
    peer = Peer(path, library, start=b"", h2c=h2c)
    peer.transport._extra["sockname"] = (name, 80)  # type: ignore[attr-defined]
    peer.transport.protocol.data_received(START)  # type: ignore[attr-defined]
    assert peer.transport.take().startswith(b"HTTP/1.1 505 ")
    peer.transport.lose()


@pytest.mark.parametrize(
    "name", [("127.0.0.9", 80), ("::1", 80, 0, 0), ("::ffff:127.0.0.1", 80, 0, 0), "/run/x.sock", ""]
)
async def test_on_loopback_and_unix_sockets_it_is_spoken(library: str, name: Any) -> None:
    peer = Peer(path, library, start=b"", h2c="local")
    peer.transport._extra["sockname"] = name  # type: ignore[attr-defined]
    assert content(await peer.feed(START + headers(GET)), 1) == b"/ 2"
    await peer.finish()


async def test_what_is_neither_is_told_so_in_http2_where_it_is_spoken(library: str) -> None:
    """RFC 9113 section 3.4: a preface that is wrong. What has anything of HTTP/1 is answered as before."""
    neither = b"INVALID CONNECTION PREFACE\r\n\r\n"
    for piece in (neither, neither[:-2]):
        peer = Peer(path, library, start=b"")
        sent = await peer.feed(piece)
        assert [(one.kind, one.code) for one in sent if one.kind == GOAWAY] == [(GOAWAY, ErrorCode.PROTOCOL_ERROR)]
        assert peer.transport.eof_written
        await peer.finish()
    for line in (b"GET / RTSP/1.0", b"GET a HTTP/1.1", b"GET /", b"GET / PREFACE", b"GET a b c", b"HTTP/1.1 200 OK"):
        peer = Peer(path, library, start=b"")
        peer.transport.protocol.data_received(line + b"\r\n\r\n")  # type: ignore[attr-defined]
        assert peer.transport.take().startswith(b"HTTP/1.1 400 ")
        peer.transport.lose()
    peer = Peer(path, library, start=b"", h2c="off")
    peer.transport.protocol.data_received(neither)  # type: ignore[attr-defined]
    assert peer.transport.take().startswith(b"HTTP/1.1 400 ")
    peer.transport.lose()


async def test_a_preface_behind_a_request_is_none(library: str) -> None:
    """Or whoever has one request passed on by a proxy could take its connection over."""
    peer = Peer(path, library, start=b"")
    peer.transport.protocol.data_received(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")  # type: ignore[attr-defined]
    for _ in range(5):
        await asyncio.sleep(0)
    assert peer.transport.take().endswith(b"/ 1.1")
    peer.transport.protocol.data_received(START)  # type: ignore[attr-defined]
    assert peer.transport.take().startswith(b"HTTP/1.1 505 ")
    peer.transport.lose()


async def test_one_connection_too_many_hears_so(library: str) -> None:

    peer = Peer(path, library)
    await peer.finish()
    old = peer.transport.protocol
    assert old is not None
    peer = Peer(path, library, start=b"", refused=True)
    assert peer.transport.take().startswith(b"HTTP/1.1 503 ")
    peer.transport.lose()


async def test_a_slow_application_keeps_no_other_waiting(library: str) -> None:
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["raw_path"] == b"/slow":
            await go.wait()
        await respond(send, b"%d" % len(await read(receive)))

    slow = [*POST[:3], (b":path", b"/slow")]
    peer = Peer(app, library, start=START + frame(SETTINGS, ACK), read_buffer_bytes=10_000)
    credit = 0
    await peer.feed(*(headers(slow, stream_id, end=False) for stream_id in range(1, 9, 2)))
    for stream_id in range(1, 9, 2):
        for _ in range(16):
            sent = await peer.feed(data(bytes(16_000), stream_id))
            credit += sum(1 for one in sent if one.kind == WINDOW_UPDATE and one.stream_id)
    assert credit <= 4, "what nobody takes is not credited"
    assert peer.connection.buffered_bytes >= 4 * 16 * 16_000
    sent = await peer.feed(headers(POST, 9, end=False), *[data(bytes(16_000), 9)] * 4, data(b"", 9, end=True))
    assert content(sent, 9) == b"64000"
    go.set()
    sent = await peer.feed(*(data(b"", stream_id, end=True) for stream_id in range(1, 9, 2)))
    assert [content(sent, stream_id) for stream_id in range(1, 9, 2)] == [b"256000"] * 4
    assert peer.connection.buffered_bytes < 1000
    await peer.finish()


async def test_a_slow_reader_of_one_stream_keeps_no_other_waiting(library: str) -> None:
    sent_count = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent_count
        if scope["raw_path"] != b"/big":
            await respond(send, b"small")
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(100):
            await send({"type": "http.response.body", "body": bytes(10_000), "more_body": True})
            sent_count += 1
        await send({"type": "http.response.body"})

    big = [*GET[:3], (b":path", b"/big")]
    peer = Peer(app, library, start=PREFACE + settings((4, 1000)) + update(2**30), write_buffer_bytes=20_000)
    sent = await peer.feed(headers(big))
    assert len(content(sent, 1)) == 1000
    assert sent_count <= 3, "the application waits"
    assert content(await peer.feed(headers(GET, 3)), 3) == b"small"
    received = 1000
    while received < 1_000_000:
        received += len(content(await peer.feed(update(100_000, 1)), 1))
    assert sent_count == 100
    await peer.finish()


async def test_who_fills_a_stream_again_as_soon_as_it_has_room_is_told_each_time(library: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await receive()

    peer = Peer(app, library, start=PREFACE + settings((4, 1000)) + update(2**30), write_buffer_bytes=10_000)
    await peer.feed(*(headers(SOCKET, stream_id, end=False) for stream_id in (1, 3)))
    streams = {**peer.connection._streams}
    written = []

    def fill(stream_id: int) -> None:
        if not streams[stream_id].is_closing():
            written.append(stream_id)
            streams[stream_id].write(bytes(50_000))
            streams[stream_id].on_resume(lambda: fill(stream_id))

    fill(1)
    fill(3)
    for count in (2, 3, 4):
        await peer.feed(update(50_000, 1), update(50_000, 3))
        assert written == [1, 3] * count
    await peer.finish()


async def test_a_stream_whose_client_gives_no_window_is_reset_and_the_others_live(library: str) -> None:
    peer = Peer(path, library, start=PREFACE + settings((4, 0)), stalled_write_timeout_s=30.0)
    await peer.feed(headers(GET))
    assert await peer.tick(0) == []
    assert await peer.tick(29) == []
    [sent] = [one for one in await peer.tick(31) if one.kind == RST_STREAM]
    assert (sent.stream_id, sent.code) == (1, ErrorCode.INTERNAL_ERROR)
    sent_later = await peer.feed(settings((4, 100)), headers(GET, 3))
    assert content(sent_later, 3) == b"/ 2"
    await peer.finish()


async def test_a_large_response_may_take_as_long_as_it_flows(library: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await respond(send, bytes(100_000))

    peer = Peer(app, library, start=PREFACE + settings((4, 1000)), stalled_write_timeout_s=30.0)
    received = len(content(await peer.feed(headers(GET)), 1))
    for turn in range(99):
        await peer.tick(20.0 * turn)
        received += len(content(await peer.feed(update(1000, 1), update(1000)), 1))
    assert received == 100_000
    await peer.finish()


async def test_a_client_that_half_closed_gets_the_answers_to_all_its_requests(library: str) -> None:
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        await respond(send, scope["raw_path"])

    peer = Peer(app, library)
    await peer.feed(headers(GET), headers([*GET[:3], (b":path", b"/2")], 3))
    assert peer.connection.eof_received()
    go.set()
    sent = await peer.settle()
    assert (content(sent, 1), content(sent, 3)) == (b"/", b"/2")
    assert sent[-1].kind == GOAWAY
    assert peer.transport.is_closing()


async def test_what_the_server_refuses_is_logged_once(library: str, caplog: Any) -> None:
    caplog.set_level("INFO", "fullduplex.server")
    peer = Peer(path, library)
    refused = {
        1: ([*GET, (b"expect", b"x")], b"417"),
        3: ([*GET[:3], (b":path", b"/" + b"x" * 20_000)], b"414"),
        5: ([*GET, *((b"x%d" % number, b"") for number in range(200))], b"431"),
        7: ([(b":method", b"CONNECT"), (b":authority", b"a:1")], b"501"),
    }
    await peer.settle()
    for stream_id, (fields, status) in refused.items():
        block_of = headers(fields, stream_id)
        pieces = [block_of] if len(block_of) < 16_000 else split(block_of)
        sent = await peer.feed(*pieces)
        assert [one for one in sent if one.kind == HEADERS]
        [record] = caplog.records
        assert record.getMessage().startswith(f"Refused a request from 127.0.0.1:50000: {status.decode()} RFC ")
        caplog.clear()
    assert content(await peer.feed(headers(GET, 9)), 9) == b"/ 2"
    await peer.finish()


def split(request: bytes) -> list[bytes]:
    """The same HEADERS with a CONTINUATION."""
    stream_id, payload = int.from_bytes(request[5:9], "big"), request[9:]
    return [
        frame(HEADERS, END_STREAM, stream_id, payload[:16_000]),
        frame(CONTINUATION, END_HEADERS, stream_id, payload[16_000:]),
    ]


async def test_a_connection_that_comes_in_the_middle_of_a_drain_is_told(library: str) -> None:
    """Accepted before, and made after the others were told: its request is answered, and GOAWAY comes behind it."""
    for is_asking in (True, False):
        peer = Peer(path, library, start=b"", in_drain=True)
        sent = await peer.feed(START, *[headers(GET)] * is_asking)
        if is_asking:
            assert content(sent, 1) == b"/ 2"
        sent = await peer.tick(1 if is_asking else 3)
        assert (sent[-1].kind, sent[-1].code) == (GOAWAY, ErrorCode.NO_ERROR)
        assert peer.transport.is_closing()


async def test_a_response_that_is_cut_short_is_reset_with_an_error(library: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError("boom")

    peer = Peer(app, library)
    sent = await peer.feed(headers(GET))
    assert content(sent, 1) == b"half"
    assert not any(one.flags & END_STREAM for one in sent if one.kind == DATA)
    assert [(one.stream_id, one.code) for one in sent if one.kind == RST_STREAM] == [(1, ErrorCode.INTERNAL_ERROR)]
    await peer.finish()


async def test_a_request_that_the_client_resets_is_a_disconnect(library: str) -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((await receive())["type"])
        seen.append((await receive())["type"])

    peer = Peer(app, library)
    await peer.feed(headers(GET))
    await peer.feed(frame(RST_STREAM, 0, 1, b"\0\0\0\x08"))
    assert seen == ["http.request", "http.disconnect"]
    assert peer.connections
    await peer.finish()


async def test_draining_answers_first_and_says_goodbye_then(library: str) -> None:
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        await respond(send, b"done")

    peer = Peer(app, library)
    await peer.feed(headers(GET))
    peer.connection.drain(2.0)
    assert await peer.settle() == []
    go.set()
    assert content(await peer.settle(), 1) == b"done"
    [goodbye] = await peer.tick(1)
    assert (goodbye.kind, goodbye.code, goodbye.payload[:4]) == (GOAWAY, 0, b"\0\0\0\x01")
    assert peer.transport.is_closing()


async def test_draining_loses_no_request_that_was_on_its_way_when_the_last_answer_left(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GOAWAY right behind an answer would refuse it, which some clients do not try again."""
    monkeypatch.setattr("fullduplex.net.http2_connection.QUIET_S", 100.0)
    peer = Peer(path, library)
    peer.connection.drain(1000.0)
    for stream_id in (1, 3):
        assert content(await peer.feed(headers(GET, stream_id)), stream_id) == b"/ 2"
        assert await peer.tick(50) == []
    [goodbye] = await peer.tick(101)
    assert (goodbye.kind, goodbye.payload[:4]) == (GOAWAY, b"\0\0\0\x03")
    assert peer.transport.is_closing()


async def test_draining_answers_what_was_asked_before_the_end_was_announced(library: str) -> None:
    """The client hears of it only when it reads: it may ask until then, and has the grace once more for that."""
    peer = Peer(path, library)
    peer.connection.drain(100.0)
    await peer.feed(headers(GET))
    [announced] = await peer.tick(101)
    assert announced.payload[:4] == b"\x7f\xff\xff\xff"
    assert await peer.tick(50) == []
    assert content(await peer.feed(headers(GET, 3)), 3) == b"/ 2"
    assert await peer.tick(50) == []
    [goodbye] = await peer.tick(101)
    assert (goodbye.kind, goodbye.payload[:4]) == (GOAWAY, b"\0\0\0\x03")
    assert peer.transport.is_closing()


async def test_draining_a_client_that_goes_on_asking_announces_the_end(library: str) -> None:
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        await respond(send, b"done")

    peer = Peer(app, library, linger_timeout_s=2.0)
    await peer.feed(headers(GET))
    peer.connection.drain(2.0)
    assert [one for one in await peer.tick(1) if one.kind == GOAWAY] == []
    [announced] = [one for one in await peer.tick(3) if one.kind == GOAWAY]
    assert announced.payload[:4] == b"\x7f\xff\xff\xff"
    await peer.feed(headers(GET, 3))
    go.set()
    sent = await peer.settle()
    assert content(sent, 1) == content(sent, 3) == b"done"
    assert [one.kind for one in await peer.tick(3)] == [GOAWAY]
    assert peer.transport.is_closing()


async def test_draining_closes_an_idle_connection_after_its_grace(library: str) -> None:
    peer = Peer(path, library)
    await peer.settle()
    peer.connection.drain(2.0)
    assert await peer.tick(1) == []
    assert [one.kind for one in await peer.tick(3)] == [GOAWAY]
    assert peer.transport.is_closing()


async def test_a_fault_of_the_connection_is_one_line_and_the_end(library: str, caplog: Any) -> None:
    caplog.set_level("INFO", "fullduplex.server")
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        seen.append((await receive())["type"])

    peer = Peer(app, library)
    await peer.feed(headers(GET))
    sent = await peer.feed(b"".join([frame(PING, payload=bytes(8))] * 200))
    assert (sent[-1].kind, sent[-1].code) == (GOAWAY, ErrorCode.ENHANCE_YOUR_CALM)
    assert seen == ["http.disconnect"]
    assert caplog.text.count("127.0.0.1:50000: RFC 9113 section 10.5: too many PINGs") == 1
    assert peer.transport.eof_written
    await peer.finish()


async def test_answers_of_one_read_leave_in_one_write(library: str) -> None:
    peer = Peer(path, library)
    await peer.settle()
    await peer.feed(b"")
    for piece in (b"".join(headers(GET, stream_id) for stream_id in range(1, 41, 2)),):
        peer.transport.protocol.data_received(piece)  # type: ignore[attr-defined]
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(peer.transport.writes) == 1
    await peer.finish()


async def test_8441_a_socket_over_http2(library: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (scope["type"], scope["http_version"], scope["scheme"]) == ("websocket", "2", "ws")
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"].upper()})

    peer = Peer(app, library)
    hello = b"\x81\x85\0\0\0\0hello"
    sent = await peer.feed(headers(SOCKET, end=False), data(hello[:4]), headers(GET, 3))
    assert [one.kind for one in sent if one.stream_id == 1] == [HEADERS]
    assert not any(one.flags & END_STREAM for one in sent if one.stream_id == 1)
    sent = await peer.feed(data(hello[4:]), data(hello))
    assert content(sent, 1) == b"\x81\x05HELLO" * 2
    sent = await peer.feed(data(b"\x88\x82\0\0\0\0\x03\xe8"))
    assert content(sent, 1) == b"\x88\x02\x03\xe8"
    assert [one.stream_id for one in sent if one.flags & END_STREAM and one.kind == DATA] == [1]
    await peer.feed(data(b"", end=True))
    assert not peer.connection._streams.get(1)
    await peer.finish()


async def test_8441_a_socket_whose_client_ends_it_is_lost(library: str) -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        seen.append(await receive())

    peer = Peer(app, library)
    await peer.feed(headers(SOCKET, end=False))
    await peer.feed(data(b"", end=True))
    assert [message["code"] for message in seen] == [1006]
    await peer.feed(headers(SOCKET, 3, end=False))
    await peer.feed(frame(RST_STREAM, 0, 3, b"\0\0\0\x08"))
    assert [message["code"] for message in seen] == [1006, 1006]
    await peer.finish()


async def test_8441_a_refused_socket_is_an_answer(library: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.close"})

    peer = Peer(app, library)
    sent = await peer.feed(headers(SOCKET, end=False))
    assert content(sent, 1) == b"Forbidden\n"
    sent = await peer.feed(headers([*SOCKET[:-1], (b"sec-websocket-version", b"8")], 3, end=False))
    assert content(sent, 3)
    sent = await peer.feed(headers([(b":method", b"CONNECT"), (b":protocol", b"other"), *GET[1:]], 5, end=False))
    assert b"CONNECT is not implemented" in content(sent, 5)
    await peer.finish()


async def test_a_refusal_and_a_fault_in_one_read(library: str) -> None:
    """What the server itself answers finds a connection that has failed already."""
    peer = Peer(path, library)
    peer.gateway.exchange_count = 10**9
    sent = await peer.feed(headers(GET) + headers(SOCKET[:-1], 3, end=False) + data(b"x", 99))
    assert sent[-1].kind == GOAWAY
    assert peer.transport.eof_written
    await peer.finish()


async def test_responses_of_one_turn_that_nobody_takes_are_bounded(library: str) -> None:
    """CVE-2019-9517: all of them are queued before anybody could weigh them in another turn."""
    most = 0
    peer: Any = None

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal most
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(1_000_000), "more_body": True})
        most = max(most, *(connection.buffered_bytes for connection in peer.gateway.connections), 0)

    peer = Peer(app, library, start=PREFACE + settings((4, 0)))
    peer.gateway.connections = peer.connections
    peer.gateway.load = LoadLimits(max_buffers_bytes=8_000_000)
    connection = peer.connection
    await peer.feed(b"".join(headers(GET, stream_id) for stream_id in range(1, 200, 2)))
    assert most <= 9_100_000
    assert connection.buffered_bytes == 0
    assert not peer.connections
    assert len(peer.gateway.tasks) == 0


async def test_a_connection_that_is_dropped_is_weighed_once(library: str, caplog: Any) -> None:
    """What its applications hold is not free before the next turn; until then it was dropped again and again."""
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()

    peer = Peer(app, library)
    peer.gateway.connections = peer.connections
    peer.gateway.load = LoadLimits(max_buffers_bytes=50_000)
    await peer.feed(headers(POST, end=False))
    peer.transport.protocol.data_received(data(bytes(16_000)) * 4)  # type: ignore[attr-defined]
    for _ in range(3):
        peer.gateway.weigh([peer.connection])
    assert caplog.text.count("are dropped") == 1
    go.set()
    await peer.finish()

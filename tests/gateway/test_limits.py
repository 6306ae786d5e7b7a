"""What one client, and all of them together, may ask for; and how long they may take."""

from __future__ import annotations

import asyncio
import errno
import logging
import re

import pytest

from fullduplex.exceptions import Disconnected
from fullduplex.limits import ConnectionLimits, HTTP1Limits
from fullduplex.net.connection import Connection
from fullduplex.net.deadlines import BodyRate
from fullduplex.testing.transport import FakeTransport
from fullduplex.wire.events import Close, Message, Ping
from fullduplex.wire.http1 import HTTP1Codec
from tests.gateway.test_exchange import GET, echo, post, respond
from tests.gateway.test_session import HANDSHAKE, Client, accept, record
from tests.gateway.wired import Wired, ok


async def test_an_announced_body_above_the_limit_is_413_and_not_read(framing):
    called = []

    async def app(scope, receive, send):
        called.append(scope)

    wired = Wired(app, max_body_bytes=100)
    answer = await wired.feed(post(b"x" * 101)[:-101])
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert framing != "http1" or b"connection: close\r\n" in answer
    assert not called
    await wired.finish()


async def test_a_body_of_the_limit_passes():
    wired = Wired(echo, max_body_bytes=100)
    assert (await wired.feed(post(b"x" * 100))).endswith(b"x" * 100)
    await wired.finish()


async def test_chunks_above_the_limit_are_413_and_the_application_learns_it():
    seen = []

    async def app(scope, receive, send):
        while not seen or seen[-1]["type"] != "http.disconnect":
            seen.append(await receive())

    wired = Wired(app, max_body_bytes=100)
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = await wired.feed(head, *[b"32\r\n" + b"x" * 50 + b"\r\n"] * 3)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert seen[-1] == {"type": "http.disconnect"}
    await wired.finish()


async def test_requests_above_the_limit_are_503_with_retry_after():
    go = asyncio.Event()

    async def app(scope, receive, send):
        await go.wait()
        await respond(send, b"done")

    first = Wired(app, max_requests_count=1)
    await first.feed(GET)
    second = Wired(app)
    second.connection._gateway = first.gateway
    answer = await second.feed(GET)
    assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"retry-after: 2\r\n" in answer
    go.set()
    await first.settle()
    assert first.transport.take().endswith(b"done")
    assert (await second.feed(GET)).endswith(b"done"), "the connection lives on, and there is room again"
    assert first.gateway.exchange_count == 0
    await first.finish()
    await second.finish()


async def test_a_connection_that_is_one_too_many_hears_503_and_is_closed():
    wired = Wired(ok())
    left = []
    connection = Connection(
        wired.gateway, wired.gateway.connection, HTTP1Codec(HTTP1Limits(), now_s=0.0), set(), wired.connection.loop
    )
    connection.refused = True
    connection.leave = lambda: left.append("left")
    transport = FakeTransport(connection)
    connection.connection_made(transport)
    answer = transport.take()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"connection: close\r\n" in answer
    assert b"retry-after: 2\r\n" in answer
    assert transport.eof_written
    connection.data_received(GET)
    assert transport.take() == b""
    transport.lose()
    connection.leave_seat()
    assert left == ["left"], "its seat is given up once"
    await wired.finish()


async def refuse_handshakes(scope, receive, send):
    await receive()
    await send({"type": "websocket.close"})


@pytest.mark.http1_only(reason="pipelining")
@pytest.mark.parametrize("piece_count", [1, 50], ids=["one request in each read", "many requests in each read"])
async def test_answers_that_nobody_reads_do_not_pile_up(piece_count):
    wired = Wired(refuse_handshakes, write_buffer_bytes=1_000)
    wired.transport.stalled = True
    request = HANDSHAKE + b"\r\n"
    sent_count = 0
    while wired.transport.reading and sent_count < 1_000:
        await wired.feed(request * piece_count)
        sent_count += piece_count
    assert not wired.transport.reading
    assert wired.transport.unread_bytes < 1_500
    assert len(wired.gateway.tasks) <= 2
    assert wired.log.lines.count(("refuse", "/ws", 403)) < 15
    wired.transport.peer_reads()
    for _ in range(sent_count):
        await wired.settle()
    assert wired.log.lines.count(("refuse", "/ws", 403)) == sent_count, "those held back are answered when it reads"
    assert wired.transport.reading
    await wired.finish()


@pytest.mark.http1_only(reason="the buffer of its transport; for the windows of HTTP/2 see tests/net")
@pytest.mark.parametrize("field", [b"Connection: keep-alive", b"Connection: close"])
async def test_a_large_response_may_take_as_long_as_it_flows(field):
    wired = Wired(ok(b"x" * 1_000_000), keepalive_timeout_s=5.0, close_timeout_s=5.0, stalled_write_timeout_s=30.0)
    wired.transport.stalled = True
    answer = await wired.feed(GET.replace(b"\r\n\r\n", b"\r\n" + field + b"\r\n\r\n"))
    assert len(answer) > 1_000_000
    for _ in range(10):
        wired.transport.unread_bytes -= 50_000
        await wired.tick(20)
        assert wired.transport.unread_bytes, "it was cut short"
    wired.connection.drain(1.0)
    await wired.tick(20)
    assert wired.transport.unread_bytes, "a graceful stop waits for it, too"
    wired.transport.peer_reads()
    await wired.tick(0)
    await wired.tick(1.1)
    assert wired.transport.is_closing()
    await wired.finish()


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
async def test_a_large_response_over_tls_is_written_as_the_client_takes_it(method):
    content = bytes(range(250)) * 4_000

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": content})

    wired = Wired(app)
    wired.connection.tls = {}
    wired.transport.stalled = True
    answer = await wired.feed(GET.replace(b"GET", method))
    assert wired.transport.unread_bytes < 200_000
    while wired.gateway.tasks:
        wired.transport.peer_reads()
        await wired.settle()
        wired.transport.stalled = True
    wired.transport.peer_reads()
    head, _, body = (answer + wired.transport.take()).partition(b"\r\n\r\n")
    assert b"\r\ncontent-length: 1000000" in head
    assert body == (content if method == b"GET" else b"")
    status_and_size = wired.log.lines[0][2:]
    assert status_and_size == (200, len(body))
    wired.transport.peer_reads()
    await wired.finish()


async def test_a_client_that_leaves_a_large_response_over_tls_is_told_of():
    seen = []

    async def app(scope, receive, send):
        with pytest.raises(Disconnected):
            await respond(send, b"x" * 1_000_000)
        seen.append(await receive())
        seen.append(await receive())

    wired = Wired(app)
    wired.connection.tls = {}
    wired.transport.stalled = True
    await wired.feed(GET)
    await wired.cut()
    assert seen[-1] == {"type": "http.disconnect"}
    assert [line[:3] for line in wired.log.lines] == [("http", "/", 200)]
    await wired.finish()


async def test_a_response_that_nobody_takes_is_dropped_although_it_is_complete():
    wired = Wired(ok(b"x" * 1_000_000), stalled_write_timeout_s=30.0)
    wired.transport.stalled = True
    await wired.feed(GET)
    await wired.tick(20)
    assert wired.transport.unread_bytes
    await wired.tick(11)
    assert wired.transport.is_closing()
    assert not wired.transport.unread_bytes
    await wired.finish()


async def test_the_wait_for_the_next_request_begins_when_the_response_was_taken():
    wired = Wired(ok(b"x" * 1_000_000), keepalive_timeout_s=5.0, idle_timeout_s=5.0)
    wired.transport.stalled = True
    await wired.feed(GET)
    await wired.tick(20)
    wired.transport.peer_reads()
    await wired.tick(1)
    await wired.tick(4)
    assert not wired.transport.is_closing()
    await wired.tick(2)
    assert wired.transport.is_closing()
    await wired.finish()


async def test_a_body_that_trickles_is_408():
    seen = []

    async def app(scope, receive, send):
        while not seen or seen[-1]["type"] != "http.disconnect":
            seen.append(await receive())
        with pytest.raises(Disconnected):
            await respond(send, b"late")

    wired = Wired(app, body_grace_s=20.0, body_rate_bytes_per_s=500)
    await wired.feed(post(b"x" * 10_000)[:-9_000])
    assert await wired.tick(20) == b""
    assert (await wired.tick(5)).startswith(b"HTTP/1.1 408 ")
    assert seen[-1] == {"type": "http.disconnect"}
    await wired.finish()


REFUSALS = {
    "a malformed head": ({}, b"nonsense\r\n\r\n", 400, None, "the request line is not three words"),
    "TLS": ({}, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400, None, "a TLS handshake, where plain HTTP is expected"),
    "a slow head": ({"head_timeout_s": 5.0}, b"GET / HT", 408, None, "the request took too long"),
    "a long target": ({"max_target_bytes": 50}, b"GET /" + b"x" * 50, 414, None, "the request target is too long"),
    "a large head": ({"max_head_bytes": 50}, b"GET / HTTP/1.1\r\nA: " + b"x" * 50, 431, None, "the head is too large"),
    "a bad handshake": ({}, HANDSHAKE.replace(b"13", b"12") + b"\r\n", 426, "/ws", "version"),
    "an announced body": ({"max_body_bytes": 5}, post(b"x" * 6)[:-6], 413, "/", "the content has more than 5 bytes"),
    "a bad chunk": (
        {},
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        400,
        "/",
        "RFC 9112 section 7.1",
    ),
    "a slow body": ({"body_grace_s": 0.0}, post(b"x" * 9_000)[:-9_000], 408, "/", "the content arrives too slowly"),
    "too many requests": ({"max_requests_count": 1}, GET, 503, "/", "too many requests are in progress"),
}


@pytest.mark.http1_only(reason="its own syntax; over HTTP/2 see tests/net")
@pytest.mark.parametrize(("limits", "data", "status", "path", "reason"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_what_the_server_refuses_is_logged_once(limits, data, status, path, reason, caplog):
    async def app(scope, receive, send):
        while (await receive())["type"] != "http.disconnect":
            pass

    caplog.set_level(logging.INFO, "fullduplex.server")
    wired = Wired(app, **limits)
    if status == 503:
        wired.gateway.exchange_count = 1
    answer = await wired.feed(data) or await wired.tick(6)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    await wired.finish()
    [line] = wired.log.lines
    assert line[:3] == ("http refuse", path, status)
    assert reason in line[3]
    assert not caplog.records


@pytest.mark.http1_only(reason="its own syntax; over HTTP/2 see tests/net")
async def test_without_an_access_log_a_refusal_is_a_line_of_the_server(caplog):
    caplog.set_level(logging.INFO, "fullduplex.server")
    wired = Wired(ok())
    wired.gateway.access_log = None
    await wired.feed(b"nonsense\r\n\r\n")
    await wired.finish()
    [record] = caplog.records
    assert re.fullmatch(r"Refused a request from \S+: 400 RFC 9112 section 3: .*", record.getMessage())


async def test_a_body_that_flows_may_take_all_day():
    wired = Wired(echo, body_grace_s=20.0, body_rate_bytes_per_s=500)
    request = post(b"x" * 600_000)
    await wired.feed(request[:-600_000])
    for start in range(0, 600_000, 6_000):
        await wired.tick(10)
        answer = await wired.feed(b"x" * min(6_000, 600_000 - start))
    assert answer.endswith(b"x" * 600_000)
    await wired.finish()


def test_time_behind_a_slow_application_is_not_the_client_s():
    rate = BodyRate(ConnectionLimits(body_grace_s=20.0, body_rate_bytes_per_s=500), 0.0)
    assert not rate.too_slow(1000.0, waiting=False)
    assert not rate.too_slow(1020.0, waiting=True)
    assert rate.received(500) == 500
    assert not rate.too_slow(1021.0, waiting=True)
    assert rate.too_slow(1022.0, waiting=True)


async def test_a_handshake_that_the_application_never_answers_is_504(caplog):
    seen = []

    async def app(scope, receive, send):
        await receive()
        seen.append(await receive())

    wired = Wired(app, handshake_timeout_s=30.0)
    await wired.feed(HANDSHAKE + b"\r\n")
    assert await wired.tick(29) == b""
    assert (await wired.tick(2)).startswith(b"HTTP/1.1 504 ")
    assert seen[0]["type"] == "websocket.disconnect"
    assert "did not answer a handshake" in caplog.text
    await wired.finish()


async def test_empty_messages_wait_for_the_application_in_bounded_number():
    async def app(scope, receive, send):
        await accept(receive, send)
        await go.wait()

    go = asyncio.Event()
    client = Client(app, read_buffer_bytes=10_000)
    await client.connect()
    fed = 0
    while client.transport.reading and fed < 10_000:
        for _ in range(10):
            client.codec.send(Message(""))
        fed += 10
        await client.feed(client.codec.data_to_send())
    assert fed < 500
    go.set()
    await client.finish()


async def test_a_client_behind_a_slow_application_is_not_silent():
    """Nothing is read meanwhile, so that its pongs cannot come."""
    seen = []

    async def app(scope, receive, send):
        await accept(receive, send)
        await go.wait()
        while (message := await receive())["type"] == "websocket.receive":
            seen.append(message)

    go = asyncio.Event()
    client = Client(app, ping_interval_s=20.0, ping_timeout_s=20.0, read_buffer_bytes=1_000)
    await client.connect()
    await client.say(Message("x" * 2_000))
    assert not client.transport.reading
    for _ in range(10):
        assert await client.tick(21) == b""
    go.set()
    await client.settle()
    assert client.transport.reading
    assert len(seen) == 1
    assert await client.tick(1) == b""
    ping = client.codec.receive_data(await client.tick(20), 0)
    assert [type(event) for event in ping] == [Ping], "from here on it counts again"
    await client.finish()


async def stream(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": b"x", "more_body": True})


async def test_an_application_that_only_writes_lets_others_have_the_loop():
    wired = Wired(stream)
    assert (await wired.feed(GET)).startswith(b"HTTP/1.1 200 "), "while the application goes on"
    await wired.finish()


async def test_an_application_that_only_writes_learns_at_once_that_the_connection_is_lost():
    async def app(scope, receive, send):
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            sent += 1
            if sent == 10:
                wired.transport.abort()

    sent = 0
    wired = Wired(app)
    await wired.feed(GET)
    assert sent == 10
    await wired.finish()


async def test_a_socket_that_only_writes_lets_others_have_the_loop_and_learns_that_it_is_lost():
    async def app(scope, receive, send):
        nonlocal sent
        await accept(receive, send)
        while True:
            await send({"type": "websocket.send", "text": "x"})
            sent += 1
            if sent == 3000:
                client.transport.abort()

    sent = 0
    client = Client(app)
    await client.connect()
    assert 0 < sent < 3000, "settled while the application was busy"
    for _ in range(3):
        await client.settle()
    assert sent == 3000
    assert client.log.lines[-1] == ("close", "/ws", 1006, "", "lost")
    await client.finish()


@pytest.mark.http1_only(reason="the connection ends with its socket")
async def test_a_client_that_resets_while_we_close_is_no_error(monkeypatch, caplog):
    def write_eof():
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    seen = []
    client = Client(record(seen))
    await client.connect()
    monkeypatch.setattr(client.transport, "write_eof", write_eof)
    await client.say(Close(1000))
    assert client.transport.is_closing()
    assert [event["code"] for event in seen] == [1000]
    assert not caplog.records
    await client.finish()

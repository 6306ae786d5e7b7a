"""One HTTP request -> one ASGI call: the events that an application sees, and the bytes that a client gets."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import socket

import pytest

from fullduplex.exceptions import Disconnected, LocalProtocolError
from tests.gateway.wired import Wired, ok

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def post(body: bytes, *fields: bytes, path: bytes = b"/") -> bytes:
    head = [b"POST %s HTTP/1.1" % path, b"Host: a", b"Content-Length: %d" % len(body), *fields, b"", b""]
    return b"\r\n".join(head) + body


async def read(receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        assert message["type"] == "http.request", message
        body += message["body"]
        if not message["more_body"]:
            return body


async def respond(send, body: bytes, status: int = 200) -> None:
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def echo(scope, receive, send):
    await respond(send, await read(receive))


@pytest.mark.http1_only(reason="what is one write: over HTTP/2 everything is framed")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("sized", [True, False])
async def test_large_content_is_not_joined_with_its_head(method, sized):
    content, sizes = bytes(100_000), []

    async def app(scope, receive, send):
        headers = [(b"Content-Length", b"100000")] if sized else []
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})
        sizes.extend(map(len, wired.transport.writes))

    wired = Wired(app)
    head, _, body = (await wired.feed(b"%s / HTTP/1.1\r\nHost: a\r\n\r\n" % method.encode())).partition(b"\r\n\r\n")
    assert head.lower().count(b"content-length: 100000") == (sized or method == "GET")
    assert body == (content if method == "GET" else b"")
    if method == "GET":
        assert (sizes[-1] == 100_000) is sized
    await wired.finish()


async def test_the_scope_is_honest(framing):
    seen = {}

    async def app(scope, receive, send):
        seen.update(scope)
        await respond(send, b"")

    wired = Wired(app)
    wired.gateway.state = {"pool": 1}
    await wired.feed(b"GET /a%20b/%C3%A9?x=%20 HTTP/1.1\r\nHOST: example.org\r\nX-Two: 1\r\nX-Two: 2\r\n\r\n")
    assert seen == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1" if framing == "http1" else "2",
        "method": "GET",
        "scheme": "http",
        "path": "/a b/é",
        "raw_path": b"/a%20b/%C3%A9",
        "query_string": b"x=%20",
        "root_path": "",
        "headers": [(b"host", b"example.org"), (b"x-two", b"1"), (b"x-two", b"2")],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8000),
        "extensions": {
            "fullduplex.context": {},
            "http.response.early_hint": {},
            "http.response.pathsend": {},
            "http.response.trailers": {},
            "http.response.zerocopysend": {},
        },
        "state": {"pool": 1},
    }
    assert seen["state"] is not wired.gateway.state
    await wired.finish()


@pytest.mark.http1_only(reason="what is one write; over HTTP/2 see tests/net")
async def test_a_simple_response_is_one_write():
    wired = Wired(ok(b"hello"))
    wired.connection.data_received(GET)
    await wired.settle()
    assert len(wired.transport.writes) == 1
    assert wired.transport.written.startswith(b"HTTP/1.1 200 OK\r\n")
    assert wired.transport.written.endswith(b"\r\n\r\nhello")
    await wired.finish()


async def test_date_is_added_unless_the_application_gave_one_however_it_is_spelt():
    async def app(scope, receive, send):
        headers = {"/mine": [(b"date", b"mine")], "/Mine": [(b"Date", b"mine")]}.get(scope["path"], [])
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body"})

    wired = Wired(app)
    wired.gateway.set_clock(0)
    assert b"date: Thu, 01 Jan 1970 00:00:00 GMT\r\n" in await wired.feed(GET)
    for path in (b"/mine", b"/Mine"):
        answer = (await wired.feed(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path)).lower()
        assert answer.count(b"date: ") == 1
        assert b"date: mine\r\n" in answer
    await wired.finish()


async def test_content_arrives_however_it_is_cut():
    wired = Wired(echo)
    request = post(b"hello world")
    for cut in range(1, len(request)):
        answer = await wired.feed(request[:cut], request[cut:])
        assert answer.endswith(b"\r\n\r\nhello world"), cut
    await wired.finish()


async def test_100_continue_goes_out_when_the_application_asks_for_content():
    asked = asyncio.Event()

    async def app(scope, receive, send):
        await asked.wait()
        await respond(send, await read(receive))

    wired = Wired(app)
    head, body = post(b"hello", b"Expect: 100-continue").split(b"\r\n\r\n")
    assert await wired.feed(head + b"\r\n\r\n") == b""
    asked.set()
    await wired.settle()
    assert wired.transport.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert (await wired.feed(body)).endswith(b"hello")
    await wired.finish()


async def test_an_early_answer_to_100_continue_asks_for_no_content(framing):
    async def app(scope, receive, send):
        await respond(send, b"no", status=403)

    wired = Wired(app)
    answer = await wired.feed(post(b"x" * 10, b"Expect: 100-continue")[:-10])
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"100 Continue" not in answer
    if framing == "http1":  # whether the content comes is not known
        assert wired.transport.is_closing() or wired.transport.eof_written
    await wired.finish()


@pytest.mark.http1_only(reason="pipelining")
async def test_pipelined_requests_are_answered_in_order_one_at_a_time():
    running = []
    most = 0

    async def app(scope, receive, send):
        nonlocal most
        running.append(scope["path"])
        most = max(most, len(running))
        for _ in range(3):
            await asyncio.sleep(0)
        await respond(send, scope["path"].encode())
        running.remove(scope["path"])

    wired = Wired(app)
    count = 30
    wired.connection.data_received(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(count)))
    assert not wired.transport.reading, "a client that is ahead of us must wait"
    while not wired.transport.written.endswith(b"/%d" % (count - 1)):
        await asyncio.sleep(0)
    bodies = [part.split(b"HTTP/1.1")[0] for part in wired.transport.written.split(b"\r\n\r\n")[1:]]
    assert bodies == [b"/%d" % n for n in range(count)]
    assert most == 1
    assert wired.transport.reading
    await wired.finish()


async def test_context_variables_do_not_leak_into_the_next_request(framing):
    user = contextvars.ContextVar("user", default="nobody")
    seen = []

    async def app(scope, receive, send):
        seen.append(user.get())
        user.set(scope["path"])
        await asyncio.sleep(0)
        await respond(send, b"")
        user.set("later")

    wired = Wired(app)
    await wired.feed(*([GET * 3] if framing == "http1" else [GET] * 3))
    assert seen == ["nobody"] * 3
    await wired.finish()


@pytest.mark.http1_only(reason="pipelining")
async def test_a_thousand_pipelined_requests_do_not_recurse():
    wired = Wired(ok(b"x"))
    wired.connection.data_received(GET * 2000)
    while wired.transport.written.count(b"HTTP/1.1 200 OK") < 2000:
        await wired.settle()
    assert wired.transport.written.count(b"HTTP/1.1 200 OK") == 2000
    await wired.finish()


async def test_reading_pauses_while_the_application_takes_nothing():
    taken = asyncio.Event()

    async def app(scope, receive, send):
        await taken.wait()
        await respond(send, b"%d" % len(await read(receive)))

    wired = Wired(app, read_buffer_bytes=1000)
    request = post(b"x" * 5000)
    await wired.feed(request[:2000])
    assert not wired.transport.reading
    taken.set()
    await wired.settle()
    assert wired.transport.reading
    assert (await wired.feed(request[2000:])).endswith(b"5000")
    await wired.finish()


async def test_send_waits_while_the_client_reads_nothing():
    sent = 0

    async def app(scope, receive, send):
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(100):
            await send({"type": "http.response.body", "body": b"x" * 10_000, "more_body": True})
            sent += 1
        await send({"type": "http.response.body"})

    wired = Wired(app, write_buffer_bytes=20_000)
    wired.transport.stalled = True
    await wired.feed(GET)
    assert sent <= 3
    assert wired.transport.unread_bytes <= 40_000
    wired.transport.peer_reads()
    for _ in range(10):
        await wired.settle()
    assert sent == 100
    assert wired.transport.written.endswith(b"0\r\n\r\n")
    await wired.finish()


async def test_a_client_that_stops_reading_is_dropped_after_its_deadline():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x" * 10_000, "more_body": True})

    wired = Wired(app, write_buffer_bytes=20_000, stalled_write_timeout_s=30.0)
    wired.transport.stalled = True
    await wired.feed(GET)
    await wired.tick(29)
    assert not wired.transport.is_closing()
    await wired.tick(31)
    assert wired.transport.is_closing()
    await wired.finish()


async def test_the_application_learns_of_a_disconnect():
    seen = []

    async def app(scope, receive, send):
        seen.append(await receive())
        seen.append(await receive())
        with pytest.raises(Disconnected):
            await respond(send, b"nobody reads this")

    wired = Wired(app)
    await wired.feed(GET)
    await wired.finish()
    assert [message["type"] for message in seen] == ["http.request", "http.disconnect"]


async def test_two_tasks_may_wait_for_the_disconnect():
    async def app(scope, receive, send):
        await receive()
        both = await asyncio.gather(receive(), receive())
        assert [message["type"] for message in both] == ["http.disconnect"] * 2

    wired = Wired(app)
    await wired.feed(GET)
    await wired.finish()


async def test_receive_after_the_response_says_disconnect():
    seen = []

    async def app(scope, receive, send):
        await receive()
        await respond(send, b"")
        seen.append(await receive())

    wired = Wired(app)
    await wired.feed(GET)
    assert seen == [{"type": "http.disconnect"}]
    await wired.finish()


async def test_a_client_that_half_closed_still_gets_its_answer():
    go = asyncio.Event()

    async def app(scope, receive, send):
        await go.wait()
        await respond(send, b"late")

    wired = Wired(app)
    await wired.feed(GET)
    await wired.eof()
    assert not wired.transport.is_closing()
    go.set()
    await wired.settle()
    assert wired.transport.written.endswith(b"late")
    assert wired.transport.is_closing()
    await wired.finish()


@pytest.mark.http1_only(reason="pipelining; over HTTP/2 see tests/net")
async def test_a_client_that_half_closed_gets_the_answers_to_all_its_requests():
    go = asyncio.Event()

    async def app(scope, receive, send):
        await go.wait()
        await respond(send, scope["raw_path"])

    wired = Wired(app)
    await wired.feed(GET.replace(b"/ ", b"/1 ") + GET.replace(b"/ ", b"/2 "))
    await wired.eof()
    go.set()
    await wired.settle()
    assert wired.transport.written.count(b"HTTP/1.1 200 ") == 2
    assert wired.transport.written.endswith(b"/2")
    assert wired.transport.is_closing()
    await wired.finish()


async def test_a_client_that_half_closed_counts_as_gone_after_a_moment():
    seen = []

    async def app(scope, receive, send):
        await receive()
        seen.append(await receive())

    wired = Wired(app, half_close_grace_s=0.001)
    await wired.feed(GET)
    await wired.eof()
    while not seen:
        await asyncio.sleep(0)
    assert seen == [{"type": "http.disconnect"}]
    await wired.finish()


async def test_an_exception_is_500_and_one_traceback(caplog):
    async def app(scope, receive, send):
        raise RuntimeError("boom")

    wired = Wired(app)
    answer = await wired.feed(GET)
    assert answer.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert b"boom" not in answer
    assert caplog.text.count("RuntimeError: boom") == 1
    assert wired.log.lines == [("http", "/", 500, 0)]
    await wired.finish()


async def test_an_exception_after_the_start_cuts_the_response_short(caplog):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        raise RuntimeError("boom")

    wired = Wired(app)
    answer = await wired.feed(GET)
    assert answer.endswith(b"4\r\npart\r\n")
    assert wired.transport.is_closing()
    assert caplog.text.count("RuntimeError: boom") == 1
    await wired.finish()


async def test_an_application_that_returns_without_an_answer_is_500(caplog):
    async def app(scope, receive, send):
        return

    wired = Wired(app)
    assert (await wired.feed(GET)).startswith(b"HTTP/1.1 500 ")
    assert "without completing its response" in caplog.text
    await wired.finish()


@pytest.mark.parametrize(
    "messages",
    [
        [{"type": "http.response.body"}],
        [{"type": "http.response.start", "status": 200}, {"type": "http.response.start", "status": 200}],
        [{"type": "http.response.start", "status": 99}],
        [{"type": "http.response.start", "status": "200"}],
        [{"type": "http.response.trailers"}],
        [{"type": "nonsense"}],
        [{"type": "http.response.start", "status": 200}, *[{"type": "http.response.body"}] * 2],
    ],
)
async def test_a_wrong_event_raises_in_the_application(messages, caplog):
    raised = []

    async def app(scope, receive, send):
        for message in messages[:-1]:
            await send(message)
        try:
            await send(messages[-1])
        except LocalProtocolError as error:
            raised.append(error)
            raise

    caplog.set_level(logging.CRITICAL)
    wired = Wired(app)
    await wired.feed(GET)
    assert raised
    await wired.finish()


@pytest.mark.parametrize(
    "headers",
    [
        [(b"x", b"a\r\nset-cookie: stolen=1")],
        [(b"x", b"a\nb")],
        [(b"x\r\ny", b"a")],
        [(b"x y", b"a")],
        [(b"", b"a")],
        [(b"x", b"a\0b")],
    ],
)
async def test_response_splitting_is_impossible(headers, caplog):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    caplog.set_level(logging.CRITICAL)
    wired = Wired(app)
    answer = await wired.feed(GET)
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"stolen" not in answer
    await wired.finish()


@pytest.mark.parametrize("body", [b"too long", b"a"])
async def test_content_that_does_not_match_its_length_is_cut_short(body, caplog, framing):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]})
        await send({"type": "http.response.body", "body": body})

    wired = Wired(app)
    answer = await wired.feed(GET)
    assert not answer.endswith(body)
    if framing == "http1":
        assert wired.transport.is_closing()
    else:
        assert answer.startswith(b"HTTP/1.1 500 "), "nothing was queued, so it can be said"
    assert ["RFC 9110 section 8.6" in record.exc_text for record in caplog.records] == [True]
    await wired.finish()


async def test_headers_as_lists():
    async def app(scope, receive, send):
        headers = [[b"content-type", b"text/plain"], [b"content-length", b"2"]]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})

    wired = Wired(app)
    for _ in range(2):
        assert b"content-type: text/plain\r\n" in await wired.feed(GET)
    await wired.finish()


async def test_trailers():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": True})
        await send({"type": "http.response.body", "body": b"a"})
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1")], "more_trailers": True})
        await send({"type": "http.response.trailers", "headers": [(b"x-end", b"2")]})

    wired = Wired(app)
    assert (await wired.feed(GET)).endswith(b"1\r\na\r\n0\r\nx-sum: 1\r\nx-end: 2\r\n\r\n")
    assert not wired.transport.is_closing()
    await wired.finish()


async def test_head_sends_the_head_only():
    wired = Wired(ok(b"hello"))
    answer = await wired.feed(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"content-length: 5\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")
    assert (await wired.feed(GET)).endswith(b"hello")
    await wired.finish()


@pytest.mark.http1_only(reason="its own syntax")
async def test_bad_input_is_400_and_the_end():
    wired = Wired(ok())
    answer = await wired.feed(b"GET / HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close\r\n" in answer
    assert wired.transport.eof_written or wired.transport.is_closing()
    await wired.finish()


@pytest.mark.http1_only(reason="pipelining")
async def test_bad_input_behind_a_good_request_waits_for_its_turn():
    wired = Wired(ok(b"fine"))
    answer = await wired.feed(GET + b"GARBAGE\r\n\r\n")
    assert answer.index(b"fine") < answer.index(b"HTTP/1.1 400 ")
    await wired.finish()


@pytest.mark.http1_only(reason="chunks")
async def test_bad_content_tells_client_and_application():
    seen = []

    async def app(scope, receive, send):
        while not seen or seen[-1]["type"] != "http.disconnect":
            seen.append(await receive())

    wired = Wired(app)
    head, content = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"ZZ\r\n"
    answer = await wired.feed(head, content)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert seen == [{"type": "http.disconnect"}]
    await wired.finish()

    wired = Wired(app)
    answer = await wired.feed(head + content)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert len(seen) == 1, "what is bad from the start never reaches the application"
    await wired.finish()


async def test_content_that_comes_with_its_head_is_there_when_the_application_asks():
    turns = []

    async def app(scope, receive, send):
        turns.append("begun")
        message = await receive()
        turns.append(message["body"])
        await ok()(scope, receive, send)

    wired = Wired(app)
    asyncio.get_running_loop().call_soon(asyncio.get_running_loop().call_soon, turns.append, "a turn later")
    await wired.feed(post(b"content"))
    assert turns == ["begun", b"content", "a turn later"]
    await wired.finish()


@pytest.mark.http1_only(reason="the connection has to close; over HTTP/2 see tests/rfc")
async def test_an_early_response_arrives_although_content_is_still_coming():
    wired = Wired(ok(b"too much"))
    request = post(b"x" * 10_000_000)
    answer = await wired.feed(request[:100_000], request[100_000:200_000])
    assert answer.endswith(b"too much")
    assert wired.transport.eof_written, "closing at once would reset the connection under the response"
    assert not wired.transport.is_closing()
    await wired.tick(3)
    assert wired.transport.is_closing()
    await wired.finish()


async def test_an_idle_connection_is_closed():
    wired = Wired(ok(), keepalive_timeout_s=5.0, idle_timeout_s=5.0)
    await wired.feed(GET)
    await wired.tick(0)  # the first sweep after the response begins the wait
    await wired.tick(4)
    assert not wired.transport.is_closing()
    await wired.tick(2)
    assert wired.transport.is_closing()
    await wired.finish()


@pytest.mark.http1_only(reason="a head comes in pieces; over HTTP/2 see tests/wire")
async def test_a_slow_head_is_408():
    wired = Wired(ok(), head_timeout_s=10.0)
    await wired.feed(b"GET / HT")
    assert (await wired.tick(11)).startswith(b"HTTP/1.1 408 ")
    await wired.finish()


@pytest.mark.http1_only(reason="Connection: close; over HTTP/2 see tests/net")
async def test_draining_lets_the_response_end_and_closes():
    go = asyncio.Event()

    async def app(scope, receive, send):
        await go.wait()
        await respond(send, b"done")

    wired = Wired(app)
    await wired.feed(GET)
    wired.connection.drain(1.0)
    await wired.settle()
    assert not wired.transport.is_closing()
    go.set()
    await wired.settle()
    assert b"\r\nconnection: close\r\n" in wired.transport.written
    assert wired.transport.written.endswith(b"done")
    assert wired.transport.is_closing()
    await wired.finish()


@pytest.mark.http1_only(reason="Connection: close")
async def test_a_response_that_began_before_the_drain_leaves_room_for_one_more_request():
    go = asyncio.Event()

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"do", "more_body": True})
        await go.wait()
        await send({"type": "http.response.body", "body": b"ne"})

    wired = Wired(app)
    assert b"connection:" not in await wired.feed(GET, GET)
    wired.connection.drain(1.0)
    go.set()
    await wired.settle()
    rest = wired.transport.take()
    assert rest.startswith(b"neHTTP/1.1 200 OK\r\n")
    assert b"\r\nconnection: close\r\n" in rest
    assert wired.transport.is_closing()
    await wired.finish()


@pytest.mark.http1_only(reason="Connection: close; over HTTP/2 see tests/net")
@pytest.mark.parametrize("idle_before", [True, False], ids=["kept alive", "new"])
async def test_in_a_drain_a_connection_may_begin_one_more_request(idle_before):
    wired = Wired(ok())
    if idle_before:
        assert b"connection:" not in await wired.feed(GET)
    wired.connection.drain(1.0)
    await wired.tick(0.5)
    assert not wired.transport.is_closing()
    assert b"\r\nconnection: close\r\n" in await wired.feed(GET)
    assert wired.transport.is_closing()
    await wired.finish()


@pytest.mark.http1_only(reason="a head comes in pieces")
async def test_in_a_drain_a_request_that_has_begun_to_arrive_is_awaited():
    wired = Wired(ok())
    await wired.feed(GET, GET[:10])
    wired.connection.drain(1.0)
    await wired.tick(3)
    assert b"\r\nconnection: close\r\n" in await wired.feed(GET[10:])
    await wired.finish()


@pytest.mark.http1_only(reason="GOAWAY says what was not read")
async def test_what_the_kernel_has_and_the_loop_has_not_read_keeps_an_idle_connection_open():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wired = Wired(ok(), keepalive_timeout_s=5.0)
        wired.transport._extra["socket"] = ours
        await wired.feed(GET)
        await wired.tick(0)
        theirs.sendall(GET)
        await wired.tick(6)
        assert not wired.transport.is_closing()
        assert (await wired.feed(ours.recv(1_000))).startswith(b"HTTP/1.1 200 ")
        await wired.tick(0)
        await wired.tick(6)
        assert wired.transport.is_closing()
        await wired.finish()


async def test_an_event_stream_is_told_to_end_and_ends_whole():
    seen = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"Content-Type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        await receive()
        seen.append(await receive())
        await send({"type": "http.response.body", "body": b"data: bye\n\n", "more_body": True})

    wired = Wired(app)
    await wired.feed(GET)
    assert wired.connection.lasts
    wired.connection.drain(1.0)
    wired.connection.dismiss()
    await wired.settle()
    assert seen == [{"type": "http.disconnect"}]
    assert wired.transport.written.endswith(b"b\r\ndata: bye\n\n\r\n0\r\n\r\n")
    assert wired.log.lines == [("http", "/", 200, 20)]
    await wired.finish()


@pytest.mark.parametrize("ends", [True, False], ids=["whole", "endless"])
async def test_head_ends_with_its_head_and_the_application_is_told(ends):
    over = asyncio.Event()

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"b")]})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        try:
            while not ends:
                await send({"type": "http.response.body", "body": b"more", "more_body": True})
            await send({"type": "http.response.body"})
        finally:
            over.set()

    wired = Wired(app)
    head = GET.replace(b"GET", b"HEAD")
    assert (await wired.feed(head)) == b"HTTP/1.1 200 OK\r\nx-a: b\r\n\r\n"
    assert over.is_set()
    assert (await wired.feed(head)).startswith(b"HTTP/1.1 200 OK\r\n")
    assert wired.log.lines == [("http", "/", 200, 0)] * 2
    await wired.finish()


async def test_an_upload_that_breaks_off_is_499_in_the_log(caplog, framing):
    seen = []

    async def app(scope, receive, send):
        while not seen or seen[-1]["type"] != "http.disconnect":
            seen.append(await receive())

    wired = Wired(app)
    await wired.feed(post(b"x" * 100)[:-50])
    await wired.eof()
    assert [(line[0], line[2]) for line in wired.log.lines] == [
        ("http refuse" if framing == "http1" else "http", 499)  # an end of input is no fault of a stream
    ]
    assert seen[-1] == {"type": "http.disconnect"}
    await wired.finish()


async def test_a_client_that_reads_nothing_is_dropped_with_a_warning(caplog, framing):
    wired = Wired(ok(b"x" * 1_000_000))  # with the default: a minute
    wired.transport.stalled = True
    await wired.feed(GET)
    await wired.tick(59)
    assert not wired.transport.is_closing()
    await wired.tick(62)
    assert wired.transport.is_closing()
    unread = "1000" if framing == "http1" else "65"  # kilobytes: what was given to the transport
    assert f"127.0.0.1:50000 has read nothing for 60 s: the connection is dropped, with {unread}" in caplog.text
    await wired.finish()


@pytest.mark.parametrize("idle_before", [True, False], ids=["kept alive", "new"])
async def test_draining_closes_idle_connections_after_a_grace(idle_before):
    wired = Wired(ok())
    if idle_before:
        await wired.feed(GET)
    wired.connection.drain(1.0)
    await wired.tick(0)
    assert not wired.transport.is_closing()
    await wired.tick(1.1)
    assert wired.transport.is_closing()
    await wired.finish()


async def test_cancelling_the_application_cuts_the_response_short():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        await asyncio.Event().wait()

    wired = Wired(app)
    await wired.feed(GET)
    for task in list(wired.gateway.tasks):
        task.cancel()
    await wired.settle()
    assert wired.transport.is_closing()
    await wired.finish()


async def test_access_lines_tell_status_and_bytes():
    wired = Wired(ok(b"hello"))
    await wired.feed(GET, b"HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n")
    assert wired.log.lines[0] == ("http", "/", 200, 5)
    assert wired.log.lines[1] == ("http", "/x", 200, 0)
    await wired.finish()

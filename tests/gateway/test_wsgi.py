"""WSGI applications through the whole gateway: bytes in, bytes out, the application in a thread."""

from __future__ import annotations

import asyncio
import io
import threading
from wsgiref.validate import validator

import pytest

from fullduplex.exceptions import Disconnected
from fullduplex.gateway.wsgi import DaemonThreads, WSGIAdapter
from tests.gateway.wired import Wired

GET = b"GET /a%20b?q=1 HTTP/1.1\r\nHost: h\r\n\r\n"
CLOSE = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


async def answer(wired: Wired) -> bytes:
    """Everything that is written until the application is done."""
    async with asyncio.timeout(30):
        while wired.gateway.tasks:
            await asyncio.sleep(0.001)
    await wired.settle()
    return wired.transport.take()


async def ask(app, *pieces: bytes, threads: int = 1) -> bytes:
    adapter = WSGIAdapter(app, threads)
    wired = Wired(adapter)
    data = await wired.feed(*pieces)
    data += await answer(wired)
    await wired.finish()
    adapter._threads.close()
    return data


def app_of(function):
    """A WSGI application that answers 200 with what ``function(environ)`` returns."""

    def app(environ, start_response):
        body = function(environ)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return body

    return app


async def test_the_environment():
    seen = {}
    head = (
        b"POST /a%20%C3%A9?q=%20 HTTP/1.1\r\nHost: h\r\nContent-Type: text/x\r\nContent-Length: 2\r\n"
        b"X-A: 1\r\nX-A: 2\r\nCookie: a=1\r\nCookie: b=2\r\nX_User: admin\r\nConnection: close\r\n\r\nhi"
    )

    def body(environ):
        seen.update(environ, body=environ["wsgi.input"].read())
        return [b"ok"]

    await ask(app_of(body), head)
    wanted = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/a é".encode().decode("latin-1"),
        "QUERY_STRING": "q=%20",
        "REQUEST_URI": "/a%20%C3%A9?q=%20",
        "CONTENT_TYPE": "text/x",
        "CONTENT_LENGTH": "2",
        "HTTP_X_A": "1,2",
        "HTTP_COOKIE": "a=1; b=2",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.url_scheme": "http",
        "body": b"hi",
    }
    assert {name: seen[name] for name in wanted} == wanted
    assert "HTTP_X_USER" not in seen


@pytest.mark.filterwarnings("ignore::wsgiref.validate.WSGIWarning")
async def test_the_standard_library_s_validator_agrees():
    def app(environ, start_response):
        assert environ["wsgi.input"].read(100) == b"hello"
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
        return [b"ok"]

    data = await ask(
        validator(app), b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
    )
    assert data.startswith(b"HTTP/1.1 200 OK\r\n")
    assert data.endswith(b"\r\n\r\nok")


async def test_one_block_gets_its_length_and_several_are_chunks():
    assert b"content-length: 2\r\n" in await ask(app_of(lambda environ: [b"ok"]), CLOSE)
    data = await ask(app_of(lambda environ: iter([b"a", b"", b"bc"])), CLOSE)
    assert b"transfer-encoding: chunked\r\n" in data
    assert data.endswith(b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n")
    assert (await ask(app_of(lambda environ: []), CLOSE)).endswith(b"content-length: 0\r\nconnection: close\r\n\r\n")


async def test_write_comes_before_what_is_returned():
    def app(environ, start_response):
        write = start_response("200 OK", [("Content-Length", "4")])
        write(b"ab")
        return [b"cd"]

    assert (await ask(app, CLOSE)).endswith(b"\r\n\r\nabcd")


async def test_input_is_read_as_it_comes():
    lines = []

    def body(environ):
        lines.append(environ["wsgi.input"].readline())
        lines.extend(environ["wsgi.input"])
        assert environ["wsgi.input"].read() == b""
        return [b"ok"]

    head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    await ask(app_of(body), head, b"3\r\none\r\n", b"5\r\n\ntwo\n\r\n", b"5\r\nthree\r\n0\r\n\r\n")
    assert lines == [b"one\n", b"two\n", b"three"]


async def test_a_slow_client_stops_the_application():
    sent = []

    def blocks(environ):
        for number in range(100):
            yield b"x" * 65_536
            sent.append(number)

    wired = Wired(WSGIAdapter(app_of(blocks), 1))
    wired.transport.stalled = True
    wired.connection.data_received(CLOSE)
    while not wired.transport.writes:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.05)
    assert len(sent) < 5
    wired.transport.peer_reads()
    await answer(wired)
    assert len(sent) == 100
    await wired.finish()


async def test_an_error_before_the_head_is_500_and_close_is_called(caplog):
    closed = []

    class Body:
        def __iter__(self):
            raise ValueError("boom")

        def close(self):
            closed.append(True)

    data = await ask(app_of(lambda environ: Body()), CLOSE)
    assert data.startswith(b"HTTP/1.1 500 ")
    assert closed == [True]
    assert caplog.text.count("ValueError: boom") == 1


async def test_exc_info_replaces_the_head_until_it_is_sent(caplog):
    def app(environ, start_response):
        start_response("200 OK", [])
        try:
            raise ValueError("boom")
        except ValueError as error:
            start_response("503 Later", [("X-Error", "yes")], (ValueError, error, error.__traceback__))
        return [b"sorry"]

    data = await ask(app, CLOSE)
    assert data.startswith(b"HTTP/1.1 503 ")
    assert b"x-error: yes\r\n" in data

    def too_late(environ, start_response):
        write = start_response("200 OK", [])
        write(b"begun")
        try:
            raise ValueError("too late")
        except ValueError as error:
            start_response("500 Error", [], (ValueError, error, error.__traceback__))
        return []

    data = await ask(too_late, CLOSE)
    assert not data.endswith(b"0\r\n\r\n")
    assert "ValueError: too late" in caplog.text


@pytest.mark.parametrize("twice", [True, False])
async def test_start_response_once(twice, caplog):
    def app(environ, start_response):
        if twice:
            start_response("200 OK", [])
            start_response("200 OK", [])
        return [b"x"]

    assert (await ask(app, CLOSE)).startswith(b"HTTP/1.1 500 ")
    assert "PEP 3333: " in caplog.text


async def test_a_client_that_leaves_ends_the_application():
    ended = threading.Event()
    seen = []

    class Body:
        def __iter__(self):
            while True:
                yield b"tick"

        def close(self):
            seen.append("closed")
            ended.set()

    adapter = WSGIAdapter(app_of(lambda environ: Body()), 1)
    wired = Wired(adapter)
    assert b"tick" in await wired.feed(GET) + await asyncio.sleep(0.05, b"") + wired.transport.take()
    await wired.finish()
    await asyncio.to_thread(ended.wait, 5)
    assert seen == ["closed"]


async def test_a_read_raises_when_the_client_is_gone():
    caught = []

    def body(environ):
        try:
            environ["wsgi.input"].read()
        except OSError as error:
            caught.append(error)
        return [b""]

    wired = Wired(WSGIAdapter(app_of(body), 1))
    await wired.feed(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf")
    await asyncio.sleep(0.01)
    await wired.finish()
    assert isinstance(caught[0], Disconnected)


async def test_cancelling_lets_the_application_go():
    waiting, ended = threading.Event(), threading.Event()

    def body(environ):
        waiting.set()
        try:
            environ["wsgi.input"].read()
        finally:
            ended.set()

    wired = Wired(WSGIAdapter(app_of(body), 1))
    await wired.feed(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf")
    await asyncio.to_thread(waiting.wait, 5)
    for task in wired.gateway.tasks:
        task.cancel()
    assert await asyncio.to_thread(ended.wait, 5)
    await wired.finish()


async def test_a_file_in_blocks_and_closed():
    file = io.BytesIO(b"0123456789")
    data = await ask(app_of(lambda environ: environ["wsgi.file_wrapper"](file, 4)), CLOSE)
    assert data.endswith(b"4\r\n0123\r\n4\r\n4567\r\n2\r\n89\r\n0\r\n\r\n")
    assert file.closed


async def test_websockets_are_refused_and_lifespan_is_answered():
    sent = []
    adapter = WSGIAdapter(app_of(lambda environ: []), 1)

    async def send(message):
        sent.append(message["type"])

    await adapter({"type": "websocket"}, None, send)
    events = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive():
        return next(events)

    await adapter({"type": "lifespan"}, receive, send)
    assert sent == ["websocket.close", "lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_threads_are_bounded_and_reused():
    threads = DaemonThreads(2)
    gate, seen = threading.Event(), []

    def wait():
        seen.append(threading.current_thread())
        gate.wait(30)

    futures = [threads.submit(wait) for _ in range(5)]
    assert not futures[-1].running()
    gate.set()
    for future in futures:
        future.result(30)
    assert len(seen) == 5
    assert len(set(seen)) == 2
    assert all(thread.daemon for thread in seen)
    threads.close()
    for thread in seen:
        thread.join(30)
        assert not thread.is_alive()

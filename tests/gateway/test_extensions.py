"""The ASGI extensions for responses: early hints, and files by path or by descriptor."""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile

import pytest

from fullduplex.exceptions import Disconnected, LocalProtocolError
from tests.gateway.wired import Wired

CONTENT = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(CONTENT)
    return str(file)


def request(method=b"GET", version=b"1.1"):
    return method + b" / HTTP/" + version + b"\r\nHost: h\r\nConnection: close\r\n\r\n"


def app_of(*messages, headers=(), **start):
    async def app(scope, receive, send):
        app.extensions = scope["extensions"]
        await send({"type": "http.response.start", "status": 200, "headers": [*headers], **start})
        for message in messages:
            await send(message)

    return app


async def ask(app, data=None):
    wired = Wired(app)
    answer = await wired.feed(data or request())
    while wired.gateway.tasks:
        await wired.settle()
        answer += wired.transport.take()
        if wired.transport.stalled:
            wired.transport.peer_reads()
    await wired.settle()  # a call that is over may have left what is written at the end of its turn
    answer += wired.transport.take()
    await wired.finish()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body, wired


async def test_early_hints_go_before_the_response():
    async def app(scope, receive, send):
        await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload; as=style", b"</b.js>"]})
        await app_of({"type": "http.response.body", "body": b"ok"})(scope, receive, send)

    head, rest, _ = await ask(app)
    assert head == b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload; as=style\r\nlink: </b.js>"
    assert rest.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_early_hints_cannot_split_a_response(caplog):
    async def app(scope, receive, send):
        await send({"type": "http.response.early_hint", "links": [b"</a>\r\nset-cookie: a=b"]})

    head, _, _ = await ask(app)
    assert head.startswith(b"HTTP/1.1 500 ")
    assert "contains CR, LF or NUL" in caplog.text


async def test_early_hints_after_the_response_do_not_reach_the_next_request():
    asked = asyncio.Event()
    refused = []

    async def app(scope, receive, send):
        if scope["path"] == "/second":
            asked.set()
            await receive()
            while not refused:
                await asyncio.sleep(0)
        await app_of({"type": "http.response.body", "body": b"ok"})(scope, receive, send)
        if scope["path"] == "/first":
            await asked.wait()
            with pytest.raises(LocalProtocolError, match="already complete"):
                await send({"type": "http.response.early_hint", "links": [b"</a.css>"]})
            refused.append(True)

    wired = Wired(app)
    first, second = (b"GET /%b HTTP/1.1\r\nHost: h\r\n\r\n" % name for name in (b"first", b"second"))
    answers = await wired.feed(first, second)
    assert refused
    assert b" 103 " not in answers
    assert answers.count(b" 200 OK") == 2
    await wired.finish()


@pytest.mark.http1_only(reason="HTTP/1.0")
async def test_http_1_0_is_offered_only_what_works():
    app = app_of({"type": "http.response.body", "body": b""})
    await ask(app, request(version=b"1.0"))
    assert sorted(app.extensions) == ["fullduplex.context", "http.response.pathsend", "http.response.zerocopysend"]


async def test_a_file_by_its_path_gets_its_length(path):
    head, body, wired = await ask(app_of({"type": "http.response.pathsend", "path": path}))
    assert b"content-length: %d" % len(CONTENT) in head
    assert body == CONTENT
    assert wired.log.lines == [("http", "/", 200, len(CONTENT))]


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="the kernel cannot tell what it has in memory")
@pytest.mark.parametrize("cached", ["nothing", "unknown", "the beginning"])
async def test_what_is_not_in_memory_is_read_in_a_thread(path, monkeypatch, cached):
    original = os.preadv

    def preadv(fd, buffers, offset, flags):
        if cached == "the beginning" and offset == 0:
            return original(fd, [memoryview(buffers[0])[:1000]], offset)
        raise BlockingIOError if cached == "nothing" else OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "preadv", preadv)
    _, body, _ = await ask(app_of({"type": "http.response.pathsend", "path": path}))
    assert body == CONTENT


async def test_head_gets_the_length_and_no_content(path):
    head, body, _ = await ask(app_of({"type": "http.response.pathsend", "path": path}), request(b"HEAD"))
    assert b"content-length: %d" % len(CONTENT) in head
    assert body == b""


async def test_trailers_come_after_a_file(path):
    messages = (
        {"type": "http.response.pathsend", "path": path},
        {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]},
    )
    head, body, _ = await ask(app_of(*messages, trailers=True))
    assert b"transfer-encoding: chunked" in head
    assert body.endswith(b"0\r\nx-sum: 1\r\n\r\n")
    assert len(body) > len(CONTENT)


async def test_a_part_of_an_open_file(path):
    with open(path, "rb") as file:  # noqa: ASYNC230
        message = {"type": "http.response.zerocopysend", "file": file.fileno(), "offset": 10, "count": 5}
        head, body, _ = await ask(app_of(message))
    assert b"content-length: 5" in head
    assert body == CONTENT[10:15]


async def test_an_open_file_from_where_it_stands_between_other_content(path):
    with open(path, "rb", buffering=0) as file:  # noqa: ASYNC230
        file.seek(len(CONTENT) - 3)
        messages = (
            {"type": "http.response.body", "body": b"<", "more_body": True},
            {"type": "http.response.zerocopysend", "file": file, "more_body": True},
            {"type": "http.response.body", "body": b">"},
        )
        _, body, _ = await ask(app_of(*messages, headers=[(b"content-length", b"5")]))
    assert body == b"<" + CONTENT[-3:] + b">"


@pytest.mark.parametrize("kind", ["missing", "directory", "pipe"])
async def test_what_cannot_be_sent_is_an_error_before_the_head(tmp_path, caplog, kind):
    place = tmp_path / kind
    if kind == "directory":
        place.mkdir()
    elif kind == "pipe":
        os.mkfifo(place)
    head, _, _ = await ask(app_of({"type": "http.response.pathsend", "path": str(place)}))
    assert head.startswith(b"HTTP/1.1 500 ")
    assert "Error" in caplog.text


async def test_a_file_longer_or_shorter_than_the_length_is_cut_off(caplog):
    with tempfile.TemporaryFile() as file:
        file.write(b"1234")
        file.flush()
        for length, count in ((b"3", 4), (b"9", 9)):
            message = {"type": "http.response.zerocopysend", "file": file.fileno(), "offset": 0, "count": count}
            _, body, wired = await ask(app_of(message, headers=[(b"content-length", length)]))
            assert len(body) != int(length)
            assert wired.transport.is_closing()
    assert "more content than the Content-Length" in caplog.text
    assert "the file ends 5 bytes before the 9" in caplog.text


async def test_a_client_that_leaves_ends_the_sending(path):
    caught = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            await send({"type": "http.response.pathsend", "path": path})
        except OSError as error:
            caught.append(error)

    wired = Wired(app)
    wired.transport.stalled = True
    wired.connection.data_received(request())
    while wired.transport.unread_bytes < 65_536:
        await wired.settle()
    await wired.finish()
    assert isinstance(caught[0], Disconnected)
    ((*_, status, sent_bytes),) = wired.log.lines
    assert status == 200
    assert 0 < sent_bytes < len(CONTENT)
    assert wired.transport.unread_bytes < len(CONTENT)


async def test_a_file_needs_a_head(caplog, path):
    async def app(scope, receive, send):
        await send({"type": "http.response.pathsend", "path": path})

    head, _, _ = await ask(app)
    assert head.startswith(b"HTTP/1.1 500 ")
    assert "a file came before http.response.start" in caplog.text

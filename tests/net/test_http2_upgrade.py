"""HTTP/2 by ``Upgrade: h2c`` (RFC 7540 section 3.2), where it is asked for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fullduplex.wire.http2_gate import PREFACE
from fullduplex.wire.http2_library import LIBRARIES
from tests.net.test_http2_connection import Peer, content, path, respond
from tests.wire.http2_frames import DATA, END_STREAM, GET, GOAWAY, SETTINGS, START, frames, headers, settings

UPGRADE = (
    b"GET /a?b HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, X-Hop\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAAQAAP__\r\nX-Hop: 1\r\nX-Stays: 2\r\nTE: trailers\r\n\r\n"
)
ACCEPT = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: h2c\r\n\r\n"


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def names(scope: Any, receive: Any, send: Any) -> None:
    words = [scope["method"].encode(), scope["raw_path"], scope["http_version"].encode(), scope["query_string"]]
    await respond(send, b" ".join([*words, *(name for name, _ in scope["headers"])]))


def upgraded(peer: Peer, request: bytes = UPGRADE) -> bool:
    """Send a request, and see whether 101 and SETTINGS come."""
    peer.transport.protocol.data_received(request)  # type: ignore[attr-defined]
    sent = peer.transport.take()
    if not sent.startswith(ACCEPT):
        return False
    assert frames(sent.removeprefix(ACCEPT))[0].kind == SETTINGS
    return True


@pytest.mark.parametrize("size", [1000, 24, 30, 9, 1])
async def test_the_request_becomes_the_first_stream(library: str, size: int) -> None:
    peer = Peer(names, library, start=b"", h2c_upgrade=True)
    assert upgraded(peer)
    start = PREFACE + settings((3, 100), (4, 65_535)) + headers(GET, 3)
    sent = await peer.feed(*(start[begin : begin + size] for begin in range(0, len(start), size)))
    assert content(sent, 1) == b"GET /a 2 b host x-stays"
    assert content(sent, 3) == b"GET / 2  host"
    assert [one.stream_id for one in sent if one.kind == DATA and one.flags & END_STREAM] == [1, 3]
    assert [one for one in sent if one.kind == GOAWAY] == []
    await peer.finish()


async def test_what_comes_behind_the_request_at_once_is_read(library: str) -> None:
    peer = Peer(names, library, start=b"", h2c_upgrade=True)
    answer = await raw(peer, UPGRADE + START + headers(GET, 3))
    assert content(frames(answer.removeprefix(ACCEPT)), 3) == b"GET / 2  host"
    await peer.finish()


async def raw(peer: Peer, data: bytes) -> bytes:
    """What comes back."""
    peer.transport.protocol.data_received(data)  # type: ignore[attr-defined]
    for _ in range(20):
        await asyncio.sleep(0)
    return peer.transport.take()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"Upgrade: h2c", b"Upgrade: h2"),
        (b", HTTP2-Settings", b""),
        (b"HTTP2-Settings: AAMAAABkAAQAAP__", b"X: y"),
        (b"AAMAAABkAAQAAP__", b"AAMAAABkAAQAAP__\r\nHTTP2-Settings: AAMAAABkAAQAAP__"),
        (b"AAMAAABkAAQAAP__", b"AAMAAABkAAQAAP//"),
        (b"AAMAAABkAAQAAP__", b"AAMAAABkAAQAAP"),
        (b"AAMAAABkAAQAAP__", b"A"),
        (b"AAMAAABkAAQAAP__", b"AAAA" * 100),
        (b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\nx"),
        (b"X-Stays: 2", b"X-Stays: " + b"2" * 20_000),
    ],
)
async def test_what_is_no_upgrade_is_answered_in_http1(library: str, old: bytes, new: bytes) -> None:
    peer = Peer(path, library, start=b"", h2c_upgrade=True)
    assert (await raw(peer, UPGRADE.replace(old, new, 1))).startswith(b"HTTP/1.1 200 ")
    await peer.finish()


@pytest.mark.parametrize(("h2c", "option"), [("on", False), ("off", True), ("local", True)])
async def test_it_is_not_spoken_unasked_nor_where_the_preface_is_not(library: str, h2c: str, option: bool) -> None:
    peer = Peer(path, library, start=b"", h2c=h2c, h2c_upgrade=option)
    peer.transport._extra["sockname"] = ("192.0.2.1", 80)  # type: ignore[attr-defined]
    assert (await raw(peer, UPGRADE)).startswith(b"HTTP/1.1 200 ")
    await peer.finish()


@pytest.mark.parametrize("wrong", [b"GET / HTTP/1.1\r\n\r\n" * 3, PREFACE + settings(*[(4, 70_000)] * 40)])
async def test_a_client_that_goes_on_otherwise_is_told(library: str, wrong: bytes) -> None:
    peer = Peer(path, library, start=b"", h2c_upgrade=True)
    assert upgraded(peer)
    sent = await peer.feed(wrong)
    assert sent[-1].kind == GOAWAY
    await peer.finish()


async def test_a_client_that_goes_on_with_nothing_is_left_in_time(library: str) -> None:
    peer = Peer(path, library, start=b"", h2c_upgrade=True)
    assert upgraded(peer)
    await peer.feed(PREFACE[:10])
    await peer.tick(16)
    assert peer.transport.is_closing()

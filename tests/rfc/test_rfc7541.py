"""RFC 7541, as far as a server's reader has to do with it: what HPACK may not do, and what it may not cost."""

from __future__ import annotations

import pytest
from hpack import Encoder

from fullduplex.limits import HTTP2Limits
from fullduplex.wire.events import ProtocolFailed, RequestHead
from fullduplex.wire.http2_errors import ErrorCode
from fullduplex.wire.http2_library import LIBRARIES
from tests.wire.http2_frames import (
    CONTINUATION,
    END_HEADERS,
    END_STREAM,
    GET,
    HEADERS,
    Peer,
    block,
    connection_error,
    frame,
    headers,
    settings,
)


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def raw(payload: bytes, stream_id: int = 1) -> bytes:
    return frame(HEADERS, END_HEADERS | END_STREAM, stream_id, payload)


@pytest.mark.parametrize(
    "payload",
    [
        b"\x80",  # section 6.1: index 0
        b"\xff\x80\x80\x80\x80\x80\x80\x80\x01",  # section 5.1: an integer that overflows
        b"\xc6",  # section 2.3.3: an index beyond both tables
        b"\x40\x01",  # section 6.2: a literal cut short
        b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90",  # section 5.2: padding of a Huffman code above 7 bits
        b"\x00\x82\xff\xff\x01a",  # section 5.2: EOS in a string
        b"\x3f\xff\xff\xff\x7f",  # section 6.3: a table above SETTINGS_HEADER_TABLE_SIZE
        b"\x82\x20",  # section 4.2: a change of the table's size behind fields
    ],
)
def test_what_cannot_be_decoded_ends_the_connection(library: str, payload: bytes) -> None:
    assert connection_error(Peer(library), raw(payload)) == ErrorCode.COMPRESSION_ERROR


def test_2_2_both_sides_keep_their_tables(library: str) -> None:
    peer = Peer(library)
    encoder = Encoder()
    fields = [*GET, (b"x-long-name", b"and a long value")]
    sizes = []
    for stream_id in (1, 3, 5):
        payload = encoder.encode(fields)
        sizes.append(len(payload))
        [head] = peer.feed(raw(payload, stream_id))
        assert isinstance(head, RequestHead)
        assert head.headers == [(b"host", b"a"), (b"x-long-name", b"and a long value")]
    assert sizes[1] < sizes[0] // 3


def test_2_2_a_request_that_is_refused_changes_the_table_all_the_same(library: str) -> None:
    peer = Peer(library)
    encoder = Encoder()
    peer.feed(raw(encoder.encode([*GET, (b"connection", b"close"), (b"x-after", b"it")])))
    peer.output()
    [head] = peer.feed(raw(encoder.encode([*GET, (b"x-after", b"it")]), 3))
    assert isinstance(head, RequestHead)
    assert head.headers[1:] == [(b"x-after", b"it")]


def test_4_2_the_client_may_forbid_the_table(library: str) -> None:
    peer = Peer(library)
    peer.feed(settings((1, 0)))
    peer.output()
    for stream_id in (1, 3):
        peer.feed(headers(GET, stream_id))
        peer.codec.respond(stream_id, 200, [(b"x-repeated", b"value")], b"")
        [sent] = [one for one in peer.output() if one.kind == HEADERS]
        peer.decoder.max_allowed_table_size = 0
        assert (b"x-repeated", b"value") in peer.fields(sent)
        assert b"x-repeated" in sent.payload or len(sent.payload) > 15  # a literal, whether Huffman or not


def test_a_bomb_of_references_is_not_unpacked(library: str) -> None:
    """One field of 4 KB, and thousands of references to it of one byte each."""
    peer = Peer(library, HTTP2Limits(max_head_bytes=65_536))
    encoder = Encoder()
    first = encoder.encode([*GET, (b"x", b"y" * 4000)])
    [head] = peer.feed(raw(first))
    assert isinstance(head, RequestHead)
    [reference] = encoder.encode([(b"x", b"y" * 4000)])
    assert connection_error(peer, raw(block(GET) + bytes([reference]) * 16_000, 3)) == ErrorCode.ENHANCE_YOUR_CALM


def test_a_list_above_the_limit_and_below_the_bomb_is_answered(library: str) -> None:
    peer = Peer(library, HTTP2Limits(max_head_bytes=8192))
    encoder = Encoder()
    peer.feed(raw(encoder.encode([*GET, (b"x", b"y" * 3900)])))
    [reference] = encoder.encode([(b"x", b"y" * 3900)])
    [event] = peer.feed(raw(block(GET) + bytes([reference]) * 3, 3))
    assert isinstance(event, ProtocolFailed)
    assert (event.stream_id, event.error.status_hint) == (3, 431)  # type: ignore[attr-defined]


def test_continuation_without_end_is_not_gathered(library: str) -> None:
    peer = Peer(library, HTTP2Limits(max_head_bytes=65_536))
    pieces = [frame(CONTINUATION, 0, 1, bytes(16_000))] * 9
    assert connection_error(peer, frame(HEADERS, 0, 1, block(GET)), *pieces) == ErrorCode.ENHANCE_YOUR_CALM
    peer = Peer(library)
    pieces = [frame(CONTINUATION, 0, 1)] * 30
    assert connection_error(peer, frame(HEADERS, 0, 1, block(GET)), *pieces) == ErrorCode.ENHANCE_YOUR_CALM

"""RFC 9113 sections 4 and 6: what frames are, and each kind of them; over both libraries."""

from __future__ import annotations

import pytest

from fullduplex.limits import HTTP2Limits
from fullduplex.wire.events import (
    Data,
    EndOfMessage,
    RequestHead,
    ResponseHead,
    StreamReset,
)
from fullduplex.wire.http2_errors import ErrorCode
from fullduplex.wire.http2_gate import PREFACE
from fullduplex.wire.http2_library import LIBRARIES
from tests.wire.http2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GET,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    POST,
    PRIORITIZED,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Peer,
    any_error,
    block,
    connection_error,
    data,
    frame,
    headers,
    reset,
    settings,
    stream_error,
    update,
)

PROTOCOL, FLOW, CLOSED, SIZE = (
    ErrorCode.PROTOCOL_ERROR,
    ErrorCode.FLOW_CONTROL_ERROR,
    ErrorCode.STREAM_CLOSED,
    ErrorCode.FRAME_SIZE_ERROR,
)


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def peer(library: str) -> Peer:
    return Peer(library)


def test_4_1_unknown_frames_are_ignored(peer: Peer) -> None:
    assert peer.feed(frame(0x77, 0xFF, 0, b"?" * 20), frame(0x78, 0, 5)) == []
    assert peer.head(GET).target == b"/"


def test_4_1_reserved_bits_and_unknown_flags_are_ignored(peer: Peer) -> None:
    request = headers(GET)
    [head] = peer.feed(request[:5] + bytes((request[5] | 0x80,)) + request[6:])
    assert isinstance(head, RequestHead)
    assert peer.feed(frame(WINDOW_UPDATE, 0, 0, b"\x80\0\0\x05"), frame(SETTINGS, 0xFE)) == []
    assert peer.feed(frame(PING, 0xFE, 0, bytes(8))) == []
    assert [(one.kind, one.flags) for one in peer.output()] == [(SETTINGS, ACK), (PING, ACK)]


def test_4_2_a_frame_of_the_largest_size_is_in_order(peer: Peer) -> None:
    peer.head(POST, end=False)
    assert peer.feed(data(bytes(16_384))) == [Data(bytes(16_384), False, 1)]


@pytest.mark.parametrize("kind", [HEADERS, SETTINGS, PING, CONTINUATION, 0x77])
def test_4_2_no_frame_is_above_the_largest_size(peer: Peer, kind: int) -> None:
    assert connection_error(peer, frame(kind, 0, 1, bytes(16_385))) == SIZE


def test_4_2_a_frame_above_the_largest_size_ends_the_connection(peer: Peer) -> None:
    assert connection_error(peer, headers(POST, end=False) + data(bytes(16_385))) == SIZE


def test_4_3_a_field_block_that_cannot_be_decoded_ends_the_connection(peer: Peer) -> None:
    broken = frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff\xff\xff\xff\x7f")
    assert connection_error(peer, broken) == ErrorCode.COMPRESSION_ERROR


def test_4_3_the_frames_of_a_field_block_stand_together(peer: Peer) -> None:
    begun = frame(HEADERS, END_STREAM, 1, block(GET)[:3])
    assert connection_error(peer, begun, frame(PING, payload=bytes(8))) == PROTOCOL


def test_4_3_a_field_block_may_come_in_pieces(peer: Peer) -> None:
    whole = block(GET)
    begun = frame(HEADERS, END_STREAM, 1, whole[:2])
    assert peer.feed(begun, frame(CONTINUATION, 0, 1, whole[2:5])) == []
    [head] = peer.feed(frame(CONTINUATION, END_HEADERS, 1, whole[5:]))
    assert isinstance(head, RequestHead)


def test_6_1_data_has_a_stream(peer: Peer) -> None:
    assert connection_error(peer, data(b"x", 0)) == PROTOCOL


def test_6_1_padding_is_left_out_and_credited(peer: Peer) -> None:
    peer.head(POST, end=False)
    assert peer.feed(frame(DATA, PADDED | END_STREAM, 1, b"\x03abc\0\0\0")) == [
        Data(b"abc", False, 1),
        EndOfMessage([], 1),
    ]


def test_6_1_padding_is_shorter_than_its_frame(peer: Peer) -> None:
    peer.head(POST, end=False)
    assert connection_error(peer, frame(DATA, PADDED, 1, b"\x05abc")) == PROTOCOL


def test_6_2_headers_may_be_padded_and_prioritized(peer: Peer) -> None:
    payload = b"\x02" + b"\0\0\0\0\x10" + block(GET) + b"\0\0"
    [head] = peer.feed(frame(HEADERS, END_HEADERS | END_STREAM | PADDED | PRIORITIZED, 1, payload))
    assert isinstance(head, RequestHead)


@pytest.mark.parametrize(
    ("flags", "payload", "code"),
    [
        (PADDED, b"\xff" + block(GET), PROTOCOL),  # padding that is longer than its frame
        (PRIORITIZED, b"\0\0", SIZE),  # no room for what is prioritized
        (PRIORITIZED, b"\0\0\0\x01\0" + block(GET), PROTOCOL),  # RFC 7540 section 5.3.1: it depends on itself
    ],
)
def test_6_2_headers_whose_frame_is_wrong(peer: Peer, flags: int, payload: bytes, code: int) -> None:
    assert connection_error(peer, frame(HEADERS, END_HEADERS | END_STREAM | flags, 1, payload)) == code


def test_6_3_priority_is_five_bytes_of_a_stream(library: str) -> None:
    assert connection_error(Peer(library), frame(PRIORITY, 0, 0, bytes(5))) == PROTOCOL
    assert connection_error(Peer(library), frame(PRIORITY, 0, 1, bytes(4))) == SIZE
    assert connection_error(Peer(library), frame(PRIORITY, 0, 3, b"\0\0\0\x03\0")) == PROTOCOL


def test_6_4_rst_stream_is_four_bytes_of_a_stream(library: str) -> None:
    assert connection_error(Peer(library), reset(0)) == PROTOCOL
    peer = Peer(library)
    peer.head(POST, end=False)
    assert connection_error(peer, frame(RST_STREAM, 0, 1, bytes(3))) == SIZE


def test_6_4_a_reset_has_any_code(peer: Peer) -> None:
    peer.head(POST, end=False)
    assert peer.feed(reset(1, 0x1234), reset(1)) == [StreamReset(0x1234, 1)]


def test_6_5_settings_are_acknowledged(peer: Peer) -> None:
    assert peer.feed(settings((4, 1000), (0x99, 7))) == []
    assert [(one.kind, one.flags) for one in peer.output()] == [(SETTINGS, ACK)]


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (frame(SETTINGS, ACK, 0, bytes(6)), SIZE),
        (frame(SETTINGS, 0, 1), PROTOCOL),
        (frame(SETTINGS, 0, 0, bytes(5)), SIZE),
        (settings((2, 2)), PROTOCOL),
        (settings((8, 2)), PROTOCOL),  # RFC 8441 section 3
        (settings((4, 2**31)), FLOW),
        (settings((5, 16_383)), PROTOCOL),
        (settings((5, 2**24)), PROTOCOL),
    ],
)
def test_6_5_wrong_settings_end_the_connection(peer: Peer, wrong: bytes, code: int) -> None:
    assert connection_error(peer, wrong) == code


def test_6_6_clients_push_nothing(peer: Peer) -> None:
    peer.head(POST, end=False)
    assert connection_error(peer, frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\x02" + block(GET))) == PROTOCOL


def test_6_7_a_ping_is_answered(peer: Peer) -> None:
    assert peer.feed(frame(PING, payload=b"12345678")) == []
    assert peer.output() == [(PING, ACK, 0, b"12345678")]
    assert peer.feed(frame(PING, ACK, payload=b"12345678")) == []
    assert peer.output() == []


def test_6_7_a_ping_is_eight_bytes_of_the_connection(library: str) -> None:
    assert connection_error(Peer(library), frame(PING, payload=bytes(6))) == SIZE
    assert connection_error(Peer(library), frame(PING, 0, 1, bytes(8))) == PROTOCOL


def test_6_8_after_the_goaway_of_a_client_its_requests_are_answered(peer: Peer) -> None:
    peer.head(GET)
    assert peer.feed(frame(GOAWAY, payload=bytes(8))) == []
    peer.codec.respond(1, 200, [], b"still")
    assert peer.answer()[1] == b"still"


def test_6_8_after_its_goaway_a_client_may_go_on_asking(peer: Peer) -> None:
    """It says that it takes no streams of ours, and there are none."""
    events = peer.feed(headers(GET) + frame(GOAWAY, payload=bytes(8)) + headers(GET, 3))
    assert [event.stream_id for event in events if isinstance(event, RequestHead)] == [1, 3]
    for stream_id in (1, 3):
        peer.codec.respond(stream_id, 200, [], b"ok")
    assert peer.answer()[1] == b"okok"
    peer.feed(frame(GOAWAY, payload=bytes(8)))
    assert peer.head(GET, 5).stream_id == 5


def test_6_8_goaway_is_of_the_connection(library: str) -> None:
    assert connection_error(Peer(library), frame(GOAWAY, 0, 1, bytes(8))) == PROTOCOL
    assert connection_error(Peer(library), frame(GOAWAY, payload=bytes(7))) == SIZE


def test_6_8_an_end_is_announced_and_then_said(peer: Peer) -> None:
    peer.head(GET)
    peer.codec.announce_end()
    [first] = peer.output()
    assert (first.kind, first.payload[:4], first.code) == (GOAWAY, b"\x7f\xff\xff\xff", 0)
    peer.head(GET, 3)
    for stream_id in (1, 3):
        peer.codec.respond(stream_id, 200, [], b"ok")
    assert peer.answer()[1] == b"okok"
    peer.codec.go_away()
    last = peer.output()[-1]
    assert (last.kind, last.payload[:4], last.code) == (GOAWAY, b"\0\0\0\x03", 0)
    assert peer.codec.has_ended


def test_6_9_increments_are_above_zero(library: str) -> None:
    assert connection_error(Peer(library), update(0)) == PROTOCOL
    peer = Peer(library)
    peer.head(GET)
    assert stream_error(peer, update(0, 1)) == PROTOCOL
    assert connection_error(Peer(library), frame(WINDOW_UPDATE, 0, 0, bytes(3))) == SIZE


@pytest.mark.parametrize("steps", [[2**31 - 1], [2**30, 2**30], [2**31 - 65_536, 1, 1]], ids=len)
def test_6_9_1_a_window_that_becomes_too_large_is_the_fault_of_its_stream(library: str, steps: list[int]) -> None:
    updates = [update(step, 1) for step in (*steps, 2**31 - 1)]
    peer = Peer(library)
    assert isinstance(peer.feed(headers(GET), *updates)[-1], StreamReset)
    assert peer.resets() == {1: FLOW}
    peer = Peer(library)
    assert isinstance(peer.feed(headers(GET) + b"".join(updates) + headers(GET, 3))[-2], StreamReset)
    peer.codec.respond(3, 200, [], b"here")
    assert peer.resets() == {1: FLOW}


def test_6_9_1_the_window_of_the_connection_stays_below_its_bound(library: str) -> None:
    assert connection_error(Peer(library), update(2**31 - 1)) == FLOW


def test_6_9_1_a_window_that_a_setting_made_large_stays_below_its_bound_too(library: str) -> None:
    peer = Peer(library, start=PREFACE + settings((4, 2**31 - 1)))
    peer.head(GET)
    assert stream_error(peer, update(1, 1)) == FLOW


def test_6_9_1_content_beyond_the_window_is_an_error(library: str) -> None:
    peer = Peer(library, HTTP2Limits(window_bytes=65_535))
    peer.feed(frame(SETTINGS, ACK))
    peer.head(POST, end=False)
    peer.feed(*[data(bytes(16_383))] * 4)
    assert any_error(peer, data(bytes(16_383))) == FLOW


def test_6_9_2_a_window_can_become_negative(library: str) -> None:
    peer = Peer(library)
    peer.head(GET)
    peer.codec.send(ResponseHead(200, [], stream_id=1))
    peer.codec.send(Data(bytes(60_000), False, 1))
    peer.output()
    peer.feed(settings((4, 1000)))
    peer.codec.send(Data(b"x" * 100, True, 1))
    assert all(one.kind != DATA for one in peer.output())
    peer.feed(update(59_010, 1))
    assert [len(one.payload) for one in peer.output() if one.kind == DATA] == [10]


def test_6_9_2_a_setting_may_make_no_window_too_large(peer: Peer) -> None:
    peer.head(POST, end=False)
    peer.feed(update(2**31 - 1 - 65_535, 1))
    assert connection_error(peer, settings((4, 65_536))) == FLOW


def test_6_10_a_field_block_may_have_empty_pieces(peer: Peer) -> None:
    pieces = frame(HEADERS, END_STREAM, 1), frame(CONTINUATION, 0, 1), frame(CONTINUATION, 0, 1, block(GET))
    assert peer.feed(*pieces) == []
    [head] = peer.feed(frame(CONTINUATION, END_HEADERS, 1))
    assert isinstance(head, RequestHead)


def test_6_10_nothing_stands_inside_a_field_block(library: str) -> None:
    begun = frame(HEADERS, END_STREAM, 1, block(GET)[:3])
    for wrong in (headers(GET, 3), data(b"x"), settings(), update(5, 1), update(0, 1), frame(GOAWAY), frame(0x77)):
        assert connection_error(Peer(library), begun + wrong) == PROTOCOL


def test_6_10_continuation_belongs_to_a_field_block(library: str) -> None:
    assert connection_error(Peer(library), frame(CONTINUATION, END_HEADERS, 1, block(GET))) == PROTOCOL
    peer = Peer(library)
    assert connection_error(peer, frame(HEADERS, 0, 1, block(GET)), frame(CONTINUATION, 4, 3, b"")) == PROTOCOL

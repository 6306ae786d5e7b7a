"""RFC 9113 sections 3 to 7: the connection, its frames, and the life of streams; over both libraries."""

from __future__ import annotations

import pytest

from fullduplex.limits import HTTP2Limits
from fullduplex.testing.codecs import assert_cut_independent
from fullduplex.wire.events import (
    ConnectionEnded,
    Data,
    EndOfMessage,
    RequestHead,
    ResponseHead,
    StreamEnded,
    StreamReset,
)
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
    PADDED,
    PING,
    POST,
    PRIORITIZED,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    START,
    WINDOW_UPDATE,
    Peer,
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


def test_3_4_the_server_begins_with_settings(library: str) -> None:
    peer = Peer(library, start=b"")
    first = peer.output()[0]
    assert (first.kind, first.flags, first.stream_id) == (SETTINGS, 0, 0)
    values = {int.from_bytes(first.payload[i : i + 2], "big") for i in range(0, len(first.payload), 6)}
    assert {3, 4, 6, 8} <= values


@pytest.mark.parametrize(
    "wrong", [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSX", PREFACE + frame(PING, payload=bytes(8))]
)
def test_3_4_the_client_begins_with_a_preface_and_settings(library: str, wrong: bytes) -> None:
    assert connection_error(Peer(library, start=b""), wrong) == PROTOCOL


def test_3_4_an_acknowledgement_is_not_the_first_settings(library: str) -> None:
    assert connection_error(Peer(library, start=b""), PREFACE + frame(SETTINGS, ACK)) == PROTOCOL


def test_4_1_unknown_frames_are_ignored(peer: Peer) -> None:
    assert peer.feed(frame(0x77, 0xFF, 0, b"?" * 20), frame(0x78, 0, 5)) == []
    assert peer.head(GET).target == b"/"


def test_4_2_a_frame_above_the_largest_size_ends_the_connection(peer: Peer) -> None:
    assert connection_error(peer, headers(POST, end=False) + data(bytes(16_385))) == SIZE


def test_4_3_a_field_block_that_cannot_be_decoded_ends_the_connection(peer: Peer) -> None:
    broken = frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff\xff\xff\xff\x7f")
    assert connection_error(peer, broken) in (ErrorCode.COMPRESSION_ERROR, PROTOCOL)


def test_4_3_the_frames_of_a_field_block_stand_together(peer: Peer) -> None:
    begun = frame(HEADERS, END_STREAM, 1, block(GET)[:3])
    assert connection_error(peer, begun, frame(PING, payload=bytes(8))) == PROTOCOL


def test_4_3_a_field_block_may_come_in_pieces(peer: Peer) -> None:
    whole = block(GET)
    begun = frame(HEADERS, END_STREAM, 1, whole[:2])
    assert peer.feed(begun, frame(CONTINUATION, 0, 1, whole[2:5])) == []
    [head] = peer.feed(frame(CONTINUATION, END_HEADERS, 1, whole[5:]))
    assert isinstance(head, RequestHead)


def test_5_1_idle_streams_take_nothing_but_headers_and_priority(library: str) -> None:
    for wrong in (data(b"x"), reset(1), update(1, 1)):
        assert connection_error(Peer(library), wrong) == PROTOCOL
    assert Peer(library).feed(frame(PRIORITY, 0, 1, b"\0\0\0\0\0")) == []


def test_5_1_a_request_that_is_complete_takes_no_more(library: str) -> None:
    for wrong in (data(b"x"), headers([(b"x", b"y")])):
        peer = Peer(library)
        peer.head(GET)
        assert stream_error(peer, wrong) == CLOSED


def test_5_1_a_stream_that_is_over_takes_no_more(library: str) -> None:
    for wrong in (data(b"x"), headers(GET)):
        peer = Peer(library)
        peer.head(GET)
        peer.codec.respond(1, 200, [], b"")
        peer.output()
        assert peer.codec.late_events() == [StreamEnded(1)]
        assert connection_error(peer, wrong) == CLOSED


def test_5_1_a_stream_that_the_client_reset_takes_no_more(library: str) -> None:
    for wrong in (data(b"x"), headers(GET)):
        peer = Peer(library)
        peer.head(POST, end=False)
        assert peer.feed(reset(1)) == [StreamReset(8, 1)]
        assert connection_error(peer, wrong) == CLOSED


def test_5_1_what_was_on_its_way_to_a_stream_that_we_reset_is_read_over(peer: Peer) -> None:
    peer.head(POST, end=False)
    peer.codec.reset(1, ErrorCode.INTERNAL_ERROR)
    assert peer.resets() == {1: ErrorCode.INTERNAL_ERROR}
    assert peer.feed(data(b"x"), update(5, 1), headers([(b"x", b"y")])) == []
    assert peer.head(GET, 3).stream_id == 3


def test_5_1_credit_goes_back_for_what_comes_to_a_stream_that_we_reset(peer: Peer) -> None:
    window_bytes = 2 * 128 * 262_144
    for stream_id in range(1, 600, 2):
        peer.head(POST, stream_id, end=False)
        peer.codec.reset(stream_id, ErrorCode.INTERNAL_ERROR)
        peer.codec.data_to_send()
    sent = credit = 0
    for stream_id in range(1, 600, 2):
        for _ in range(16):
            assert peer.feed(data(bytes(16_384), stream_id)) == []
            sent += 16_384
        credit += sum(
            int.from_bytes(one.payload, "big")
            for one in peer.output()
            if one.kind == WINDOW_UPDATE and not one.stream_id
        )
    assert sent > window_bytes
    assert credit > sent - window_bytes // 2 - 1


@pytest.mark.parametrize("stream_id", [0, 2])
def test_5_1_1_identifiers_of_clients_are_odd(peer: Peer, stream_id: int) -> None:
    assert connection_error(peer, headers(GET, stream_id)) == PROTOCOL


def test_5_1_1_identifiers_never_go_back(peer: Peer) -> None:
    peer.head(GET, 5)
    assert connection_error(peer, headers(GET, 3)) == PROTOCOL


def test_5_1_2_streams_beyond_the_limit_are_refused(library: str) -> None:
    peer = Peer(library, HTTP2Limits(max_streams_count=2))
    peer.head(GET, 1)
    peer.head(GET, 3)
    assert peer.feed(headers(GET, 5)) == []
    assert peer.resets() == {5: ErrorCode.REFUSED_STREAM}
    peer.codec.respond(1, 200, [], b"")
    peer.output()
    assert peer.codec.late_events() == [StreamEnded(1)]
    assert peer.head(GET, 7).stream_id == 7


def test_5_2_content_waits_for_the_window_of_its_stream(library: str) -> None:
    peer = Peer(library, start=PREFACE + settings((4, 10)))
    peer.head(GET)
    peer.head(GET, 3)
    peer.codec.respond(1, 200, [], b"a" * 25)
    peer.codec.respond(3, 200, [], b"b" * 5)
    sent = [(one.stream_id, one.payload) for one in peer.output() if one.kind == DATA]
    assert sorted(sent) == [(1, b"a" * 10), (3, b"b" * 5)]
    assert peer.codec.queued_bytes(1) == 15
    assert peer.codec.late_events() == [StreamEnded(3)]
    events = peer.feed(update(100, 1))
    assert [one.payload for one in peer.output()] == [b"a" * 15]
    assert events + peer.codec.late_events() == [StreamEnded(1)]


def test_5_2_content_waits_for_the_window_of_the_connection(peer: Peer) -> None:
    peer.head(GET)
    peer.feed(update(1_000_000, 1))
    peer.codec.respond(1, 200, [], bytes(100_000))
    assert sum(len(one.payload) for one in peer.output() if one.kind == DATA) == 65_535
    peer.feed(update(100_000))
    assert sum(len(one.payload) for one in peer.output() if one.kind == DATA) == 100_000 - 65_535


def test_5_2_credit_goes_back_as_content_is_taken(library: str) -> None:
    peer = Peer(library, HTTP2Limits(window_bytes=65_535))
    peer.head(POST, end=False)
    for _ in range(3):
        assert len(peer.feed(data(bytes(16_384)))) == 1
    assert [one for one in peer.output() if one.kind == WINDOW_UPDATE] == []
    peer.codec.acknowledge(1, 3 * 16_384)
    updates = [one for one in peer.output() if one.kind == WINDOW_UPDATE and one.stream_id == 1]
    assert sum(int.from_bytes(one.payload, "big") for one in updates) == 3 * 16_384


def test_5_4_1_what_came_before_a_fault_is_handed_out(peer: Peer) -> None:
    events = peer.feed(headers(GET) + headers(POST, 3, end=False) + data(b"x", 3) + frame(PUSH_PROMISE, 4, 3, bytes(4)))
    assert [type(event).__name__ for event in events] == ["RequestHead", "RequestHead", "Data", "ProtocolFailed"]


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


def test_6_3_priority_is_five_bytes_of_a_stream(library: str) -> None:
    assert connection_error(Peer(library), frame(PRIORITY, 0, 0, bytes(5))) == PROTOCOL
    assert stream_error(Peer(library), frame(PRIORITY, 0, 1, bytes(4))) == SIZE
    assert stream_error(Peer(library), frame(PRIORITY, 0, 3, b"\0\0\0\x03\0")) == PROTOCOL


def test_6_4_rst_stream_is_four_bytes_of_a_stream(library: str) -> None:
    assert connection_error(Peer(library), reset(0)) == PROTOCOL
    peer = Peer(library)
    peer.head(POST, end=False)
    assert connection_error(peer, frame(RST_STREAM, 0, 1, bytes(3))) == SIZE


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


def test_6_9_1_windows_stay_below_their_bound(library: str) -> None:
    assert connection_error(Peer(library), update(2**31 - 1)) == FLOW
    peer = Peer(library)
    peer.head(GET)
    assert stream_error(peer, update(2**31 - 1, 1)) == FLOW


def test_6_9_1_content_beyond_the_window_is_an_error(library: str) -> None:
    peer = Peer(library, HTTP2Limits(window_bytes=65_535))
    peer.feed(frame(SETTINGS, ACK))
    peer.head(POST, end=False)
    peer.feed(*[data(bytes(16_383))] * 4)
    assert stream_error(peer, data(bytes(16_383))) == FLOW


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


def test_6_10_continuation_belongs_to_a_field_block(library: str) -> None:
    assert connection_error(Peer(library), frame(CONTINUATION, END_HEADERS, 1, block(GET))) == PROTOCOL
    peer = Peer(library)
    assert connection_error(peer, frame(HEADERS, 0, 1, block(GET)), frame(CONTINUATION, 4, 3, b"")) == PROTOCOL


def test_9_1_an_idle_connection_is_closed_with_goaway(library: str) -> None:
    peer = Peer(library, HTTP2Limits(idle_timeout_s=60))
    assert peer.codec.next_deadline_s() == 60
    assert peer.codec.receive_data(b"", 59.0) == []
    assert peer.codec.receive_data(b"", 60.0) == [ConnectionEnded()]
    assert [(one.kind, one.code) for one in peer.output()] == [(GOAWAY, 0)]


def test_9_1_a_connection_with_a_request_is_not_idle(library: str) -> None:
    peer = Peer(library, HTTP2Limits(idle_timeout_s=60))
    peer.head(GET)
    assert peer.codec.next_deadline_s() is None
    assert peer.codec.receive_data(b"", 1000.0) == []
    peer.codec.respond(1, 200, [], b"")
    peer.output()
    assert peer.codec.receive_data(b"", 1001.0) == [StreamEnded(1)]
    assert peer.codec.next_deadline_s() == 1061.0


def test_the_preface_has_a_deadline(library: str) -> None:
    peer = Peer(library, start=b"")
    assert peer.feed(PREFACE[:10]) == []
    assert peer.codec.receive_data(b"", 15.0) == [ConnectionEnded()]


@pytest.mark.parametrize("fault", [b"", frame(PUSH_PROMISE), frame(CONTINUATION), data(b"x", 9), headers(GET, 3)])
def test_cuts_do_not_matter(library: str, fault: bytes) -> None:
    make = codec_class(library)
    whole = block(POST)
    stream = (
        START
        + headers(GET)
        + frame(HEADERS, 0, 5, whole[:4])
        + frame(CONTINUATION, END_HEADERS, 5, whole[4:])
        + data(b"abc", 5)
        + data(b"def", 5)
        + frame(PING, payload=bytes(8))
        + headers([(b"x", b"y")], 5)
        + fault
    )
    events = assert_cut_independent(lambda: make(HTTP2Limits(), now_s=0.0), stream, random_count=30)
    assert [type(event).__name__ for event in events][:4] == ["RequestHead", "RequestHead", "Data", "EndOfMessage"]

"""RFC 9113 sections 3, 5 and 9: the connection, the life of streams and their windows; over both libraries."""

from __future__ import annotations

import pytest

from fullduplex.limits import HTTP2Limits
from fullduplex.testing.codecs import assert_cut_independent
from fullduplex.wire.events import (
    ConnectionEnded,
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
    GET,
    GOAWAY,
    HEADERS,
    PING,
    POST,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    START,
    WINDOW_UPDATE,
    Peer,
    any_error,
    block,
    connection_error,
    data,
    frame,
    frames,
    headers,
    reset,
    settings,
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


def test_5_1_idle_streams_take_nothing_but_headers_and_priority(library: str) -> None:
    for wrong in (data(b"x"), reset(1), update(1, 1)):
        assert connection_error(Peer(library), wrong) == PROTOCOL
    assert Peer(library).feed(frame(PRIORITY, 0, 1, b"\0\0\0\0\0")) == []


def test_5_1_a_request_that_is_complete_takes_no_more(library: str) -> None:
    for wrong in (data(b"x"), headers([(b"x", b"y")])):
        peer = Peer(library)
        peer.head(GET)
        assert any_error(peer, wrong) == CLOSED


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
    assert peer.feed(data(b"x"), update(5, 1), update(2**31 - 1, 1), headers([(b"x", b"y")])) == []
    assert peer.resets() == {}, "once is enough (section 5.4.2)"
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


def test_5_1_some_frames_may_come_late(peer: Peer) -> None:
    """A client has sent them before it saw the end of the stream."""
    peer.head(GET)
    peer.codec.respond(1, 200, [], b"")
    peer.output()
    assert peer.codec.late_events() == [StreamEnded(1)]
    assert peer.feed(update(5, 1), update(2**30, 1), update(2**30, 1), reset(1), frame(PRIORITY, 0, 1, bytes(5))) == []
    assert peer.head(GET, 3).stream_id == 3


@pytest.mark.parametrize("stream_id", [0, 2])
def test_5_1_1_identifiers_of_clients_are_odd(peer: Peer, stream_id: int) -> None:
    assert connection_error(peer, headers(GET, stream_id)) == PROTOCOL


def test_5_1_1_identifiers_never_go_back(peer: Peer) -> None:
    peer.head(GET, 5)
    assert connection_error(peer, headers(GET, 3)) == PROTOCOL


def test_5_1_1_the_last_identifier_is_one_too(peer: Peer) -> None:
    assert peer.head(GET, 2**31 - 1).stream_id == 2**31 - 1
    peer.codec.respond(2**31 - 1, 200, [], b"last")
    assert peer.answer()[1] == b"last"


def test_5_1_2_the_first_frame_says_how_many_streams_there_may_be_and_that_sockets_are_taken(library: str) -> None:
    """The second: RFC 8441 section 3."""
    codec = codec_class(library)(HTTP2Limits(max_streams_count=7), now_s=0.0)
    first = frames(codec.data_to_send())[0]
    told = [(first.payload[at : at + 2], first.payload[at + 2 : at + 6]) for at in range(0, len(first.payload), 6)]
    assert (first.kind, first.flags) == (SETTINGS, 0)
    assert [int.from_bytes(value, "big") for name, value in told if name == b"\0\x03"] == [7]
    assert [int.from_bytes(value, "big") for name, value in told if name == b"\0\x08"] == [1]


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


@pytest.mark.parametrize("knows", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_5_1_2_a_stream_that_is_refused_is_the_only_one_that_suffers(library: str, knows: bool, whole: bool) -> None:
    """Its content is on its way already, and a client that has not seen our SETTINGS cannot know."""
    peer = Peer(library, HTTP2Limits(max_streams_count=2))
    if knows:
        peer.feed(frame(SETTINGS, ACK))
    pieces = [
        headers(POST, stream_id, end=False) + data(b"x" * 10_000, stream_id, end=True) for stream_id in (1, 3, 5, 7)
    ]
    events = peer.feed(b"".join(pieces)) if whole else peer.feed(*pieces)
    assert {getattr(event, "stream_id", 0) for event in events} == {1, 3}
    sent = peer.output()
    assert {one.stream_id: one.code for one in sent if one.kind == RST_STREAM} == dict.fromkeys(
        (5, 7), ErrorCode.REFUSED_STREAM
    )
    assert not [one for one in sent if one.kind == GOAWAY]
    for stream_id in (1, 3):
        peer.codec.respond(stream_id, 200, [], b"")
    peer.output()
    assert peer.codec.late_events() == [StreamEnded(1), StreamEnded(3)]
    assert peer.head(GET, 9).stream_id == 9


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

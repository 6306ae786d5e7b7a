"""What a client can make an HTTP/2 connection do is counted, and too much of it ends the connection."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fullduplex.limits import HTTP2Limits
from fullduplex.wire.events import Data, ResponseHead
from fullduplex.wire.http2_errors import ErrorCode
from fullduplex.wire.http2_gate import PREFACE
from fullduplex.wire.http2_library import LIBRARIES
from tests.wire.http2_frames import (
    DATA,
    GET,
    HEADERS,
    PADDED,
    PING,
    POST,
    PRIORITY,
    PRIORITY_UPDATE,
    START,
    Peer,
    block,
    connection_error,
    data,
    frame,
    headers,
    reset,
    settings,
    update,
)

CALM = ErrorCode.ENHANCE_YOUR_CALM
LIMITS = HTTP2Limits(
    max_resets_count=20, max_settings_count=20, max_pings_count=20, max_empty_count=20, max_updates_count=100
)


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def flood(peer: Peer, piece: bytes, count: int) -> None:
    """The first ``count`` are borne, one more is not."""
    for _ in range(count):
        peer.feed(piece)
        assert not peer.codec.has_ended
        peer.output()
    assert connection_error(peer, piece) == CALM


def test_streams_that_are_opened_and_reset(library: str) -> None:
    """CVE-2023-44487, rapid reset."""
    peer = Peer(library, LIMITS)
    pairs = [headers(GET, stream_id) + reset(stream_id) for stream_id in range(1, 50, 2)]
    for pair in pairs[:20]:
        peer.feed(pair)
        assert not peer.codec.has_ended
    assert connection_error(peer, pairs[20]) == CALM


def test_streams_that_are_opened_and_reset_in_one_read(library: str) -> None:
    pairs = b"".join(headers(GET, stream_id) + reset(stream_id) for stream_id in range(1, 500, 2))
    peer = Peer(library, LIMITS)
    events = peer.feed(pairs)
    assert sum(type(event).__name__ == "RequestHead" for event in events) <= 21
    assert peer.codec.has_ended
    assert peer.codec.streams_count <= 1


@pytest.mark.parametrize("fault", ["field", "window", "length"])
def test_streams_that_we_are_made_to_reset(library: str, fault: str) -> None:
    """CVE-2025-8671, made you reset: the client's faults count as its resets do."""
    peer = Peer(library, LIMITS)
    for stream_id in range(1, 200, 2):
        if fault == "field":
            peer.feed(headers([*GET, (b"connection", b"x")], stream_id))
        elif fault == "window":
            peer.feed(headers(GET, stream_id) + update(2**31 - 1, stream_id))
        else:
            peer.feed(headers([*POST, (b"content-length", b"1")], stream_id, end=False) + data(b"xx", stream_id))
        peer.output()
        if peer.codec.has_ended:
            break
    assert peer.codec.has_ended
    assert stream_id <= 43


def test_settings(library: str) -> None:
    flood(Peer(library, LIMITS), settings((4, 70_000)), 19)  # the first one counts


def test_settings_with_many_entries(library: str) -> None:
    assert connection_error(Peer(library, LIMITS), settings(*[(4, 70_000)] * 33)) == CALM


def test_pings(library: str) -> None:
    flood(Peer(library, LIMITS), frame(PING, payload=bytes(8)), 20)


def test_pings_whose_answers_nobody_reads(library: str) -> None:
    peer = Peer(library, LIMITS)
    for _ in range(1000):
        peer.feed(frame(PING, payload=bytes(8)))
    assert peer.codec.has_ended
    assert len(peer.codec.data_to_send()) < 1000


@pytest.mark.parametrize("piece", [data(b""), frame(DATA, PADDED, 1, b"\x0a" + bytes(10))])
def test_data_without_content(library: str, piece: bytes) -> None:
    """CVE-2019-9518."""
    peer = Peer(library, LIMITS)
    peer.head(POST, end=False)
    flood(peer, piece, 20)


@pytest.mark.parametrize(
    "piece",
    [
        frame(PRIORITY, 0, 1, b"\0\0\0\x03\x10"),
        frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\x01u=1"),
        frame(0x55, 0, 0, b"?"),
        frame(PING, 1, payload=bytes(8)),
    ],
)
def test_frames_that_do_nothing(library: str, piece: bytes) -> None:
    """CVE-2019-9513."""
    peer = Peer(library, LIMITS)
    peer.head(GET)
    flood(peer, piece, 20)


def test_credit_in_crumbs(library: str) -> None:
    """CVE-2019-9511, CVE-2019-9517: a response taken byte by byte."""
    peer = Peer(library, LIMITS)
    peer.feed(settings((4, 0)))
    peer.head(GET)
    peer.codec.respond(1, 200, [], bytes(100_000))
    sent = 0
    for _ in range(1000):
        peer.feed(update(1, 1))
        sent += sum(one.kind == DATA for one in peer.output())
        if peer.codec.has_ended:
            break
    assert peer.codec.has_ended
    assert sent < 320


def test_credit_for_what_was_sent_is_in_order(library: str) -> None:
    peer = Peer(library, LIMITS)
    peer.head(GET)
    peer.codec.send(ResponseHead(200, [], stream_id=1))
    for _ in range(2000):
        peer.codec.send(Data(b"tick", False, 1))
        peer.output()
        peer.feed(update(4, 1), update(4))
    assert not peer.codec.has_ended


def test_credit_in_the_steps_of_small_windows_is_in_order(library: str) -> None:
    """A client with windows of 511 bytes takes many large responses at once, over more time than is counted at once."""
    peer = Peer(library, LIMITS, start=PREFACE + settings((4, 511)))
    for stream_id in range(1, 41, 2):
        peer.head(GET, stream_id)
        peer.codec.respond(stream_id, 200, [], bytes(65_536))
    left_bytes, taken = 20 * 65_536, dict.fromkeys(range(41), 0)
    while left_bytes:
        for one in peer.output():
            if one.kind == DATA:
                left_bytes -= len(one.payload)
                for stream_id in (0, one.stream_id):
                    taken[stream_id] += len(one.payload)
        peer.now_s += 0.1
        peer.feed(*(update(count, stream_id) for stream_id, count in taken.items() if count >= 255))
        taken = {stream_id: 0 if count >= 255 else count for stream_id, count in taken.items()}
        assert not peer.codec.has_ended


def test_counts_begin_anew(library: str) -> None:
    peer = Peer(library, LIMITS)
    for turn in range(5):
        peer.now_s = turn * 10.0
        for _ in range(20):
            peer.feed(frame(PING, payload=bytes(8)))
        peer.output()
    assert not peer.codec.has_ended
    assert connection_error(peer, frame(PING, payload=bytes(8))) == CALM


def test_a_field_block_takes_no_longer_than_it_may(library: str) -> None:
    peer = Peer(library, HTTP2Limits(head_timeout_s=15))
    peer.head(GET)
    peer.feed(frame(HEADERS, 0, 3, block(GET)))
    assert peer.codec.next_deadline_s() == 15.0
    peer.now_s = 15.0
    assert connection_error(peer, frame(PING, payload=bytes(8))) in (CALM, ErrorCode.PROTOCOL_ERROR)
    peer = Peer(library, HTTP2Limits(head_timeout_s=15))
    peer.feed(frame(HEADERS, 0, 1, block(GET)))
    events = peer.codec.receive_data(b"", 15.0)
    assert [type(event).__name__ for event in events] == ["ProtocolFailed"]


def test_a_list_of_identifiers_that_were_passed_over_is_bounded(library: str) -> None:
    peer = Peer(library)
    for stream_id in range(1, 4001, 4):
        peer.feed(headers(GET, stream_id))
        if stream_id in {one.stream_id for one in peer.output()}:
            continue
        peer.codec.respond(stream_id, 200, [], b"")
        peer.output()
    assert not peer.codec.has_ended
    assert connection_error(peer, headers(GET, 3995)) == ErrorCode.PROTOCOL_ERROR


def test_what_is_counted_says_so(library: str) -> None:
    peer = Peer(library, LIMITS)
    events = []
    while not peer.codec.has_ended:
        events = peer.feed(frame(PING, payload=bytes(8)))
        assert peer.codec.buffered_bytes < 100_000
    assert "PING" in str(events[-1].error)


def test_a_client_that_asks_us_to_remember_everything(library: str) -> None:
    """SETTINGS_HEADER_TABLE_SIZE says what the client can remember; what we remember for it is our own matter."""
    peer = Peer(library, start=START + settings((1, 2**31)))
    peer.decoder.max_allowed_table_size = 2**31
    for stream_id in range(1, 21, 2):
        peer.feed(headers(GET, stream_id))
        peer.codec.respond(stream_id, 200, [(b"x-id", b"%d" % stream_id * 1000)], b"")
        assert (b"x-id", b"%d" % stream_id * 1000) in peer.answer()[0]
    assert peer.decoder.header_table.maxsize <= 4096


def test_a_client_that_can_remember_nothing(library: str) -> None:
    peer = Peer(library, start=START + settings((1, 0)))
    for stream_id in (1, 3):
        peer.feed(headers(GET, stream_id))
        peer.codec.respond(stream_id, 200, [(b"x-id", b"1")], b"")
        assert (b"x-id", b"1") in peer.answer()[0]
    assert peer.decoder.header_table.maxsize == 0


def test_a_client_that_takes_frames_of_16_megabytes(library: str) -> None:
    """One response would keep all others waiting for as long as that takes."""
    peer = Peer(library, start=START + settings((5, 2**24 - 1), (4, 2**31 - 1)) + update(2**31 - 65_536))
    for stream_id in (1, 3):
        peer.feed(headers(GET, stream_id))
        peer.codec.respond(stream_id, 200, [], bytes(200_000))
    sent = [one for one in peer.output() if one.kind == DATA]
    assert max(len(one.payload) for one in sent) == 16_384


@pytest.mark.parametrize("whole", [True, False])
def test_streams_that_are_refused(library: str, whole: bool) -> None:
    """They count as those do that are reset, since each costs a field block."""
    peer = Peer(library, replace(LIMITS, max_streams_count=4))
    pieces = [headers(GET, stream_id) for stream_id in range(1, 100, 2)]
    for piece in [b"".join(pieces)] if whole else pieces:
        peer.feed(piece)
        if peer.codec.has_ended:
            break
    assert peer.codec.has_ended
    sent = peer.output()
    assert sent[-1].code == CALM
    assert peer.codec.last_stream_id == 2 * (4 + 20 + 1) - 1


def test_streams_that_take_the_places_of_those_that_are_reset(library: str) -> None:
    peer = Peer(library, replace(LIMITS, max_streams_count=4))
    peer.feed(b"".join(headers(GET, stream_id) for stream_id in range(1, 9, 2)))
    peer.feed(b"".join(reset(stream_id) for stream_id in range(1, 9, 2)) + headers(GET, 9))
    peer.feed(b"".join(headers(GET, stream_id) for stream_id in range(11, 17, 2)))
    assert peer.codec.streams_count == 4
    assert peer.resets() == {}

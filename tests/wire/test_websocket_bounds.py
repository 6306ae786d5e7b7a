"""What a peer can make the codec of a WebSocket hold, and for how long."""

from __future__ import annotations

import zlib

import pytest

from fullduplex.exceptions import RemoteProtocolError
from fullduplex.limits import WebSocketLimits
from fullduplex.wire.deflate import DeflateParameters
from fullduplex.wire.events import Close, ConnectionEnded, Event, Message, Ping, ProtocolFailed
from fullduplex.wire.frames import BINARY, CONTINUATION, TEXT, encode_frame
from fullduplex.wire.websocket import AHEAD_BYTES, CALL_BYTES, WebSocketCodec

MASK = b"mask"
DEFLATE = DeflateParameters()


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv1: bool = False) -> bytes:
    return encode_frame(opcode, payload, fin=fin, rsv1=rsv1, mask=MASK)


def deflated(payload: bytes) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def rest_of(codec: WebSocketCodec) -> list[list[Event]]:
    """What the further calls return, one after the other."""
    calls = []
    while codec.holds_data:
        calls.append(codec.receive_data(b"", 0.0))
    return calls


# Messages that are whole ------------------------------------------------------------------------


def test_one_call_returns_a_bounded_part_of_many_messages() -> None:
    codec = WebSocketCodec(WebSocketLimits())
    texts = [f"{number}" for number in range(20_000)]
    data = b"".join(frame(TEXT, text.encode()) for text in texts)
    calls = [codec.receive_data(data, 0.0), *rest_of(codec)]
    assert [event.data for events in calls for event in events if isinstance(event, Message)] == texts
    assert max(map(len, calls)) <= CALL_BYTES // 64 + 1
    assert codec.buffered_bytes == 0


def test_what_messages_inflate_to_counts() -> None:
    codec = WebSocketCodec(WebSocketLimits(), deflate=DEFLATE)
    size = 100_000
    data = frame(BINARY, deflated(bytes(size)), rsv1=True) * 100
    assert len(data) < CALL_BYTES
    calls = [codec.receive_data(data, 0.0), *rest_of(codec)]
    assert [sum(len(event.data) for event in events if isinstance(event, Message)) for events in calls] == [size] * 100


def test_pings_count_too() -> None:
    codec = WebSocketCodec(WebSocketLimits())
    calls = [codec.receive_data(frame(0x9) * 5_000, 0.0), *rest_of(codec)]
    assert [event for events in calls for event in events] == [Ping(b"")] * 5_000
    assert len(calls) > 4


def test_fragments_count_although_they_make_no_event() -> None:
    codec = WebSocketCodec(WebSocketLimits())
    count = 20_000
    data = frame(TEXT, b"a", fin=False) + frame(CONTINUATION, fin=False) * count + frame(CONTINUATION, b"b")
    calls = [codec.receive_data(data, 0.0), *rest_of(codec)]
    assert [event for events in calls for event in events] == [Message("ab")]
    assert len(calls) > count * 64 // CALL_BYTES


def test_more_input_goes_behind_what_is_held() -> None:
    codec = WebSocketCodec(WebSocketLimits())
    first = codec.receive_data(frame(TEXT, b"a") * 2_000, 0.0)
    assert codec.holds_data
    second = codec.receive_data(frame(TEXT, b"b"), 0.0)
    third = [event for events in rest_of(codec) for event in events]
    assert [*first, *second, *third] == [Message("a")] * 2_000 + [Message("b")]


@pytest.mark.parametrize(
    ("last", "expected"),
    [(b"", [ConnectionEnded()]), (frame(0x8, b"\x03\xe8"), [Close(1000), ConnectionEnded()])],
    ids=["cut", "closed"],
)
def test_the_end_comes_behind_what_is_held(last: bytes, expected: list[Event]) -> None:
    codec = WebSocketCodec(WebSocketLimits())
    events = codec.receive_data(frame(TEXT, b"a") * 2_000 + last, 0.0)
    assert codec.receive_eof() == []
    events += [event for call in rest_of(codec) for event in call]
    assert events == [Message("a")] * 2_000 + expected
    assert codec.receive_eof() == []


def test_a_fault_behind_what_is_held_comes_after_it() -> None:
    codec = WebSocketCodec(WebSocketLimits())
    events = codec.receive_data(frame(TEXT, b"a") * 2_000 + b"\xff\xff", 0.0)
    events += [event for call in rest_of(codec) for event in call]
    assert events == [Message("a")] * 2_000
    (failed,) = codec.receive_data(b"", 0.0)
    assert isinstance(failed, ProtocolFailed)


# Messages whose end has not come ------------------------------------------------------------------


@pytest.mark.parametrize("piece_bytes", [1, 100, 1_000_000])
def test_an_unfinished_message_is_not_inflated_far(piece_bytes: int) -> None:
    content = bytes(15_000_000)
    wire = deflated(content)
    codec = WebSocketCodec(WebSocketLimits(), deflate=DEFLATE)
    begun = frame(BINARY, wire[:-100], fin=False, rsv1=True)
    for at in range(0, len(begun), piece_bytes):
        assert codec.receive_data(begun[at : at + piece_bytes], 0.0) == []
    assert AHEAD_BYTES <= codec.unfinished_bytes <= AHEAD_BYTES + len(wire)
    assert codec.receive_data(frame(CONTINUATION, wire[-100:]), 0.0) == []
    assert codec.receive_data(b"", 0.0) == [Message(content)]
    assert codec.unfinished_bytes == 0


@pytest.mark.parametrize("behind", [b"", frame(TEXT, b"b")], ids=["alone", "with another behind it"])
def test_a_whole_message_is_not_inflated_far_before_it_is_wanted(behind: bytes) -> None:
    content = bytes(15_000_000)
    wire = deflated(content)
    codec = WebSocketCodec(WebSocketLimits(), deflate=DEFLATE)
    first = codec.receive_data(frame(TEXT, b"a") + frame(BINARY, wire, rsv1=True) + behind, 0.0)
    assert first == [Message("a")]
    assert (codec.holds_data, codec.holds_large) == (True, True)
    assert AHEAD_BYTES <= codec.buffered_bytes <= AHEAD_BYTES + len(wire) + len(behind)
    events = [event for call in rest_of(codec) for event in call]
    assert events == [Message(content), *([Message("b")] if behind else [])]
    assert (codec.holds_large, codec.buffered_bytes) == (False, 0)


@pytest.mark.parametrize("size", [AHEAD_BYTES - 1, AHEAD_BYTES, AHEAD_BYTES + 1])
@pytest.mark.parametrize("most_bytes", [AHEAD_BYTES - 1, AHEAD_BYTES, AHEAD_BYTES + 1])
def test_messages_as_large_as_what_is_inflated(size: int, most_bytes: int) -> None:
    codec = WebSocketCodec(WebSocketLimits(max_message_bytes=most_bytes), deflate=DEFLATE)
    events = codec.receive_data(frame(BINARY, deflated(bytes(size)), rsv1=True), 0.0)
    events += [event for call in rest_of(codec) for event in call]
    (event,) = events
    assert event == Message(bytes(size)) if size <= most_bytes else isinstance(event, ProtocolFailed)


def test_what_is_behind_a_large_message_is_found_although_the_peer_has_gone() -> None:
    codec = WebSocketCodec(WebSocketLimits(), deflate=DEFLATE)
    data = frame(BINARY, deflated(bytes(1_000_000)), rsv1=True) + frame(0x8, b"\x03\xe8")
    assert codec.receive_data(data, 0.0) == []
    assert codec.receive_eof() == []
    assert [event for call in rest_of(codec) for event in call] == [
        *(Message(bytes(1_000_000)), Close(1000), ConnectionEnded())
    ]


@pytest.mark.parametrize(
    ("content", "close_code"), [(bytes(2_000_001), 1009), (b"a" * 1_000_000 + b"\xff" + b"a" * 100, 1007)]
)
def test_what_is_not_inflated_yet_is_checked_at_the_end(content: bytes, close_code: int) -> None:
    codec = WebSocketCodec(WebSocketLimits(max_message_bytes=2_000_000), deflate=DEFLATE)
    wire = deflated(content)
    assert codec.receive_data(frame(TEXT, wire[:-10], fin=False, rsv1=True), 0.0) == []
    assert codec.receive_data(frame(CONTINUATION, wire[-10:]), 0.0) == []
    (failed,) = codec.receive_data(b"", 0.0)
    assert isinstance(failed, ProtocolFailed)
    assert isinstance(failed.error, RemoteProtocolError)
    assert failed.error.close_code == close_code


def test_several_streams_of_one_message_go_on_where_inflating_stopped() -> None:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    stream = compressor.compress(bytes(200_000)) + compressor.flush(zlib.Z_FINISH)
    codec = WebSocketCodec(WebSocketLimits(), deflate=DEFLATE)
    assert codec.receive_data(frame(BINARY, stream * 5, fin=False, rsv1=True), 0.0) == []
    assert codec.receive_data(frame(CONTINUATION, stream), 0.0) == []
    assert codec.receive_data(b"", 0.0) == [Message(bytes(1_200_000))]


@pytest.mark.parametrize("deflate", [None, DEFLATE])
def test_a_message_that_makes_no_progress_ends_the_socket(deflate: DeflateParameters | None) -> None:
    codec = WebSocketCodec(WebSocketLimits(message_timeout_s=30.0), deflate=deflate)
    payload = deflated(b"x" * 50) if deflate else b"x" * 50
    codec.receive_data(frame(BINARY, payload, fin=False, rsv1=deflate is not None), 0.0)
    for now_s in (10.0, 20.0):
        codec.receive_data(frame(0xA), now_s)  # a pong: the peer lives
    assert codec.next_deadline_s() == 30.0
    (failed,) = codec.receive_data(b"", 30.0)
    assert isinstance(failed, ProtocolFailed)
    assert failed.error.close_code == 1008
    assert codec.unfinished_bytes == 0


def test_a_message_that_goes_on_may_take_its_time() -> None:
    codec = WebSocketCodec(WebSocketLimits(message_timeout_s=30.0))
    codec.receive_data(frame(BINARY, b"a", fin=False), 0.0)
    for now_s in range(29, 3_000, 29):
        assert codec.receive_data(frame(CONTINUATION, b"a", fin=False), now_s) == []
        assert codec.receive_data(b"", now_s + 0.5) == []
    (message,) = codec.receive_data(frame(CONTINUATION, b"b"), 3_000.0)
    assert isinstance(message, Message)
    assert codec.next_deadline_s() == 3_020.0, "a ping is due, and nothing else"


def test_without_pings_a_message_still_has_its_deadline() -> None:
    codec = WebSocketCodec(WebSocketLimits(ping_interval_s=0.0))
    codec.receive_data(frame(BINARY, b"a", fin=False), 5.0)
    assert codec.next_deadline_s() == 35.0


def test_what_nobody_read_is_not_held_against_the_peer() -> None:
    codec = WebSocketCodec(WebSocketLimits())
    codec.receive_data(frame(BINARY, b"a", fin=False), 0.0)
    codec.excuse_silence(100.0)
    assert codec.receive_data(b"", 110.0) == []


def test_the_caller_may_fail_a_socket() -> None:
    codec = WebSocketCodec(WebSocketLimits())
    codec.receive_data(frame(BINARY, b"a" * 1_000, fin=False), 0.0)
    (failed,) = codec.fail(RemoteProtocolError("too much", close_code=1009))
    assert isinstance(failed, ProtocolFailed)
    assert codec.data_to_send() == encode_frame(0x8, b"\x03\xf1too much")
    assert (codec.unfinished_bytes, codec.fail(RemoteProtocolError("again"))) == (0, [])


def test_what_waits_to_be_inflated_is_held_once() -> None:
    codec = WebSocketCodec(WebSocketLimits(), deflate=DEFLATE)
    wire = deflated(bytes(200_000_000))
    codec.receive_data(frame(BINARY, wire, fin=False, rsv1=True), 0.0)
    assert codec._inflater is not None
    assert codec._inflater._decompressor is not None
    assert len(codec._inflater._decompressor.unconsumed_tail) < 10_000 < len(wire)

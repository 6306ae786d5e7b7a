"""One open socket: time, bounds, both directions, shared frames. The rules of the RFC are in tests/rfc/."""

from __future__ import annotations

import random
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullduplex.exceptions import LocalProtocolError, RemoteProtocolError
from fullduplex.limits import WebSocketLimits
from fullduplex.testing.codecs import assert_cut_independent, cuts
from fullduplex.wire.codec import Codec
from fullduplex.wire.deflate import DeflateParameters
from fullduplex.wire.events import Close, ConnectionEnded, Data, Event, Message, Ping, Pong, ProtocolFailed
from fullduplex.wire.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, encode_frame
from fullduplex.wire.websocket import PING_PAYLOAD, WebSocketCodec

LIMITS = WebSocketLimits(ping_interval_s=20, ping_timeout_s=10, close_timeout_s=5)
TAKEOVER = DeflateParameters(server_no_context_takeover=False, client_no_context_takeover=False)
MASK = b"\x01\x02\x03\x04"

# Kept under another name where the module is compiled.
ATTRIBUTES = getattr(WebSocketCodec, "__slots__", ()) or getattr(WebSocketCodec, "__mypyc_attrs__", ())

AGREED = pytest.mark.parametrize("deflate", [None, DeflateParameters(), TAKEOVER], ids=["plain", "deflate", "takeover"])


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    return encode_frame(opcode, payload, fin=fin, mask=MASK)


def pair(deflate: DeflateParameters | None = None) -> tuple[WebSocketCodec, WebSocketCodec]:
    return WebSocketCodec(LIMITS, deflate=deflate), WebSocketCodec(LIMITS, deflate=deflate, client=True)


def failure(events: list[Event]) -> RemoteProtocolError:
    [event] = events
    assert isinstance(event, ProtocolFailed)
    assert isinstance(event.error, RemoteProtocolError)
    return event.error


# Both ways --------------------------------------------------------------------------------------


@AGREED
@pytest.mark.parametrize("data", ["", b"", "x", "é" * 60, "é" * 700, b"\0" * 70_000, "abc" * 50_000])
def test_messages_survive_both_ways(deflate: DeflateParameters | None, data: str | bytes) -> None:
    server, client = pair(deflate)
    for sender, receiver in ((client, server), (server, client)) * 2:
        sender.send(Message(data))
        events = receiver.receive_data(sender.data_to_send(), 0.0)
        if receiver.holds_data:
            events += receiver.receive_data(b"", 0.0)
        assert events == [Message(data)]
        assert sender.data_to_send() == b""


@AGREED
@settings(max_examples=50)
@given(
    messages=st.lists(st.text(max_size=300) | st.binary(max_size=300) | st.text(min_size=1_000, max_size=2_000)),
    seed=st.integers(0, 1_000),
)
def test_any_messages_in_any_fragments_and_cuts(
    deflate: DeflateParameters | None, messages: list[str | bytes], seed: int
) -> None:
    chance = random.Random(seed)
    client = WebSocketCodec(LIMITS, deflate=deflate, client=True)
    data = b""
    for message in messages:
        client.send(Message(message))
        data += fragmented(client.data_to_send(), chance)
    server = WebSocketCodec(LIMITS, deflate=deflate)
    received: list[Event] = []
    position = 0
    while position < len(data):
        end = position + chance.choice((1, 2, 5, 100, 5_000))
        received += server.receive_data(data[position:end], 0.0)
        position = end
    assert [event for event in received if not isinstance(event, Ping)] == [Message(message) for message in messages]


def fragmented(data: bytes, chance: random.Random) -> bytes:
    """The one frame in ``data`` (its length below 64 KiB) as fragments with pings between them."""
    start = 2 if data[1] & 0x7F < 126 else 4
    mask, payload = data[start : start + 4], data[start + 4 :]
    content = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    places = sorted(chance.randint(0, len(content)) for _ in range(chance.randint(0, 3)))
    out = b""
    for index, (begin, end) in enumerate(zip([0, *places], [*places, len(content)], strict=True)):
        opcode = data[0] & 0x0F if index == 0 else CONTINUATION
        out += encode_frame(
            opcode, content[begin:end], fin=index == len(places), rsv1=index == 0 and bool(data[0] & 0x40), mask=MASK
        )
        out += frame(PING)
    return out


@AGREED
def test_cuts_do_not_matter(deflate: DeflateParameters | None) -> None:
    client = WebSocketCodec(LIMITS, deflate=deflate, client=True)
    for data in ("hello", "é" * 600, b"", b"\xff" * 130):
        client.send(Message(data))
    client.send(Ping(b"are you there"))
    client.send(Close(1001, "bye"))
    events = assert_cut_independent(lambda: WebSocketCodec(LIMITS, deflate=deflate), client.data_to_send())
    assert events == [
        Message("hello"),
        Message("é" * 600),
        Message(b""),
        Message(b"\xff" * 130),
        Ping(b"are you there"),
        Close(1001, "bye"),
        ConnectionEnded(),
    ]


@AGREED
@settings(max_examples=100)
@given(data=st.data())
def test_damaged_input_never_raises_and_cuts_still_do_not_matter(
    deflate: DeflateParameters | None, data: st.DataObject
) -> None:
    client = WebSocketCodec(LIMITS, deflate=deflate, client=True)
    for message in data.draw(
        st.lists(st.sampled_from(["", "é" * 20, "é" * 600, b"\0\1" * 600]), min_size=1, max_size=3)
    ):
        client.send(Message(message))
    sent = bytearray(client.data_to_send())
    for place in data.draw(st.lists(st.integers(0, len(sent) - 1), max_size=3)):
        sent[place] ^= 1 << data.draw(st.integers(0, 7))
    limits = WebSocketLimits(max_message_bytes=1_500)
    assert_cut_independent(
        lambda: WebSocketCodec(limits, deflate=deflate), bytes(sent), eof=True, react=take_note, random_count=3
    )


def test_a_message_that_comes_alone_means_the_same_on_the_short_way() -> None:
    limits = WebSocketLimits(max_message_bytes=100)
    payloads = [b"", b"abc", "é".encode(), b"\xff", b"x" * 100, b"x" * 101, b"x" * 126]
    opcodes = [CONTINUATION, TEXT, BINARY, 3, CLOSE, PING]
    frames = [frame(opcode, payload, fin=fin) for opcode in opcodes for payload in payloads for fin in (True, False)]
    ends = [encode_frame(TEXT, b"abc"), frame(TEXT, b"abc", fin=True)[:-1], frame(TEXT, b"abc") + b"\x81"]
    begun = [b"", frame(TEXT, b"a", fin=False), frame(TEXT, b"abc")[:1], frame(TEXT, b"abc")[:-2], frame(CLOSE)]
    taken_count = 0
    for before in begun:
        for read in [*frames, *ends]:
            short, long = WebSocketCodec(limits), WebSocketCodec(limits)
            long._max_short = -1
            assert short.receive_data(before, 0.0) == long.receive_data(before, 0.0)
            message = short.receive_message(read, 1.0)
            taken_count += message is not None
            events = short.receive_data(read, 1.0) if message is None else [Message(message)]
            assert events == long.receive_data(read, 1.0)
            assert short.data_to_send() == long.data_to_send()
            assert short.next_deadline_s() == long.next_deadline_s()
    assert taken_count == 9


def take_note(codec: Codec, events: list[Event]) -> None:
    """An application that answers nothing."""


# Closing ----------------------------------------------------------------------------------------


def test_the_peer_closes() -> None:
    server, client = pair()
    client.send(Close(3000, "done"))
    assert client.close_sent
    assert server.receive_data(client.data_to_send(), 0.0) == [Close(3000, "done"), ConnectionEnded()]
    assert server.close_sent
    assert server.next_deadline_s() is None
    assert client.receive_data(server.data_to_send(), 0.0) == [Close(3000)]
    assert client.receive_eof() == [ConnectionEnded()]
    assert client.receive_eof() == server.receive_eof() == []


def test_we_close() -> None:
    server, client = pair()
    server.send(Close(1001, "going away"))
    assert client.receive_data(server.data_to_send(), 0.0) == [Close(1001, "going away")]
    assert server.receive_data(frame(TEXT, b"on its way") + client.data_to_send(), 0.0) == [
        Message("on its way"),
        Close(1001),
        ConnectionEnded(),
    ]
    assert server.data_to_send() == b""


def test_close_without_a_code() -> None:
    server, client = pair()
    server.send(Close(1005))
    data = server.data_to_send()
    assert data == b"\x88\x00"
    assert client.receive_data(data, 0.0) == [Close(1005)]


@pytest.mark.parametrize("event", [Message("x"), Ping(), Pong(), Close()])
@pytest.mark.parametrize("ended_by", ["us", "peer", "fault", "eof"])
def test_nothing_can_be_sent_after_close(event: Event, ended_by: str) -> None:
    codec = WebSocketCodec(LIMITS)
    if ended_by == "us":
        codec.send(Close())
    elif ended_by == "peer":
        codec.receive_data(frame(CLOSE), 0.0)
    elif ended_by == "fault":
        codec.receive_data(b"\xff", 0.0)
    else:
        codec.receive_eof()
    codec.data_to_send()
    with pytest.raises(LocalProtocolError):
        codec.send(event)
    with pytest.raises(LocalProtocolError):
        codec.shared_frame("", {})
    assert codec.data_to_send() == b""


def test_an_end_without_close() -> None:
    codec = WebSocketCodec(LIMITS)
    assert codec.receive_data(frame(TEXT, b"half", fin=False), 0.0) == []
    assert codec.receive_eof() == [ConnectionEnded()]
    assert codec.next_deadline_s() is None


def test_no_pong_after_our_close() -> None:
    codec = WebSocketCodec(LIMITS)
    codec.send(Close())
    codec.data_to_send()
    assert codec.receive_data(frame(PING, b"x"), 0.0) == [Ping(b"x")]
    assert codec.data_to_send() == b""


# What our side does wrong -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "event",
    [
        Message("\udc80"),
        Message(None),  # type: ignore[arg-type]
        Ping(bytes(126)),
        Pong(bytes(126)),
        Close(1006),
        Close(1000, "é" * 62),
        Data(b"x"),
    ],
)
def test_malformed_events_change_nothing(event: Event) -> None:
    codec = WebSocketCodec(LIMITS)
    with pytest.raises(LocalProtocolError):
        codec.send(event)
    assert codec.data_to_send() == b""
    assert not codec.close_sent
    codec.send(Message("fine"))


# Failing ----------------------------------------------------------------------------------------


def test_the_peer_is_told_which_rule_it_broke() -> None:
    server, client = pair()
    error = failure(server.receive_data(b"\xf1", 0.0))
    assert client.receive_data(server.data_to_send(), 0.0) == [Close(1002, str(error))]
    assert "RFC 6455 section 5.2" in str(error)
    assert server.receive_data(frame(TEXT, b"more"), 0.0) == []
    assert server.receive_eof() == []


def test_messages_before_a_fault_can_be_answered() -> None:
    codec = WebSocketCodec(LIMITS)
    assert codec.receive_data(frame(TEXT, b"hello") + b"\xff", 7.0) == [Message("hello")]
    assert codec.next_deadline_s() == 7.0
    codec.send(Message("hello yourself"))
    assert failure(codec.receive_data(b"", 7.0)).close_code == 1002
    data = codec.data_to_send()
    assert data.startswith(encode_frame(TEXT, b"hello yourself") + b"\x88")
    assert codec.next_deadline_s() is None


@pytest.mark.parametrize("more", ["data", "eof"])
def test_a_fault_that_waits_comes_with_the_next_call(more: str) -> None:
    codec = WebSocketCodec(LIMITS)
    codec.receive_data(frame(TEXT, b"hello") + b"\xff", 7.0)
    events = codec.receive_eof() if more == "eof" else codec.receive_data(frame(TEXT, b"ignored"), 7.0)
    assert failure(events).close_code == 1002


def test_a_fault_after_our_close_adds_no_second_close() -> None:
    codec = WebSocketCodec(LIMITS)
    codec.send(Close())
    codec.data_to_send()
    failure(codec.receive_data(b"\xff", 0.0))
    assert codec.data_to_send() == b""


# Bounds -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [0, 5, 125, 126, 70_000])
@pytest.mark.parametrize("compressed", [False, True])
def test_messages_up_to_the_limit(most: int, compressed: bool) -> None:
    deflate = DeflateParameters() if compressed else None
    limits = WebSocketLimits(max_message_bytes=most)
    client = WebSocketCodec(LIMITS, deflate=deflate, client=True)
    for size in (most, most + 1):
        client.send(Message(b"x" * size))
        data = client.data_to_send()
        for pieces in cuts(data, random_count=2) if size < 200 else [[data], [data[:10], data[10:]]]:
            codec = WebSocketCodec(limits, deflate=deflate)
            events = [event for piece in pieces for event in codec.receive_data(piece, 0.0)]
            if size == most:
                assert events == [Message(b"x" * size)]
            else:
                assert failure(events).close_code == 1009


def test_many_pings_in_one_read_get_a_bounded_answer() -> None:
    codec = WebSocketCodec(LIMITS)
    data = b"".join(frame(PING, b"%d" % index) for index in range(1_000))
    assert len(codec.receive_data(data, 0.0)) == 1_000
    pongs = codec.data_to_send()
    assert pongs.startswith(b"".join(encode_frame(PONG, b"%d" % index) for index in range(32)))
    assert pongs.endswith(encode_frame(PONG, b"999"))
    assert pongs.count(b"\x8a") == 33
    codec.receive_data(frame(PING, b"again"), 0.0)
    assert codec.data_to_send() == encode_frame(PONG, b"again")


def test_ten_pings_get_ten_pongs() -> None:
    codec = WebSocketCodec(LIMITS)
    codec.receive_data(b"".join(frame(PING, b"%d" % index) for index in range(10)), 0.0)
    assert codec.data_to_send() == b"".join(encode_frame(PONG, b"%d" % index) for index in range(10))


def test_tiny_fragments_take_no_more_memory_than_their_bytes() -> None:
    codec = WebSocketCodec(LIMITS)
    codec.receive_data(frame(TEXT, fin=False), 0.0)
    for character in "€" * 10_000:
        codec.receive_data(frame(CONTINUATION, character.encode(), fin=False), 0.0)
    held_bytes = sum(
        sys.getsizeof(value)
        for name in ATTRIBUTES
        if isinstance(value := getattr(codec, name), bytes | bytearray | list)
    )
    assert 30_000 <= held_bytes < 60_000
    assert codec.receive_data(frame(CONTINUATION), 0.0) == [Message("€" * 10_000)]


def test_an_idle_codec_is_small() -> None:
    codec = WebSocketCodec(LIMITS, deflate=DeflateParameters())
    values = [getattr(codec, name) for name in ATTRIBUTES]
    own = [value for value in values if isinstance(value, bytes | bytearray | list)]
    assert sys.getsizeof(codec) + sum(map(sys.getsizeof, own)) < 1_024


# Time -------------------------------------------------------------------------------------------


def test_a_silent_peer_gets_a_ping_and_then_1011() -> None:
    server, client = WebSocketCodec(LIMITS, now_s=100.0), WebSocketCodec(LIMITS, client=True)
    assert server.next_deadline_s() == 120.0
    assert server.receive_data(b"", 119.0) == []
    assert server.data_to_send() == b""
    assert server.receive_data(b"", 120.0) == []
    assert client.receive_data(server.data_to_send(), 0.0) == [Ping(PING_PAYLOAD)]
    assert server.next_deadline_s() == 130.0
    assert failure(server.receive_data(b"", 130.0)).close_code == 1011
    assert server.data_to_send()[2:4] == (1011).to_bytes(2, "big")
    assert server.next_deadline_s() is None


@pytest.mark.parametrize("answer", [frame(PONG, PING_PAYLOAD), frame(TEXT, b"x"), b"\x81"])
def test_any_data_is_a_sign_of_life(answer: bytes) -> None:
    codec = WebSocketCodec(LIMITS)
    codec.receive_data(b"", 20.0)
    codec.data_to_send()
    codec.receive_data(answer, 25.0)
    assert codec.next_deadline_s() == 45.0
    assert codec.receive_data(b"", 30.0) == []


def test_no_pings_with_an_interval_of_zero() -> None:
    codec = WebSocketCodec(WebSocketLimits(ping_interval_s=0))
    assert codec.next_deadline_s() is None
    assert codec.receive_data(b"", 1e9) == []
    assert codec.data_to_send() == b""


def test_a_peer_that_does_not_answer_our_close() -> None:
    codec = WebSocketCodec(LIMITS)
    codec.receive_data(frame(TEXT, b"x"), 10.0)
    codec.send(Close())
    due_s = codec.next_deadline_s()
    assert due_s is not None
    assert due_s <= 10.0  # at once: the codec does not know yet when this was
    assert codec.receive_data(b"", 15.0) == []
    assert codec.next_deadline_s() == 20.0
    assert codec.receive_data(frame(TEXT, b"still talking"), 19.0) == [Message("still talking")]
    assert codec.next_deadline_s() == 20.0
    assert codec.receive_data(b"", 20.0) == [ConnectionEnded()]
    assert codec.receive_data(frame(CLOSE), 21.0) == []
    assert codec.next_deadline_s() is None


def test_a_client_waits_for_the_server_to_close_tcp() -> None:
    client = WebSocketCodec(LIMITS, client=True)
    assert client.receive_data(encode_frame(CLOSE, b""), 1.0) == [Close(1005)]
    assert client.receive_data(b"", 2.0) == []
    assert client.next_deadline_s() == 7.0
    assert client.receive_data(b"", 7.0) == [ConnectionEnded()]


# Shared frames ----------------------------------------------------------------------------------


@AGREED
def test_shared_frames_between_own_messages(deflate: DeflateParameters | None) -> None:
    other = WebSocketCodec(LIMITS, deflate=deflate)
    server, client = pair(deflate)
    for number, size in enumerate((10, 2_000, 3_000, 1_500)):
        own, shared = f"own {number} " * size, f"shared {number} " * size
        frames: dict[Any, bytes] = {}
        server.send(Message(own))
        sent = server.data_to_send() + server.shared_frame(shared, frames)
        server.send(Message(own))
        sent += server.data_to_send()
        assert client.receive_data(sent, 0.0) == [Message(own), Message(shared), Message(own)]
        assert other.shared_frame(shared, frames) is next(iter(frames.values())), "the same bytes, not made again"
        assert server.shared_key in (None, *frames)
        assert (server.shared_key is None) == (deflate is not None and not deflate.server_no_context_takeover)


def test_sockets_that_differ_in_deflate_do_not_share() -> None:
    plain = WebSocketCodec(LIMITS)
    deflate = WebSocketCodec(LIMITS, deflate=DeflateParameters())
    narrow = WebSocketCodec(LIMITS, deflate=DeflateParameters(server_max_window_bits=9))
    frames: dict[Any, bytes] = {}
    assert plain.shared_frame("x" * 5_000, frames)[0] == 0x81
    assert deflate.shared_frame("x" * 5_000, frames)[0] == 0xC1
    assert narrow.shared_frame("x" * 5_000, frames)[0] == 0xC1
    assert len(frames) == 3
    assert deflate.shared_frame(b"short", {}) == encode_frame(BINARY, b"short")


def test_it_is_a_codec() -> None:
    codec: Codec = WebSocketCodec(LIMITS)
    assert codec.receive_data(b"", 0.0) == []

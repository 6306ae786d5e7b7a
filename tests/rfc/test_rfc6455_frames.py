"""RFC 6455 sections 5 and 8.1: what a server takes, and what it refuses at the first byte that is wrong."""

from __future__ import annotations

import pytest

from fullduplex.exceptions import RemoteProtocolError
from fullduplex.limits import WebSocketLimits
from fullduplex.testing.codecs import assert_cut_independent
from fullduplex.wire.codec import Codec
from fullduplex.wire.events import Close, ConnectionEnded, Event, Message, Ping, Pong, ProtocolFailed
from fullduplex.wire.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, encode_frame
from fullduplex.wire.websocket import WebSocketCodec

MASK = b"\x37\xfa\x21\x3d"


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv1: bool = False) -> bytes:
    return encode_frame(opcode, payload, fin=fin, rsv1=rsv1, mask=MASK)


def server() -> WebSocketCodec:
    return WebSocketCodec(WebSocketLimits(max_message_bytes=100_000))


def take_note(codec: Codec, events: list[Event]) -> None:
    """An application that answers nothing."""


def receive(data: bytes) -> list[Event]:
    return assert_cut_independent(server, data, react=take_note)


def failure_position(data: bytes) -> tuple[int, int]:
    """How many bytes it took to fail, and the close code that the peer is told."""
    codec = server()
    for position in range(len(data)):
        for event in codec.receive_data(data[position : position + 1], 0.0):
            if isinstance(event, ProtocolFailed):
                assert isinstance(event.error, RemoteProtocolError)
                sent = codec.data_to_send()
                assert sent[0] == 0x88
                assert int.from_bytes(sent[2:4], "big") == event.error.close_code
                return position + 1, event.error.close_code
    raise AssertionError("the codec took it")


# Section 5.7: examples --------------------------------------------------------------------------


def test_unmasked_hello_from_a_server() -> None:
    client = WebSocketCodec(WebSocketLimits(), client=True)
    assert client.receive_data(bytes.fromhex("810548656c6c6f"), 0.0) == [Message("Hello")]


def test_masked_hello_from_a_client() -> None:
    assert receive(bytes.fromhex("818537fa213d7f9f4d5158")) == [Message("Hello")]


def test_fragmented_unmasked_hello() -> None:
    client = WebSocketCodec(WebSocketLimits(), client=True)
    assert client.receive_data(bytes.fromhex("010348656c") + bytes.fromhex("80026c6f"), 0.0) == [Message("Hello")]


def test_ping_hello_is_answered_with_the_same_payload() -> None:
    codec = server()
    assert codec.receive_data(bytes.fromhex("898537fa213d7f9f4d5158"), 0.0) == [Ping(b"Hello")]
    assert codec.data_to_send() == bytes.fromhex("8a0548656c6c6f")


@pytest.mark.parametrize(("size", "header"), [(256, "827e0100"), (65_536, "827f0000000000010000")])
def test_binary_messages_with_extended_lengths(size: int, header: str) -> None:
    codec = server()
    codec.send(Message(bytes(size)))
    assert codec.data_to_send() == bytes.fromhex(header) + bytes(size)


# Section 5.2 and 5.4: messages ------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 124, 125, 126, 127, 128, 1_000, 65_535, 65_536, 70_001])
def test_every_kind_of_length(size: int) -> None:
    content = bytes(index % 251 for index in range(size))
    codec = server()
    data = frame(BINARY, content)
    assert codec.receive_data(data, 0.0) == [Message(content)]
    assert codec.receive_data(data[: len(data) // 2], 0.0) == []
    assert codec.receive_data(data[len(data) // 2 :], 0.0) == [Message(content)]


@pytest.mark.parametrize("data", [b"", b"\x00\xff", b"x" * 200])
def test_messages_are_kept_apart(data: bytes) -> None:
    assert receive(frame(BINARY, data) + frame(TEXT) + frame(BINARY, data)) == [
        Message(data),
        Message(""),
        Message(data),
    ]


def test_fragments_with_control_frames_between_them() -> None:
    data = (
        frame(TEXT, b"K", fin=False)
        + frame(PING, b"1")
        + frame(CONTINUATION, fin=False)
        + frame(PONG, b"2")
        + frame(CONTINUATION, "öln".encode())
        + frame(BINARY, b"after")
    )
    assert receive(data) == [Ping(b"1"), Pong(b"2"), Message("Köln"), Message(b"after")]


def test_an_empty_message_in_three_fragments() -> None:
    data = frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) + frame(CONTINUATION)
    assert receive(data) == [Message("")]


def test_a_character_may_be_split_between_fragments() -> None:
    euro = "€".encode()
    data = frame(TEXT, euro[:1], fin=False) + frame(CONTINUATION, euro[1:2], fin=False) + frame(CONTINUATION, euro[2:])
    assert receive(data) == [Message("€")]


# What is refused, and how soon ------------------------------------------------------------------

REFUSED = {
    # name: (bytes, bytes needed to know, close code)
    "5.2 RSV1 without extension": (frame(TEXT, b"x", rsv1=True), 1, 1002),
    "5.2 RSV2": (b"\xa1", 1, 1002),
    "5.2 RSV3": (b"\x91", 1, 1002),
    "5.2 RSV on a ping": (b"\xc9", 1, 1002),
    **{f"5.2 opcode {opcode}": (bytes((0x80 | opcode,)), 1, 1002) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "5.1 not masked": (encode_frame(TEXT, b"x"), 2, 1002),
    "5.1 not masked, empty": (encode_frame(TEXT, b""), 2, 1002),
    "5.1 control frame not masked": (encode_frame(PING, b""), 2, 1002),
    "5.2 length 125 in 2 bytes": (b"\x81\xfe\x00\x7d", 4, 1002),
    "5.2 length 65535 in 8 bytes": (b"\x82\xff\x00\x00\x00\x00\x00\x00\xff\xff", 10, 1002),
    "5.2 length with the highest bit": (b"\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00", 10, 1002),
    "5.4 continuation of nothing": (frame(CONTINUATION, b"x"), 1, 1002),
    "5.4 continuation after the end": (frame(TEXT, b"x") + frame(CONTINUATION), 8, 1002),
    "5.4 text inside a message": (frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), 8, 1002),
    "5.4 binary inside a message": (frame(BINARY, b"x", fin=False) + frame(BINARY), 8, 1002),
    "5.5 fragmented ping": (frame(PING, fin=False), 1, 1002),
    "5.5 fragmented close": (frame(CLOSE, fin=False), 1, 1002),
    "5.5 long ping": (b"\x89\xfe", 2, 1002),
    "5.5 long close": (b"\x88\xff", 2, 1002),
    "8.1 invalid byte": (frame(TEXT, b"ab\xffcd"), 6 + 3, 1007),
    "8.1 overlong slash": (frame(TEXT, b"\xc0\xaf"), 6 + 1, 1007),
    "8.1 overlong, three bytes": (frame(TEXT, b"\xe0\x80\xaf"), 6 + 2, 1007),
    "8.1 surrogate": (frame(TEXT, b"a\xed\xa0\x80"), 6 + 3, 1007),
    "8.1 above U+10FFFF": (frame(TEXT, b"\xf4\x90\x80\x80"), 6 + 2, 1007),
    "8.1 lone continuation byte": (frame(TEXT, b"\x80"), 6 + 1, 1007),
    "8.1 cut off at the end": (frame(TEXT, "€".encode()[:2]), 6 + 2, 1007),
    "8.1 cut off at the end of fragments": (frame(TEXT, b"\xe2", fin=False) + frame(CONTINUATION, b""), 13, 1007),
    "8.1 wrong in the second fragment": (frame(TEXT, b"\xe2", fin=False) + frame(CONTINUATION, b"ax"), 14, 1007),
    "10.4 too big": (b"\x82\xff" + (100_001).to_bytes(8, "big"), 10, 1009),
    "10.4 too big with its last fragment": (
        frame(BINARY, bytes(99_999), fin=False) + frame(CONTINUATION, b"12", fin=False),
        99_999 + 14 + 2,
        1009,
    ),
}


@pytest.mark.parametrize(("data", "needed_count", "close_code"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_as_soon_as_it_is_known(data: bytes, needed_count: int, close_code: int) -> None:
    assert failure_position(data) == (needed_count, close_code)


@pytest.mark.parametrize("data", [vector[0] for vector in REFUSED.values() if len(vector[0]) < 1_000])
def test_refused_in_the_same_way_however_it_is_cut(data: bytes) -> None:
    events = receive(frame(TEXT, b"before") + data + frame(TEXT, b"after"))
    assert events[0] == Message("before")
    assert isinstance(events[-1], ProtocolFailed)
    assert Message("after") not in events


# Sections 5.5.1 and 7.4: Close frames -----------------------------------------------------------


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999])
def test_close_is_echoed_with_its_code(code: int) -> None:
    codec = server()
    payload = code.to_bytes(2, "big")
    assert codec.receive_data(frame(CLOSE, payload + b"why"), 0.0) == [Close(code, "why"), ConnectionEnded()]
    assert codec.data_to_send() == encode_frame(CLOSE, payload)


def test_close_without_a_code_is_echoed_without_one() -> None:
    codec = server()
    assert codec.receive_data(frame(CLOSE), 0.0) == [Close(1005), ConnectionEnded()]
    assert codec.data_to_send() == encode_frame(CLOSE, b"")


def test_what_comes_after_close_is_ignored() -> None:
    assert receive(frame(CLOSE) + frame(TEXT, b"late") + b"\xff\xff\xff") == [Close(1005), ConnectionEnded()]


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535])
def test_codes_that_may_not_be_sent(code: int) -> None:
    [failed] = receive(frame(CLOSE, code.to_bytes(2, "big")))
    assert isinstance(failed, ProtocolFailed)
    assert failed.error.close_code == 1002  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("payload", "close_code"), [(b"\x03", 1002), (b"\x03\xe8\xff", 1007), (b"\x03\xe8\xe2\x82", 1007)]
)
def test_malformed_close(payload: bytes, close_code: int) -> None:
    [failed] = receive(frame(CLOSE, payload))
    assert isinstance(failed, ProtocolFailed)
    assert failed.error.close_code == close_code  # type: ignore[attr-defined]


def test_a_close_frame_between_fragments_ends_the_socket() -> None:
    assert receive(frame(TEXT, b"x", fin=False) + frame(CLOSE)) == [Close(1005), ConnectionEnded()]


# Section 5.1, the client's side -----------------------------------------------------------------


def test_a_client_refuses_masked_frames() -> None:
    client = WebSocketCodec(WebSocketLimits(), client=True)
    [failed] = client.receive_data(frame(TEXT, b"x")[:2], 0.0)
    assert isinstance(failed, ProtocolFailed)


def test_a_client_masks_each_frame_with_a_fresh_key() -> None:
    client = WebSocketCodec(WebSocketLimits(), client=True)
    keys = set()
    for _ in range(20):
        client.send(Message("hello"))
        data = client.data_to_send()
        assert data[1] == 0x85
        keys.add(data[2:6])
    assert len(keys) > 15

"""RFC 7692 section 7.2.3: its examples, as a server receives them."""

from __future__ import annotations

import pytest

from fullduplex.limits import WebSocketLimits
from fullduplex.testing.codecs import assert_cut_independent
from fullduplex.wire.deflate import DeflateParameters
from fullduplex.wire.events import Event, Message, Ping, ProtocolFailed
from fullduplex.wire.frames import BINARY, CONTINUATION, PING, TEXT, encode_frame
from fullduplex.wire.websocket import WebSocketCodec

ALONE = DeflateParameters()
TAKEOVER = DeflateParameters(server_no_context_takeover=False, client_no_context_takeover=False)
HELLO = bytes.fromhex("f248cdc9c90700")


def compressed(payload: bytes, opcode: int = TEXT, *, fin: bool = True) -> bytes:
    return encode_frame(opcode, payload, fin=fin, rsv1=opcode != CONTINUATION, mask=b"\x0a\x0b\x0c\x0d")


def receive(data: bytes, deflate: DeflateParameters = ALONE) -> list[Event]:
    return assert_cut_independent(lambda: WebSocketCodec(WebSocketLimits(), deflate=deflate), data)


def test_7_2_3_1_one_frame() -> None:
    assert receive(compressed(HELLO)) == [Message("Hello")]


def test_7_2_3_1_two_fragments_with_a_ping_between_them() -> None:
    data = (
        compressed(HELLO[:3], fin=False) + encode_frame(PING, b"", mask=b"abcd") + compressed(HELLO[3:], CONTINUATION)
    )
    assert receive(data) == [Ping(), Message("Hello")]


def test_7_2_3_2_sharing_the_window() -> None:
    assert receive(compressed(HELLO) + compressed(bytes.fromhex("f200110000")), TAKEOVER) == [
        Message("Hello"),
        Message("Hello"),
    ]


def test_7_2_3_2_without_takeover_there_is_no_window_to_share() -> None:
    codec = WebSocketCodec(WebSocketLimits(), deflate=ALONE)
    assert codec.receive_data(compressed(HELLO), 0.0) == [Message("Hello")]
    [failed] = codec.receive_data(compressed(bytes.fromhex("f200110000")), 0.0)
    assert isinstance(failed, ProtocolFailed)
    assert failed.error.close_code == 1007  # type: ignore[attr-defined]


def test_7_2_3_3_a_block_with_no_compression() -> None:
    assert receive(compressed(bytes.fromhex("000500faff48656c6c6f00"))) == [Message("Hello")]


@pytest.mark.parametrize("deflate", [ALONE, TAKEOVER])
def test_7_2_3_4_a_block_with_bfinal(deflate: DeflateParameters) -> None:
    data = compressed(bytes.fromhex("f348cdc9c9070000"))
    assert receive(data + data, deflate) == [Message("Hello"), Message("Hello")]


def test_7_2_3_5_two_blocks_in_one_message() -> None:
    assert receive(compressed(bytes.fromhex("f248050000 00ffffcac9c90700"))) == [Message("Hello")]


@pytest.mark.parametrize("deflate", [ALONE, TAKEOVER])
def test_7_2_3_6_an_empty_message(deflate: DeflateParameters) -> None:
    assert receive(compressed(b"\x00") + compressed(b"\x00", BINARY) + compressed(HELLO), deflate) == [
        Message(""),
        Message(b""),
        Message("Hello"),
    ]


def test_6_1_an_uncompressed_message_between_compressed_ones() -> None:
    plain = encode_frame(TEXT, b"plain", mask=b"abcd")
    again = compressed(bytes.fromhex("f200110000"))
    assert receive(compressed(HELLO) + plain + again, TAKEOVER) == [
        Message("Hello"),
        Message("plain"),
        Message("Hello"),
    ]


@pytest.mark.parametrize("opcode", [CONTINUATION, PING])
def test_6_1_rsv1_stands_on_the_first_frame_of_a_message_only(opcode: int) -> None:
    codec = WebSocketCodec(WebSocketLimits(), deflate=ALONE)
    codec.receive_data(compressed(HELLO[:3], fin=False), 0.0)
    [failed] = codec.receive_data(bytes((0xC0 | opcode,)), 0.0)
    assert isinstance(failed, ProtocolFailed)
    assert failed.error.close_code == 1002  # type: ignore[attr-defined]

"""permessage-deflate: negotiation, bounds, and what is kept between messages."""

from __future__ import annotations

import random
import zlib

import pytest

from fullduplex.exceptions import RemoteProtocolError
from fullduplex.limits import WebSocketLimits
from fullduplex.testing.codecs import assert_cut_independent
from fullduplex.wire.deflate import (
    MIN_DEFLATE_BYTES,
    DeflateParameters,
    Deflater,
    Inflater,
    deflate_alone,
    max_deflated_bytes,
    negotiate_deflate,
    read_deflate_response,
)
from fullduplex.wire.events import Message, ProtocolFailed
from fullduplex.wire.frames import BINARY, TEXT, encode_frame
from fullduplex.wire.handshake import read_extensions
from fullduplex.wire.websocket import WebSocketCodec

NONE_KEPT = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


def answer(offers: str, *, context_takeover: bool = False) -> str | None:
    extensions = read_extensions([(b"sec-websocket-extensions", offers.encode())])
    agreed = negotiate_deflate(extensions, context_takeover=context_takeover)
    return None if agreed is None else agreed.to_header().decode()


@pytest.mark.parametrize(
    ("offers", "expected"),
    [
        ("permessage-deflate", NONE_KEPT),
        ("permessage-deflate; client_max_window_bits", NONE_KEPT),  # Chrome, Firefox
        ("permessage-deflate; client_max_window_bits=8", NONE_KEPT),
        ("permessage-deflate; server_no_context_takeover; client_no_context_takeover", NONE_KEPT),
        ("permessage-deflate; server_max_window_bits=10", NONE_KEPT + "; server_max_window_bits=10"),
        ('permessage-deflate; server_max_window_bits="9"', NONE_KEPT + "; server_max_window_bits=9"),
        ("x-webkit-deflate-frame, permessage-deflate", NONE_KEPT),
        ("permessage-deflate; unknown, permessage-deflate", NONE_KEPT),
        ("permessage-deflate; server_max_window_bits=8, permessage-deflate", NONE_KEPT),
    ],
)
def test_the_answer_to_an_offer(offers: str, expected: str) -> None:
    assert answer(offers) == expected


@pytest.mark.parametrize(
    "offers",
    [
        "x-webkit-deflate-frame",
        "permessage-deflate; unknown",
        "permessage-deflate; unknown=1",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover=true",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=010",
        "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
        "permessage-deflate; client_max_window_bits=1",
        "permessage-deflate; server_max_window_bits=8",  # zlib cannot
    ],
)
def test_offers_that_are_declined(offers: str) -> None:
    assert answer(offers) is None


def test_takeover_where_both_sides_want_it() -> None:
    assert answer("permessage-deflate", context_takeover=True) == "permessage-deflate"
    offer = "permessage-deflate; server_no_context_takeover"
    assert answer(offer, context_takeover=True) == offer


def test_the_response_read_by_a_client() -> None:
    assert read_deflate_response([("server_max_window_bits", "12")]) == DeflateParameters(
        server_no_context_takeover=False, client_no_context_takeover=False, server_max_window_bits=12
    )
    for name, value in (("client_max_window_bits", "10"), ("server_max_window_bits", None), ("other", None)):
        with pytest.raises(RemoteProtocolError):
            read_deflate_response([(name, value)])


def test_every_parameter_has_its_place_in_the_header() -> None:
    parameters = DeflateParameters(server_max_window_bits=10, client_max_window_bits=11)
    assert parameters.to_header().decode() == NONE_KEPT + "; server_max_window_bits=10; client_max_window_bits=11"


# Messages ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("window_bits", [9, 10, 12, 15])
@pytest.mark.parametrize("context_takeover", [False, True])
def test_the_window_is_kept_to(window_bits: int, context_takeover: bool) -> None:
    deflater, inflater = Deflater(window_bits, context_takeover), Inflater(window_bits, context_takeover)
    payload = random.Random(1).randbytes(3_000) * 5
    for _ in range(3):
        assert inflater.inflate(deflater.deflate(payload), 100_000) + inflater.finish(100_000) == payload


def test_takeover_makes_the_second_message_small() -> None:
    payload = random.Random(1).randbytes(2_000)
    deflater = Deflater(15, context_takeover=True)
    assert len(deflater.deflate(payload)) > 2_000
    assert len(deflater.deflate(payload)) < 100
    deflater.reset()
    assert len(deflater.deflate(payload)) > 2_000
    alone = Deflater(15, context_takeover=False)
    assert len(alone.deflate(payload)) == len(alone.deflate(payload))


def test_short_messages_go_uncompressed() -> None:
    codec = WebSocketCodec(WebSocketLimits(), deflate=DeflateParameters())
    codec.send(Message("x" * (MIN_DEFLATE_BYTES - 1)))
    assert codec.data_to_send()[0] == 0x81
    codec.send(Message("x" * MIN_DEFLATE_BYTES))
    assert codec.data_to_send()[0] == 0xC1


@pytest.mark.parametrize("level", [0, 1, 9])
def test_no_message_within_the_limit_is_refused_for_its_wire_size(level: int) -> None:
    payload = random.Random(1).randbytes(20_000)
    for memory_level in (1, 9):
        compressor = zlib.compressobj(level, zlib.DEFLATED, -9, memory_level)
        wire = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
        assert len(wire) <= max_deflated_bytes(len(payload))
        codec = WebSocketCodec(WebSocketLimits(max_message_bytes=20_000), deflate=DeflateParameters())
        data = encode_frame(BINARY, wire[:-4], rsv1=True, mask=b"abcd")
        assert codec.receive_data(data, 0.0) == [Message(payload)]


# Bounds -----------------------------------------------------------------------------------------


def close_code(codec: WebSocketCodec, data: bytes) -> int:
    [failed] = codec.receive_data(data, 0.0)
    assert isinstance(failed, ProtocolFailed)
    assert isinstance(failed.error, RemoteProtocolError)
    return failed.error.close_code


def server() -> WebSocketCodec:
    return WebSocketCodec(WebSocketLimits(max_message_bytes=10_000), deflate=DeflateParameters())


def test_a_bomb_is_not_inflated() -> None:
    inflater = Inflater(15, context_takeover=False)
    bomb = deflate_alone(bytes(50_000_000))
    assert len(bomb) < 300_000
    assert len(inflater.inflate(bomb, 10_001)) == 10_001
    assert close_code(server(), encode_frame(BINARY, bomb[:10_000], rsv1=True, mask=b"abcd")) == 1009


def test_a_bomb_fails_before_its_end_arrives() -> None:
    bomb = deflate_alone(bytes(10_000_000))[:8_000]
    frame = encode_frame(BINARY, bomb, rsv1=True, mask=b"abcd")
    assert close_code(server(), frame[:500]) == 1009


def test_announced_size_alone_is_enough() -> None:
    assert close_code(server(), b"\xc2\xfe\x4e\x20") == 1009


def test_invalid_text_fails_before_its_end_arrives() -> None:
    compressor = zlib.compressobj(wbits=-15)
    start = compressor.compress(b"fine \xff") + compressor.flush(zlib.Z_SYNC_FLUSH)
    frame = encode_frame(TEXT, start + bytes(500), rsv1=True, mask=b"abcd")
    assert close_code(server(), frame[: 8 + len(start)]) == 1007


@pytest.mark.parametrize("payload", [b"\xff\xff\xff", b"\x07", deflate_alone(b"cut off" * 50)[:-9], b"\xf3\x48"])
def test_what_is_not_deflate_data(payload: bytes) -> None:
    assert close_code(server(), encode_frame(BINARY, payload, rsv1=True, mask=b"abcd")) == 1007


def test_endless_last_blocks_are_refused() -> None:
    assert close_code(server(), encode_frame(BINARY, b"\x03\x00" * 5_000, rsv1=True, mask=b"abcd")) == 1007


def test_some_last_blocks_are_fine() -> None:
    frame = encode_frame(BINARY, b"\x03\x00" * 20 + b"\x00", rsv1=True, mask=b"abcd")
    codec = server()
    for _ in range(5):
        assert codec.receive_data(frame, 0.0) == [Message(b"")]


def test_a_message_of_no_bytes_at_all_is_empty() -> None:
    assert server().receive_data(encode_frame(TEXT, b"", rsv1=True, mask=b"abcd"), 0.0) == [Message("")]


def test_bad_text_and_bad_data_behind_it_make_the_same_error_in_any_cut() -> None:
    compressor = zlib.compressobj(wbits=-15)
    payload = compressor.compress(b"bad \xff") + compressor.flush(zlib.Z_SYNC_FLUSH) + b"\xff\xff\xff"
    [failed] = assert_cut_independent(server, encode_frame(TEXT, payload, rsv1=True, mask=b"abcd"))
    assert isinstance(failed, ProtocolFailed)

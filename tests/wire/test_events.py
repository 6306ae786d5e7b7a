"""Events, and what they must not keep alive."""

from __future__ import annotations

import gc

import pytest

from fullduplex.exceptions import RemoteProtocolError
from fullduplex.limits import HTTP1Limits, WebSocketLimits
from fullduplex.wire.deflate import DeflateParameters, deflate_alone
from fullduplex.wire.events import Data, Message, ProtocolFailed
from fullduplex.wire.frames import BINARY, TEXT, encode_frame
from fullduplex.wire.http1 import HTTP1Codec
from fullduplex.wire.websocket import WebSocketCodec

MASK = b"\x12\x34\x56\x78"
TOO_BIG = encode_frame(BINARY, deflate_alone(bytes(5000)), rsv1=True, mask=MASK)


def test_events_are_equal_by_what_they_say():
    assert Data(b"a") == Data(b"a")
    assert Data(b"a") != Data(b"a", end_stream=True)
    assert Message("a") != Data(b"a")
    assert ProtocolFailed(ValueError("a")) == ProtocolFailed(ValueError("a"))
    assert repr(Data(b"a")) == "Data(data=b'a', end_stream=False, stream_id=0)"


@pytest.mark.parametrize(
    "data",
    [
        TOO_BIG,
        encode_frame(TEXT, b"first", mask=MASK) + TOO_BIG,  # held back until the first is answered
        encode_frame(BINARY, b"\xff" * 20, rsv1=True, mask=MASK),
        encode_frame(TEXT, b"\xff", mask=MASK),
        encode_frame(BINARY, b"unmasked"),
    ],
)
def test_a_failed_websocket_leaves_nothing_to_the_garbage_collector(data):
    def fail() -> None:
        codec = WebSocketCodec(WebSocketLimits(max_message_bytes=1000), deflate=DeflateParameters())
        events = codec.receive_data(data, 0.0)
        events += codec.receive_data(b"", 0.0)
        assert isinstance(events[-1], ProtocolFailed)

    assert garbage_of(fail) == 0


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX Y: z\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        b"x" * 100_000,
    ],
)
def test_a_failed_request_leaves_nothing_to_the_garbage_collector(data):
    def fail() -> None:
        events = HTTP1Codec(HTTP1Limits(), now_s=0.0).receive_data(data, 0.0)
        assert isinstance(events[-1], ProtocolFailed)

    assert garbage_of(fail) == 0


def test_the_error_of_an_event_has_no_past():
    try:
        try:
            bytes((300,))
        except ValueError:
            raise RemoteProtocolError("too much", status_hint=413) from None
    except RemoteProtocolError as error:
        event = ProtocolFailed(error)
    assert event.error.status_hint == 413
    assert event.error.__traceback__ is None
    assert event.error.__context__ is None


def garbage_of(function) -> int:
    """Objects that only the garbage collector can free after a call."""
    function()
    gc.collect()
    gc.disable()
    try:
        function()
        return gc.collect()
    finally:
        gc.enable()

"""Frames on their way out, and the masking that stands in where the C routine is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fullduplex.exceptions import LocalProtocolError
from fullduplex.wire.frames import BINARY, TEXT, apply_mask, encode_close, encode_data, encode_frame, mask_in_python


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 8, 63, 64, 65, 1_000])
def test_masking_in_python_does_what_the_c_routine_does(size: int) -> None:
    data = bytes(index * 7 % 256 for index in range(size))
    masked = mask_in_python(data, b"\x00\x80\xff\x01")
    assert masked == apply_mask(data, b"\x00\x80\xff\x01")
    assert mask_in_python(masked, b"\x00\x80\xff\x01") == data


def test_the_codec_works_without_the_c_routine() -> None:
    program = """
import sys
sys.modules["websockets.speedups"] = None
from fullduplex.limits import WebSocketLimits
from fullduplex.wire.events import Message
from fullduplex.wire.frames import apply_mask, encode_frame, mask_in_python
from fullduplex.wire.websocket import WebSocketCodec
assert apply_mask is mask_in_python
[message] = WebSocketCodec(WebSocketLimits()).receive_data(encode_frame(1, b"hello", mask=b"abcd"), 0.0)
assert message == Message("hello")
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_masking_does_not_load_the_rest_of_websockets() -> None:
    program = """
import sys
import fullduplex.wire.websocket
loaded = {name for name in sys.modules if name.startswith("websockets")}
assert loaded <= {"websockets", "websockets.imports", "websockets.version", "websockets.speedups"}, loaded
assert "asyncio" not in sys.modules and "ssl" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("size", "header"),
    [
        (0, "8200"),
        (125, "827d"),
        (126, "827e007e"),
        (65_535, "827effff"),
        (65_536, "827f0000000000010000"),
    ],
)
def test_lengths_take_the_fewest_bytes(size: int, header: str) -> None:
    assert encode_frame(BINARY, bytes(size)) == bytes.fromhex(header) + bytes(size)


def test_flags_and_mask() -> None:
    assert encode_frame(TEXT, b"Hello", fin=False, rsv1=True, mask=b"\0\0\0\0") == b"\x41\x85\0\0\0\0Hello"


def test_data_of_a_message() -> None:
    assert encode_data("é") == (TEXT, b"\xc3\xa9")
    assert encode_data(bytearray(b"x")) == (BINARY, b"x")
    assert encode_data(memoryview(b"x")) == (BINARY, b"x")
    with pytest.raises(LocalProtocolError, match="not int"):
        encode_data(1)  # type: ignore[arg-type]
    with pytest.raises(LocalProtocolError, match="surrogates"):
        encode_data("\ud800")


def test_close_payloads() -> None:
    assert encode_close(1005, "") == b""
    assert encode_close(1000, "é" * 61) == b"\x03\xe8" + "é".encode() * 61
    with pytest.raises(LocalProtocolError, match="123 bytes"):
        encode_close(1000, "é" * 62)
    for code in (999, 1004, 1006, 1015, 2999, 5000):
        with pytest.raises(LocalProtocolError, match=str(code)):
            encode_close(code, "")
    with pytest.raises(LocalProtocolError):
        encode_close(1005, "a reason needs a code")

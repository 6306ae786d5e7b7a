"""WebSocket frames on their way out, and what a frame may carry: RFC 6455 sections 5.2, 5.5, 7.4 and 8.1.

Pure functions; what depends on earlier frames is in :mod:`fullduplex.wire.websocket`.
"""

from __future__ import annotations

from codecs import utf_8_decode
from typing import Final

from fullduplex.exceptions import LocalProtocolError, RemoteProtocolError
from fullduplex.wire.events import AppContent, Close


def mask_in_python(data: bytes | bytearray | memoryview, mask: bytes | bytearray) -> bytes:
    """Mask or unmask: XOR with the 4 bytes of the mask, repeated. RFC 6455 section 5.3."""
    size = len(data)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")


try:
    # This imports the C routine and the lazy front page of the package, but none of its machinery.
    from websockets.speedups import apply_mask as apply_mask
except ImportError:  # a platform without wheels and compiler
    apply_mask = mask_in_python

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

FIN: Final = 0x80  # in the first byte
RSV1: Final = 0x40
RSV: Final = 0x70
MASKED: Final = 0x80  # in the second
WHOLE_TEXT: Final = 0x81
WHOLE_BINARY: Final = 0x82
MAX_CONTROL_BYTES: Final = 125  # RFC 6455 section 5.5

# RFC 6455 section 7.4 and its IANA registry: 1004 is reserved, 1005, 1006 and 1015 never stand on the wire.
_CLOSE_CODES: Final = frozenset((1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)))

# Unmasked headers of whole short messages: the most frequent frames by far.
SHORT_TEXT_HEADERS: Final = tuple(bytes((WHOLE_TEXT, length)) for length in range(126))
SHORT_BINARY_HEADERS: Final = tuple(bytes((WHOLE_BINARY, length)) for length in range(126))


def encode_frame(
    opcode: int, payload: bytes, *, fin: bool = True, rsv1: bool = False, mask: bytes | None = None
) -> bytes:
    """One frame. RFC 6455 section 5.2.

    Args:
        opcode: one of this module's constants; others for tests.
        payload: as it stands on the wire, but unmasked.
        fin: the last frame of its message.
        rsv1: the message is compressed; set on its first frame.
        mask: 4 bytes in frames of a client, None in frames of a server.
    """
    first = opcode | (FIN if fin else 0) | (RSV1 if rsv1 else 0)
    masked = 0 if mask is None else MASKED
    length = len(payload)
    if length < 126:
        header = bytes((first, masked | length))
    elif length < 65_536:
        header = bytes((first, masked | 126)) + length.to_bytes(2, "big")
    else:
        header = bytes((first, masked | 127)) + length.to_bytes(8, "big")
    if mask is None:
        return header + payload
    return header + mask + apply_mask(payload, mask)


def decode_text(payload: bytes) -> str:
    """Raises RemoteProtocolError (1007) for what is not UTF-8. RFC 6455 section 8.1."""
    try:
        return str(payload, "utf-8")
    except UnicodeDecodeError:
        raise _not_utf8() from None


def count_whole_bytes(text: bytes, is_last: bool) -> int:
    """The number of bytes in whole characters; what follows them may be the beginning of one more.

    Args:
        text: the next bytes of a text.
        is_last: the text ends here, so that nothing may follow.

    Raises:
        RemoteProtocolError: this is not UTF-8 (close code 1007).
    """
    try:
        count = utf_8_decode(text, "strict", is_last)[1]
    except UnicodeDecodeError:
        raise _not_utf8() from None
    if count + 2 == len(text) and text[count] == 0xED and text[count + 1] >= 0xA0:
        # The beginning of a surrogate: Python waits for the third byte, because of its `surrogatepass`.
        raise _not_utf8()
    return count


def read_close(payload: bytes) -> Close:
    """What a Close frame says; without a code: 1005. RFC 6455 sections 5.5.1 and 7.4.

    Raises:
        RemoteProtocolError: half a code, a code that may not be sent, or a reason that is not UTF-8.
    """
    if not payload:
        return Close(1005)
    if len(payload) == 1:
        raise RemoteProtocolError("RFC 6455 section 5.5.1: a close code has two bytes")
    code = int.from_bytes(payload[:2], "big")
    if code not in _CLOSE_CODES:
        raise RemoteProtocolError(f"RFC 6455 section 7.4: close code {code} may not be sent")
    return Close(code, decode_text(payload[2:]))


def encode_close(code: int, reason: str) -> bytes:
    """The payload of a Close frame; empty for 1005.

    Raises:
        LocalProtocolError: the code may not be sent, or the reason has more than 123 bytes.
    """
    if code == 1005 and not reason:
        return b""
    if code not in _CLOSE_CODES:
        raise LocalProtocolError(f"close code {code} may not be sent (RFC 6455 section 7.4)")
    try:
        payload = code.to_bytes(2, "big") + reason.encode()
    except UnicodeEncodeError:
        raise _no_text() from None
    if len(payload) > MAX_CONTROL_BYTES:
        raise LocalProtocolError("the reason for closing has more than 123 bytes in UTF-8 (RFC 6455 section 5.5)")
    return payload


def encode_data(data: AppContent) -> tuple[int, bytes]:
    """Opcode and payload of a message.

    Raises:
        LocalProtocolError: it is neither text nor bytes, or text that UTF-8 cannot express.
    """
    if isinstance(data, str):
        try:
            return TEXT, data.encode()
        except UnicodeEncodeError:
            raise _no_text() from None
    if isinstance(data, bytes | bytearray | memoryview):
        return BINARY, bytes(data)
    raise LocalProtocolError(f"a message is str or bytes, not {type(data).__name__}")


def _no_text() -> LocalProtocolError:
    return LocalProtocolError("the text has lone surrogates, which UTF-8 cannot express")


def _not_utf8() -> RemoteProtocolError:
    return RemoteProtocolError("RFC 6455 section 8.1: the text is not valid UTF-8", close_code=1007)

"""Error codes of HTTP/2, and how a connection fails (RFC 9113 sections 5.4 and 7)."""

from __future__ import annotations

import enum

from fullduplex.exceptions import RemoteProtocolError


class ErrorCode(enum.IntEnum):
    """RFC 9113 section 7."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class HTTP2Error(RemoteProtocolError):
    """The peer broke HTTP/2 itself; for a whole connection or for one stream, as its place says.

    Args:
        message: what was wrong, with the rule it breaks.
        error_code: for GOAWAY or RST_STREAM.
    """

    def __init__(self, message: str, error_code: int = ErrorCode.PROTOCOL_ERROR) -> None:
        super().__init__(message)
        self.error_code = int(error_code)


def name_of(error_code: int) -> str:
    """Its name, or its number where RFC 9113 has none."""
    try:
        return ErrorCode(error_code).name
    except ValueError:
        return f"0x{error_code:x}"


def goaway_frame(error_code: int, last_stream_id: int) -> bytes:
    """A GOAWAY by hand, where the library has failed and writes none."""
    return b"\0\0\x08\x07\0\0\0\0\0" + last_stream_id.to_bytes(4, "big") + error_code.to_bytes(4, "big")

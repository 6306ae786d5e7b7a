"""HTTP/2 without TLS by ``Upgrade: h2c`` (RFC 7540 section 3.2), which RFC 9113 has dropped: by option only.

::

    GET / HTTP/1.1 + Upgrade: h2c  ──>  101, then our SETTINGS
    preface and SETTINGS           ──>  the request as stream 1, behind them

The settings of the request itself are not used, since those of the preface, which must follow, say the same.
"""

from __future__ import annotations

import base64
import binascii
import re

from fullduplex.net.http2_connection import HTTP2Connection
from fullduplex.wire.events import Fields, RequestHead
from fullduplex.wire.grammar import split_list
from fullduplex.wire.http2_gate import MAX_FRAME_BYTES, PREFACE

ACCEPT = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: h2c\r\n\r\n"

_START_BYTES = len(PREFACE) + 9  # up to the payload of the first SETTINGS
_SETTINGS_BYTES = 6 * 32
_is_base64url = re.compile(rb"[A-Za-z0-9_-]*").fullmatch
_OF_HTTP1 = frozenset(
    {b"host", b"connection", b"upgrade", b"http2-settings", b"keep-alive", b"proxy-connection", b"te", b"expect"}
)


class UpgradedConnection(HTTP2Connection):
    """A connection that was upgraded, with the request that did it as its first stream."""

    __slots__ = ("_request", "_start")

    def will_begin_with(self, request: bytes) -> None:
        """Answer these frames behind the first SETTINGS of the client."""
        self._request = request
        self._start = b""

    def data_received(self, data: bytes) -> None:
        if self._request:
            self._start += data
            end = _START_BYTES + int.from_bytes(self._start[len(PREFACE) : len(PREFACE) + 3], "big")
            is_wrong = not self._start.startswith(PREFACE[: len(self._start)]) or end > _START_BYTES + _SETTINGS_BYTES
            if len(self._start) < max(end, _START_BYTES) and not is_wrong:
                return
            data, request = self._start, self._request
            self._start = self._request = b""
            if not is_wrong:  # else the codec says what is
                data = data[:end] + request + data[end:]
        super().data_received(data)


def request_frame(head: RequestHead) -> bytes | None:
    """The request of an upgrade as a HEADERS frame of stream 1; None where it is none that can be taken over."""
    options = split_list(b",".join(value for name, value in head.headers if name == b"connection"))
    offers = [value for name, value in head.headers if name == b"http2-settings"]
    if (
        b"h2c" not in split_list(head.upgrade or b"")
        or b"http2-settings" not in options
        or len(offers) != 1
        or not _is_settings(offers[0])
        or not head.end_stream
        or not head.target.startswith(b"/")
    ):
        return None
    host = next(value for name, value in head.headers if name == b"host")
    dropped = _OF_HTTP1 | {*options}
    fields: Fields = [
        (b":method", head.method.encode("ascii")),
        (b":scheme", b"http"),
        (b":authority", host),
        (b":path", head.target),
        *(field for field in head.headers if field[0] not in dropped),
    ]
    block = b"".join(b"\0" + _literal(name) + _literal(value) for name, value in fields)
    if len(block) > MAX_FRAME_BYTES:
        return None
    return len(block).to_bytes(3, "big") + b"\x01\x05\0\0\0\x01" + block  # END_HEADERS, END_STREAM


def _is_settings(value: bytes) -> bool:
    """RFC 7540 section 3.2.1: the payload of a SETTINGS frame in base64url, without padding."""
    if _is_base64url(value) is None:
        return False
    try:
        payload = base64.urlsafe_b64decode(value + b"=" * (-len(value) % 4))
    except binascii.Error:
        return False
    return len(payload) % 6 == 0 and len(payload) <= _SETTINGS_BYTES


def _literal(text: bytes) -> bytes:
    """A string literal of HPACK (RFC 7541 section 5.2), as it is."""
    size = len(text)
    if size < 127:
        return bytes((size,)) + text
    prefix, size = bytearray((127,)), size - 127
    while size >= 128:
        prefix.append(size & 0x7F | 0x80)
        size >>= 7
    prefix.append(size)
    return bytes(prefix) + text

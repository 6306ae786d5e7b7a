"""Reading of the chunked transfer coding (RFC 9112 section 7.1), strict and bounded.

llhttp could do this too, but it lets callers see neither the size lines nor the line breaks, so
their length could not be bounded.
"""

from __future__ import annotations

import enum

from fullduplex.exceptions import RemoteProtocolError
from fullduplex.limits import HTTP1Limits
from fullduplex.wire.events import Fields
from fullduplex.wire.grammar import find_bad_byte, match_chunk_size, parse_trailers

# Taken apart in one call: some milliseconds. A read may hold ten times as many of one byte.
CALL_CHUNKS_COUNT = 4_096


class _Part(enum.Enum):
    SIZE = enum.auto()
    CONTENT = enum.auto()
    LINE_END = enum.auto()
    TRAILERS = enum.auto()


class ChunkedReader:
    """Takes the chunks of one message apart.

    Attributes:
        trailers: the trailer section, once the message is complete; None before.
        holds_more: the last call stopped after ``CALL_CHUNKS_COUNT`` chunks, and could go on.
    """

    __slots__ = ("_extension_bytes", "_limits", "_part", "_remaining_bytes", "holds_more", "trailers")

    def __init__(self, limits: HTTP1Limits) -> None:
        self._limits = limits
        self._part = _Part.SIZE
        self._remaining_bytes = 0
        self._extension_bytes = 0
        self.trailers: Fields | None = None
        self.holds_more = False

    def read(self, data: bytes, position: int, content: list[bytes]) -> int:
        """Read chunks from ``data[position:]`` and append their content to ``content``.

        Returns:
            The position up to which the data was used; the rest must come again, with more after it.

        Raises:
            RemoteProtocolError: malformed (400), or trailers over their limits (431). What was
                appended before is valid.
        """
        left_count = CALL_CHUNKS_COUNT
        self.holds_more = False
        while self.trailers is None:
            if self._part is _Part.SIZE:
                if not left_count:
                    self.holds_more = position < len(data)
                    break
                left_count -= 1
                after = self._read_size(data, position)
            elif self._part is _Part.CONTENT:
                after = self._read_content(data, position, content)
            elif self._part is _Part.LINE_END:
                after = self._read_line_end(data, position)
            else:
                after = self._read_trailers(data, position)
            if after < 0:
                break
            position = after
        return position

    def _read_size(self, data: bytes, position: int) -> int:
        limit = position + self._limits.max_chunk_line_bytes
        end = data.find(b"\r\n", position, limit)
        if end < 0:
            if len(data) >= limit or find_bad_byte(data, position, limit):
                raise RemoteProtocolError("RFC 9112 section 7.1: invalid chunk size")
            return -1
        match = match_chunk_size(data, position, end)
        if match is None:
            raise RemoteProtocolError("RFC 9112 section 7.1: invalid chunk size")
        # Bounded in all, or a body of one-byte chunks could cost 250 times its size.
        self._extension_bytes += end - match.end(1)
        if self._extension_bytes > self._limits.max_head_bytes:
            raise RemoteProtocolError("RFC 9112 section 7.1.1: too many chunk extensions")
        self._remaining_bytes = int(match[1], 16)
        self._part = _Part.CONTENT if self._remaining_bytes else _Part.TRAILERS
        return end + 2

    def _read_content(self, data: bytes, position: int, content: list[bytes]) -> int:
        piece = data[position : position + self._remaining_bytes]
        if not piece:
            return -1
        content.append(piece)
        self._remaining_bytes -= len(piece)
        if not self._remaining_bytes:
            self._part = _Part.LINE_END
        return position + len(piece)

    def _read_line_end(self, data: bytes, position: int) -> int:
        line_end = data[position : position + 2]
        if line_end == b"\r\n":
            self._part = _Part.SIZE
            return position + 2
        if line_end not in (b"", b"\r"):
            raise RemoteProtocolError("RFC 9112 section 7.1: a chunk is longer than its size")
        return -1

    def _read_trailers(self, data: bytes, position: int) -> int:
        if data.startswith(b"\r\n", position):
            self.trailers = []
            return position + 2
        limit = position + self._limits.max_head_bytes
        end = data.find(b"\r\n\r\n", position, limit)
        if find_bad_byte(data, position, limit if end < 0 else end + 4):
            raise RemoteProtocolError("RFC 9112 section 5: malformed field")
        if end < 0:
            if len(data) >= limit:
                raise RemoteProtocolError("RFC 6585 section 5: the trailer section is too large", status_hint=431)
            return -1
        self.trailers = parse_trailers(data[position:end], self._limits.max_fields_count)
        return end + 4

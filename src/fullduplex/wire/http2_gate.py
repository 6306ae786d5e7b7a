"""The gate of an HTTP/2 connection: input is cut into whole frames, and what costs more than it should is counted.

It stands before the library that decodes, so its bounds hold whichever library that is. It reads the nine bytes of each
frame's header (RFC 9113 section 4.1) and decodes nothing; a library gets whole frames alone, so that it has nothing
half done when a stream is reset, and the cuts of the input cannot matter to it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from struct import Struct

from fullduplex.limits import HTTP2Limits
from fullduplex.wire.http2_errors import ErrorCode, HTTP2Error

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # RFC 9113 section 3.4
MAX_FRAME_BYTES = 16_384  # SETTINGS_MAX_FRAME_SIZE: what it is without a setting

_DATA, _HEADERS, _PRIORITY, _RST_STREAM, _SETTINGS, _PUSH_PROMISE, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = (
    range(10)
)
_PRIORITY_UPDATE = 0x10
_END_STREAM = _ACK = 0x1
_END_HEADERS = 0x4
_PADDED = 0x8
_PRIORITIZED = 0x20

_COUNTED_S = 10.0  # what is counted is counted anew after so long
_SETTINGS_ENTRIES_COUNT = 32
_LARGE_UPDATE_BYTES = 2**20  # those below, in the number that there may be, hardly fill a window that is not wide
_WIDE_BYTES = 2**30
_CRUMB_BYTES = 64  # credit in smaller pieces is counted, though it be for what was sent
_SMALL_DATA_BYTES = 1_024  # on a stream that is closed; such a frame is counted
_GAPS_COUNT = 64
_REMEMBERED_COUNT = 512
_NONE: frozenset[int] = frozenset()

_frame_header = Struct(">IBI")  # length and type, flags, stream
_word = Struct(">I")
_setting = Struct(">HI")


class FrameGate:
    """Cuts and counts; see :meth:`take`.

    Args:
        limits: bounds.
        streams: the identifiers of streams that are open, kept by the codec.
        window_of: what may still be sent on a stream.

    Attributes:
        has_more: the codec has to read what was taken before the next frame can be judged.
        faulty: a stream whose window the next frame would have spoilt, and the fault; the frame was left out.
    """

    __slots__ = (
        "_block_bytes",
        "_block_frames",
        "_block_stream_id",
        "_counted_since_s",
        "_empty_left",
        "_ended",
        "_first",
        "_gaps",
        "_has_wide",
        "_input",
        "_limits",
        "_opened_count",
        "_owed_bytes",
        "_pings_left",
        "_position",
        "_preface_seen",
        "_reset_ids",
        "_resets_left",
        "_settings_left",
        "_start",
        "_streams",
        "_updates_left",
        "_window_of",
        "faulty",
        "has_more",
        "last_stream_id",
    )

    def __init__(self, limits: HTTP2Limits, streams: Collection[int], window_of: Callable[[int], int]) -> None:
        self._limits = limits
        self._streams = streams
        self._window_of = window_of
        self._input = b""
        self._position = 0
        self._start = 0  # of the frames that are to be read
        self._preface_seen = 0
        self._first = True  # the SETTINGS that must come first have not
        self._block_stream_id = 0  # of a field block whose end has not come
        self._block_bytes = 0
        self._block_frames = 0
        self._gaps: list[tuple[int, int]] = []  # identifiers that were passed over, and can never be used
        self._reset_ids: OrderedDict[int, None] | None = None  # by us, lately: their frames may still be on their way
        self.last_stream_id = 0
        self._has_wide = False  # some window may be near its bound
        self.faulty: tuple[int, HTTP2Error] | None = None
        self.has_more = False
        self._ended = _NONE  # by frames that are read now, or perhaps: what follows on these waits for the next turn
        self._opened_count = 0  # the same
        self._counted_since_s = 0.0
        self._owed_bytes = 0  # what was sent, and no credit came for
        self._updates_left = 0
        self._refill(0.0)

    # What the codec asks ---------------------------------------------------------------------

    @property
    def held_bytes(self) -> int:
        """Of a frame whose end has not come."""
        return len(self._input) - self._position

    @property
    def is_waiting(self) -> bool:
        """Whether something has begun that the client must go on with: its preface, or a field block."""
        return self._first or self._block_stream_id != 0

    @property
    def is_in_preface(self) -> bool:
        return self._first

    def remember_reset(self, stream_id: int) -> None:
        """A stream was reset by us: what the client sent before it knows is no fault."""
        ids = self._reset_ids
        if ids is None:
            ids = self._reset_ids = OrderedDict()
        ids[stream_id] = None
        if len(ids) > _REMEMBERED_COUNT:
            ids.popitem(last=False)

    def was_reset(self, stream_id: int) -> bool:
        """Whether it is one of those."""
        return self._reset_ids is not None and stream_id in self._reset_ids

    def sent(self, size_bytes: int) -> None:
        """So much was sent, for which the client gives credit."""
        self._updates_left += 2
        self._owed_bytes += 2 * size_bytes  # for the stream, and for the connection

    def count_reset(self) -> None:
        """A stream was cancelled, or had to be reset.

        Raises:
            HTTP2Error: too many.
        """
        self._resets_left -= 1
        if self._resets_left < 0:
            raise _calm("too many streams are reset (CVE-2023-44487)")

    def clear(self) -> None:
        """Let go of input that waits."""
        self._input = b""
        self._position = 0

    # Input -----------------------------------------------------------------------------------

    def add(self, data: bytes, now_s: float) -> None:
        """Take input, which :meth:`take` hands out."""
        if now_s - self._counted_since_s >= _COUNTED_S:
            self._refill(now_s)
        if self._position < len(self._input):
            self._input = self._input[self._position :] + data
        else:
            self._input = data
        self._position = 0

    def take(self) -> tuple[bytes, HTTP2Error | None]:
        """Whole frames that have come, and the fault of the one behind them, if it has any.

        With ``has_more`` the codec has to read these before the next one can be judged: then call again.
        """
        self._start = self._position
        error: HTTP2Error | None = None
        try:
            if self._preface_seen < len(PREFACE):
                self._read_preface()
            self._advance()
        except HTTP2Error as fault:
            error = fault
            self.has_more = False
        data = self._input
        start = self._start
        frames = data if start == 0 and self._position == len(data) else data[start : self._position]
        if self._position == len(data) or error is not None:
            self._input = b""
            self._position = 0
        return frames, error

    def _read_preface(self) -> None:
        wanted = PREFACE[self._preface_seen :]
        given = self._input[self._position : self._position + len(wanted)]
        if not wanted.startswith(given):
            raise HTTP2Error("RFC 9113 section 3.4: the connection preface is wrong")
        self._preface_seen += len(given)
        self._position += len(given)
        self._start = self._position

    def _advance(self) -> None:
        """Go to the end of the last whole frame that is in order."""
        data = self._input
        size = len(data)
        position = start = self._position
        self.has_more = False
        streams = self._streams
        ended = self._ended = _NONE
        self._opened_count = 0
        room_count = self._limits.max_streams_count - len(streams)
        unpack = _frame_header.unpack_from
        while size - position >= 9:
            word, flags, stream_id = unpack(data, position)
            length, kind = word >> 8, word & 0xFF
            if kind == _HEADERS and flags & ~_END_STREAM == _END_HEADERS and length <= size - position - 9:
                # Nearly all are as this one: a whole field block, without padding or priority, on the next stream.
                next_id = self.last_stream_id + 2 if self.last_stream_id else 1
                if (
                    stream_id == next_id
                    and self._opened_count < room_count
                    and length <= MAX_FRAME_BYTES
                    and not (self._block_stream_id or self._first)
                ):
                    self.last_stream_id = stream_id
                    self._opened_count += 1
                    self._position = position = position + 9 + length
                    continue
            if length > MAX_FRAME_BYTES:
                raise HTTP2Error("RFC 9113 section 4.2: a frame is too large", ErrorCode.FRAME_SIZE_ERROR)
            if kind <= _HEADERS and position > start and not self._first:  # judged by what the frames before it did
                stream_id &= 0x7FFFFFFF
                if stream_id <= self.last_stream_id and (stream_id not in streams or stream_id in ended):
                    self.has_more = True
                    return
                if kind == _HEADERS and stream_id in streams:
                    ended = self._ended = ended | {stream_id}
            end = position + 9 + length
            if end > size:
                return
            if kind >= _GOAWAY and self._stands_alone(kind, stream_id & 0x7FFFFFFF, position + 9, length):
                if position > start:
                    self.has_more = True
                    return
                if kind == _GOAWAY:
                    # Of streams that we open, and there are none. Libraries would stop reading, or answering.
                    self._judge_goaway(stream_id & 0x7FFFFFFF, length)
                    self._position = self._start = position = start = end
                    continue
                if self._is_faulty(stream_id & 0x7FFFFFFF, position + 9):
                    self._judge_update(position + 9, length)
                    self.has_more = True
                    self._position = self._start = end
                    return
            self._judge(kind, flags, stream_id & 0x7FFFFFFF, position + 9, length)
            self._position = position = end
            if kind == _RST_STREAM:
                ended = self._ended = ended | {stream_id & 0x7FFFFFFF}

    def _stands_alone(self, kind: int, stream_id: int, position: int, length: int) -> bool:
        """Whether all before a frame must have been read before it is judged: GOAWAY, and some WINDOW_UPDATEs."""
        if kind == _GOAWAY or self.is_waiting:
            return not self.is_waiting
        if kind != _WINDOW_UPDATE or length != 4 or not stream_id:
            return False
        increment = _word.unpack_from(self._input, position)[0] & 0x7FFFFFFF
        self._has_wide = self._has_wide or increment >= _WIDE_BYTES
        return self._has_wide or not 0 < increment < _LARGE_UPDATE_BYTES

    def _is_faulty(self, stream_id: int, position: int) -> bool:
        """Whether a WINDOW_UPDATE is the fault of one stream, for which a library may end the connection."""
        if stream_id not in self._streams:
            return self.was_reset(stream_id)
        increment = _word.unpack_from(self._input, position)[0] & 0x7FFFFFFF
        if not increment:
            error = HTTP2Error("RFC 9113 section 6.9: a WINDOW_UPDATE of nothing")
        elif self._window_of(stream_id) + increment > 2**31 - 1:
            error = HTTP2Error("RFC 9113 section 6.9.1: a window is too large", ErrorCode.FLOW_CONTROL_ERROR)
        else:
            return False
        self.faulty = stream_id, error
        return True

    def _judge(self, kind: int, flags: int, stream_id: int, position: int, length: int) -> None:
        if self._block_stream_id:
            self._judge_continuation(kind, flags, stream_id, length)
        elif self._first:
            if kind != _SETTINGS or flags & _ACK:
                raise HTTP2Error("RFC 9113 section 3.4: the first frame is not SETTINGS")
            self._first = False
            self._judge_settings(flags, position, length)
        elif kind == _HEADERS:
            self._judge_headers(flags, stream_id, position, length)
        elif kind == _DATA:
            self._judge_data(flags, stream_id, position, length)
        elif kind == _WINDOW_UPDATE:
            self._judge_update(position, length)
        elif kind == _RST_STREAM:
            self.count_reset()
        elif kind == _SETTINGS:
            self._judge_settings(flags, position, length)
        elif kind == _PING:
            if flags & _ACK:
                self._count_empty()
            else:
                self._pings_left -= 1
                if self._pings_left < 0:
                    raise _calm("too many PINGs (CVE-2019-9512)")
        elif kind == _CONTINUATION:
            raise HTTP2Error("RFC 9113 section 6.10: CONTINUATION without a field block")
        elif kind == _PUSH_PROMISE:
            raise HTTP2Error("RFC 9113 section 8.4: a client cannot push")
        else:
            self._judge_other(kind, stream_id, position, length)

    def _judge_headers(self, flags: int, stream_id: int, position: int, length: int) -> None:
        if not stream_id & 1:
            raise HTTP2Error("RFC 9113 section 5.1.1: a stream identifier of a client is odd")
        if stream_id > self.last_stream_id:
            if stream_id > self.last_stream_id + 2:
                self._gaps.append((self.last_stream_id, stream_id))
                if len(self._gaps) > _GAPS_COUNT:
                    self._gaps = [(0, stream_id)]  # none of those below is used again by anybody honest
            self.last_stream_id = stream_id
            if len(self._streams) + self._opened_count - len(self._ended) >= self._limits.max_streams_count:
                self.count_reset()  # it will be refused
            self._opened_count += 1
        elif stream_id not in self._streams:
            self._judge_closed(stream_id)
        if flags & _PRIORITIZED:
            self._judge_dependency(stream_id, position + (1 if flags & _PADDED else 0))
        if not flags & _END_HEADERS:
            self._block_stream_id = stream_id
            self._block_bytes = length
            self._block_frames = 1

    def _judge_continuation(self, kind: int, flags: int, stream_id: int, length: int) -> None:
        if kind != _CONTINUATION or stream_id != self._block_stream_id:
            raise HTTP2Error("RFC 9113 section 6.10: a field block goes on with CONTINUATION, and nothing in between")
        self._block_bytes += length
        self._block_frames += 1
        most_bytes = 2 * self._limits.max_head_bytes
        if self._block_bytes > most_bytes or self._block_frames > 8 + most_bytes // MAX_FRAME_BYTES:
            raise _calm("a field block without an end (VU#421644)")
        if flags & _END_HEADERS:
            self._block_stream_id = 0

    def _judge_data(self, flags: int, stream_id: int, position: int, length: int) -> None:
        if stream_id not in self._streams:
            if not stream_id or stream_id > self.last_stream_id:
                raise HTTP2Error("RFC 9113 section 5.1: DATA on an idle stream")
            self._judge_closed(stream_id)
            if length < _SMALL_DATA_BYTES:
                self._count_empty()
        elif not flags & _END_STREAM and (length == 0 or (flags & _PADDED and self._input[position] + 1 >= length)):
            self._count_empty()

    def _judge_update(self, position: int, length: int) -> None:
        """Count credit beyond what was sent, and credit in crumbs."""
        if length == 4:
            increment = _word.unpack_from(self._input, position)[0] & 0x7FFFFFFF
            if _CRUMB_BYTES <= increment <= self._owed_bytes:
                self._owed_bytes -= increment
                return
        self._updates_left -= 1
        if self._updates_left < 0:
            raise _calm("too many WINDOW_UPDATEs (CVE-2019-9511)")

    def _judge_closed(self, stream_id: int) -> None:
        """HEADERS or DATA on a stream that is not open (any more)."""
        if self.was_reset(stream_id):
            return
        if any(low < stream_id < high for low, high in self._gaps):
            raise HTTP2Error("RFC 9113 section 5.1.1: a stream identifier that was passed over")
        raise HTTP2Error("RFC 9113 section 5.1: a frame on a closed stream", ErrorCode.STREAM_CLOSED)

    def _judge_settings(self, flags: int, position: int, length: int) -> None:
        if flags & _ACK:
            if length:
                raise HTTP2Error("RFC 9113 section 6.5: an acknowledgement with settings", ErrorCode.FRAME_SIZE_ERROR)
            self._count_empty()
            return
        self._settings_left -= 1
        if self._settings_left < 0 or length > 6 * _SETTINGS_ENTRIES_COUNT:
            raise _calm("too many SETTINGS (CVE-2019-9515)")
        for start in range(position, position + length - 5, 6):
            name, value = _setting.unpack_from(self._input, start)
            if name == 0x9 and value > 1:
                raise HTTP2Error("RFC 9218 section 2.1: SETTINGS_NO_RFC7540_PRIORITIES is 0 or 1")
            if name == 0x4 and value >= _WIDE_BYTES:
                self._has_wide = True

    def _judge_goaway(self, stream_id: int, length: int) -> None:
        if stream_id:
            raise HTTP2Error("RFC 9113 section 6.8: GOAWAY is of the connection")
        if length < 8:
            raise HTTP2Error("RFC 9113 section 6.8: GOAWAY of a wrong size", ErrorCode.FRAME_SIZE_ERROR)
        self._count_empty()

    def _judge_other(self, kind: int, stream_id: int, position: int, length: int) -> None:
        if kind == _PRIORITY:
            if not stream_id:
                raise HTTP2Error("RFC 9113 section 6.3: PRIORITY without a stream")
            if length != 5:
                raise HTTP2Error("RFC 9113 section 6.3: PRIORITY of a wrong size", ErrorCode.FRAME_SIZE_ERROR)
            self._judge_dependency(stream_id, position)
        elif kind == _PRIORITY_UPDATE:
            self._judge_priority_update(stream_id, position, length)
        self._count_empty()

    def _judge_priority_update(self, stream_id: int, position: int, length: int) -> None:
        """RFC 9218 section 7.1."""
        if length < 4:
            raise HTTP2Error("RFC 9218 section 7.1: PRIORITY_UPDATE of a wrong size", ErrorCode.FRAME_SIZE_ERROR)
        if stream_id or not _word.unpack_from(self._input, position)[0] & 0x7FFFFFFF:
            raise HTTP2Error("RFC 9218 section 7.1: PRIORITY_UPDATE is of the connection, and names a stream")

    def _judge_dependency(self, stream_id: int, position: int) -> None:
        """RFC 7540 section 5.3.1, since clients may still send it: nothing depends on itself."""
        if position + 4 <= len(self._input) and _word.unpack_from(self._input, position)[0] & 0x7FFFFFFF == stream_id:
            raise HTTP2Error("RFC 7540 section 5.3.1: a stream depends on itself")

    def _count_empty(self) -> None:
        self._empty_left -= 1
        if self._empty_left < 0:
            raise _calm("too many frames that do nothing (CVE-2019-9518)")

    def _refill(self, now_s: float) -> None:
        limits = self._limits
        self._counted_since_s = now_s
        self._resets_left = limits.max_resets_count
        self._settings_left = limits.max_settings_count
        self._pings_left = limits.max_pings_count
        self._empty_left = limits.max_empty_count
        self._updates_left = max(self._updates_left, limits.max_updates_count)


def _calm(message: str) -> HTTP2Error:
    return HTTP2Error(f"RFC 9113 section 10.5: {message}", ErrorCode.ENHANCE_YOUR_CALM)

"""HTTP/1.0 and 1.1, the server side of one connection (RFC 9112): the order of requests and responses, and content.

Heads are read by :class:`~fullduplex.wire.http1_head.HeadReader`, responses written by
:class:`~fullduplex.wire.http1_writer.HTTP1Writer`.
"""

from __future__ import annotations

import enum
import re
from typing import Final

from fullduplex.exceptions import IncompleteRequest, RemoteProtocolError
from fullduplex.limits import HTTP1Limits
from fullduplex.wire.chunked import ChunkedReader
from fullduplex.wire.events import ConnectionEnded, Data, EndOfMessage, Event, Fields, PrefaceReceived, ProtocolFailed
from fullduplex.wire.http1_head import HeadReader
from fullduplex.wire.http1_writer import NO_DEFAULTS, DefaultFields, HTTP1Writer, Response


class Request(enum.Enum):
    """How far the request has come."""

    HEAD = enum.auto()  # a head is awaited or arriving
    LENGTH = enum.auto()  # content with a Content-Length is arriving
    CHUNKED = enum.auto()
    COMPLETE = enum.auto()  # further input is held back until the response is complete
    ENDED = enum.auto()  # no further input is taken


# Bound once: looking up a member of an enum costs more than the comparison.
_HEAD: Final = Request.HEAD
_LENGTH: Final = Request.LENGTH
_CHUNKED: Final = Request.CHUNKED
_COMPLETE: Final = Request.COMPLETE
_ENDED: Final = Request.ENDED
_RESPONSE_IDLE: Final = Response.IDLE
_RESPONSE_READY: Final = Response.READY
_RESPONSE_DONE: Final = Response.DONE

#: So HTTP/2 begins (RFC 9113 section 3.4); or so it may have been meant: of a line with neither a target (RFC 9112
#: section 3.2) nor a version of HTTP/1, it is as HTTP/2 that the fault is told, where that is spoken.
_PREFACE_LINE = re.compile(rb"(?:PRI \* HTTP/2\.0|[!-.0-~]+ [!-)+-.0-9;-~]+ (?!(?i:HTTP))[!-~]+)\r\n")


class HTTP1Codec(HTTP1Writer):
    """Server side of one HTTP/1 connection; see :class:`~fullduplex.wire.codec.Codec`.

    One request is handed out at a time. Input after it is held back until its response is complete;
    then ``receive_data(b"", now_s)`` hands out the next one.

    When a response ends before the content of its request has been read, up to
    ``limits.max_drain_bytes`` of it are discarded; with more to come, the connection must close.

    After :class:`ProtocolFailed` a response may be sent, unless one is already on its way, and then the
    connection must close. An end of input inside a request is ``ProtocolFailed`` (RFC 9112 section 8:
    an incomplete message is no message), between requests ``ConnectionEnded``.

    Args:
        limits: bounds and deadlines.
        now_s: the time at which the connection was made.
        defaults: fields of all responses.
    """

    __slots__ = (
        "_chunks",
        "_content_left_bytes",
        "_deadline_s",
        "_drain_left_bytes",
        "_empty_line_skipped",
        "_eof",
        "_head_started",
        "_heads",
        "_idle_timeout_s",
        "_input",
        "_limits",
        "_position",
        "_request",
    )

    def __init__(self, limits: HTTP1Limits, *, now_s: float, defaults: DefaultFields = NO_DEFAULTS) -> None:
        super().__init__(defaults)
        self._limits = limits
        self._request = _HEAD
        self._input = b""  # what was received and not used yet begins at _position
        self._position = 0
        self._eof = False
        self._deadline_s: float | None = now_s + limits.first_byte_timeout_s
        self._head_started = False
        self._empty_line_skipped = False
        self._content_left_bytes = 0
        self._drain_left_bytes = 0
        self._chunks: ChunkedReader | None = None
        self._heads = HeadReader(limits)
        self._idle_timeout_s = limits.keepalive_timeout_s

    # What the connection asks ----------------------------------------------------------------

    @property
    def keep_alive(self) -> bool:
        """Whether the connection may live on after this response; ask when the response is complete."""
        request = self._request
        if not self._persistent or request is _ENDED or (self._eof and self._position == len(self._input)):
            return False
        return request is not _LENGTH or self._content_left_bytes <= self._drain_left_bytes

    @property
    def request_complete(self) -> bool:
        """Whether the request in progress has arrived whole, or none is in progress."""
        return self._request is _COMPLETE or self._request is _HEAD

    @property
    def wants_data(self) -> bool:
        """Whether more input is of use now.

        False once the next request's head (or as many bytes as a head may have) is held back, and
        when the protocol has failed. Bounded by one read more than ``limits.max_head_bytes``.
        """
        if self._request is not _COMPLETE:
            return self._request is not _ENDED
        held_bytes = len(self._input) - self._position
        return not held_bytes or (
            held_bytes < self._limits.max_head_bytes and self._input.find(b"\r\n\r\n", self._position) < 0
        )

    @property
    def holds_data(self) -> bool:
        """Whether input has come behind the request in progress."""
        return self._position < len(self._input)

    @property
    def holds_chunks(self) -> bool:
        """Whether ``receive_data(b"", now_s)`` goes on with content that has come: a call takes only so many chunks."""
        return self._request is _CHUNKED and self._chunks is not None and self._chunks.holds_more

    @property
    def buffered_bytes(self) -> int:
        """Input that waits: a part of a head, or what came behind the request in progress."""
        return len(self._input) - self._position

    def trailing_data(self) -> bytes:
        """Return and forget the input after the request; after 101 it belongs to the new protocol."""
        data = self._input[self._position :]
        self._input = b""
        self._position = 0
        return data

    def next_deadline_s(self) -> float | None:
        """The time at which ``receive_data(b"", now_s)`` must be called; None while a request is in progress."""
        return self._deadline_s

    def drain(self, now_s: float, grace_s: float) -> None:
        """From here on responses end the connection and say so, also one in progress whose head is still to come.

        A client without a request has ``grace_s`` to begin one. Where the head in progress has gone out without a word
        of closing, the client may count on one more request, and has it (RFC 9112 section 9.6).
        """
        self._closing = True
        self._idle_timeout_s = min(self._idle_timeout_s, grace_s)
        if self._response is Response.READY or self._response is Response.HELD:
            self._persistent = False
        if self._request is _HEAD and self._deadline_s is not None and not self._head_started:
            self._deadline_s = min(self._deadline_s, now_s + grace_s)

    # Input -----------------------------------------------------------------------------------

    def receive_data(self, data: bytes, now_s: float) -> list[Event]:
        """Take bytes from the client, or let time pass; return what they mean."""
        if not self._input:
            if self._is_due():  # fused for speed: what _advance() does when the head is like the one before
                head = self._heads.read_repeated(data)
                if head is not None:
                    self._begin_request(head.method)
                    return [head]
            self._input = data
        elif data:
            self._input = self._input[self._position :] + data
            self._position = 0
        events: list[Event] = []
        try:
            self._advance(events, now_s)
        except RemoteProtocolError as exc:
            if exc.status_hint in (400, 505) and self._heads.is_first and _PREFACE_LINE.match(self._input):
                begun = self._input
                self._fail(exc, events)
                events[-1] = PrefaceReceived(exc, begun)
            else:
                self._fail(exc, events)
        if self._position == len(self._input):  # do not keep a large read alive
            self._input = b""
            self._position = 0
        return events

    def receive_eof(self) -> list[Event]:
        """Take note that the client sends no more."""
        self._eof = True
        events: list[Event] = []
        self._check_eof(events)
        return events

    def _advance(self, events: list[Event], now_s: float) -> None:
        """Go on reading as far as the input and the order of requests and responses allow."""
        while True:
            if self._is_due():
                if not self._read_head(events):
                    self._wait_for_head(events, now_s)
                    return
                if self._request is _COMPLETE:
                    return
            elif self._request is _COMPLETE:
                return
            elif self._request is _ENDED:
                self.trailing_data()
                return
            elif not self._read_content(events, now_s):
                return

    def _is_due(self) -> bool:
        """Whether the next request may be handed out: none is in progress, or the one before has its answer."""
        if self._request is _COMPLETE and self._response is _RESPONSE_DONE and self._persistent:
            self._request = _HEAD
            self._response = _RESPONSE_IDLE
            self._upgrade_offered = False
        return self._request is _HEAD

    def _wait_for_head(self, events: list[Event], now_s: float) -> None:
        """Keep the deadline of an idle connection or of an incomplete head."""
        limits = self._limits
        if self._position < len(self._input):
            if not self._head_started:
                self._head_started = True
                self._deadline_s = now_s + limits.head_timeout_s
        elif self._deadline_s is None:
            self._deadline_s = now_s + self._idle_timeout_s
        if self._eof:
            self._check_eof(events)
        elif self._deadline_s is not None and now_s >= self._deadline_s:
            if self._head_started:
                raise RemoteProtocolError("RFC 9110 section 15.5.9: the request took too long", status_hint=408)
            self._end(events)

    def _check_eof(self, events: list[Event]) -> None:
        request = self._request
        answered = request is _COMPLETE and self._response is _RESPONSE_DONE
        if (request is _HEAD or answered) and not self.holds_data:
            self._end(events)
        elif request is _HEAD or request is _LENGTH or request is _CHUNKED:
            self._fail(IncompleteRequest("RFC 9112 section 8: the request is incomplete"), events)

    def _fail(self, error: RemoteProtocolError, events: list[Event]) -> None:
        """Stop reading and say why, unless the response to this request is complete: then nobody could be told."""
        if self._response is _RESPONSE_DONE:
            self._end(events)
            return
        self._stop_reading()
        if self._response is _RESPONSE_IDLE:
            self._response = _RESPONSE_READY
            self._is_head_request = False
            self._is_http10 = False
        events.append(ProtocolFailed(error))

    def _end(self, events: list[Event]) -> None:
        self._stop_reading()
        events.append(ConnectionEnded())

    def _stop_reading(self) -> None:
        self._request = _ENDED
        self._persistent = False
        self._deadline_s = None
        self.trailing_data()

    # Heads -----------------------------------------------------------------------------------

    def _read_head(self, events: list[Event]) -> bool:
        """Read one head, if it is there."""
        data = self._input
        start = self._position
        if start == len(data):
            return False
        if not self._empty_line_skipped and data.startswith(b"\r\n", start):
            # One, as after the content of very old clients (RFC 9112 section 2.2).
            self._empty_line_skipped = True
            self._position = start = start + 2
        end = data.find(b"\r\n\r\n", start) + 4
        if end < 4 or end - start > self._limits.max_head_bytes:
            self._heads.check_partial(data[start:])
            return False
        head = self._heads.read(data[start:end])
        self._position = end
        self._begin_request(head.method)
        events.append(head)
        return True

    def _begin_request(self, method: str) -> None:
        framing = self._heads.framing
        self._deadline_s = None
        self._head_started = False
        self._empty_line_skipped = False
        self._response = _RESPONSE_READY
        self._is_head_request = method == "HEAD"
        self._is_http10 = framing.is_http10
        self._persistent = framing.persistent and not self._closing
        self._continue_pending = framing.expect_continue
        if not framing.has_content:
            self._request = _COMPLETE
            self._upgrade_offered = framing.upgrade is not None
            return
        self._drain_left_bytes = self._limits.max_drain_bytes
        if framing.chunked:
            self._request = _CHUNKED
            self._chunks = ChunkedReader(self._limits)
        else:
            self._request = _LENGTH
            self._content_left_bytes = framing.length

    # Content ---------------------------------------------------------------------------------

    def _read_content(self, events: list[Event], now_s: float) -> bool:
        """Hand out what has come of the content, or discard it after an early response. True when complete."""
        draining = self._response is _RESPONSE_DONE
        if draining and not self.keep_alive:
            self._stop_reading()
            return False
        pieces: list[bytes] = []
        try:
            if self._request is _LENGTH:
                trailers = self._read_sized(pieces)
            else:
                trailers = self._read_chunks(pieces)
        finally:
            if pieces:
                self._continue_pending = False
                if not draining:
                    events.append(Data(pieces[0] if len(pieces) == 1 else b"".join(pieces)))
        if draining:
            self._wait_for_drain(events, now_s, sum(map(len, pieces)), complete=trailers is not None)
        if trailers is None:
            return False
        self._request = _COMPLETE
        self._upgrade_offered = self._heads.framing.upgrade is not None
        if not draining:
            events.append(EndOfMessage(trailers))
        return True

    def _read_sized(self, pieces: list[bytes]) -> Fields | None:
        piece = self._input[self._position : self._position + self._content_left_bytes]
        if piece:
            pieces.append(piece)
            self._position += len(piece)
            self._content_left_bytes -= len(piece)
        return None if self._content_left_bytes else []

    def _read_chunks(self, pieces: list[bytes]) -> Fields | None:
        assert self._chunks is not None
        self._position = self._chunks.read(self._input, self._position, pieces)
        return self._chunks.trailers

    def _wait_for_drain(self, events: list[Event], now_s: float, drained_bytes: int, *, complete: bool) -> None:
        """Bound what is discarded, in bytes and in time."""
        self._drain_left_bytes -= drained_bytes
        if self._deadline_s is None:
            self._deadline_s = now_s + self._limits.drain_timeout_s
        if complete:
            self._deadline_s = None
        elif self._drain_left_bytes < 0 or now_s >= self._deadline_s:
            self._end(events)

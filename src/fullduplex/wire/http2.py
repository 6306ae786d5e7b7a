"""HTTP/2, the server side of one connection (RFC 9113, RFC 8441): what is the same whichever library frames.

:class:`HTTP2Codec` has the rules: which requests are in order, how content is counted, how long anything may take.
Responses are written by :class:`~fullduplex.wire.http2_writer.HTTP2Writer`, and input passes
:class:`~fullduplex.wire.http2_gate.FrameGate` first. A subclass for each library moves frames:
:mod:`fullduplex.wire.http2_ngh2` and :mod:`fullduplex.wire.http2_h2`.
"""

from __future__ import annotations

from fullduplex.exceptions import RemoteProtocolError
from fullduplex.limits import HTTP2Limits
from fullduplex.wire.events import (
    ConnectionEnded,
    Data,
    EndOfMessage,
    Event,
    Fields,
    ProtocolFailed,
    StreamEnded,
    StreamReset,
)
from fullduplex.wire.http1_writer import NO_DEFAULTS, DefaultFields
from fullduplex.wire.http2_errors import ErrorCode, HTTP2Error
from fullduplex.wire.http2_gate import FrameGate
from fullduplex.wire.http2_head import HeadReader, LibraryFields, read_trailers
from fullduplex.wire.http2_state import Response, Stream
from fullduplex.wire.http2_writer import HTTP2Writer

_READY, _BODY, _HELD, _DONE = Response


class HTTP2Codec(HTTP2Writer):
    """See :class:`~fullduplex.wire.codec.Codec`; events and what is sent name their streams.

    Every stream that was handed out ends with one :class:`StreamEnded` or :class:`StreamReset`. A request that is
    malformed is reset (RFC 9113 section 8.1.1); one that is in order and cannot be served is :class:`ProtocolFailed`
    with its stream, which may then be answered. :class:`ProtocolFailed` without a stream ends the connection: its
    GOAWAY is queued.

    Sending may end streams, too: ask :meth:`late_events` after :meth:`data_to_send`.

    Args:
        limits: bounds and deadlines.
        now_s: the time at which the connection was made.
        defaults: fields of all responses.

    Attributes:
        has_ended: nothing more is read; what is queued may still be fetched.
    """

    __slots__ = (
        "_gate",
        "_heads",
        "_late",
        "_limits",
        "_now_s",
        "_pieces",
        "_pieces_id",
        "_resets",
        "_waiting_since_s",
        "has_ended",
    )

    #: Which library it is, for logs and tests.
    library = ""

    def __init__(self, limits: HTTP2Limits, *, now_s: float, defaults: DefaultFields = NO_DEFAULTS) -> None:
        super().__init__(defaults)
        self._limits = limits
        self._gate = FrameGate(limits, self._streams, self._window_of)
        self._sent = self._gate.sent
        self._heads = HeadReader(limits)
        self._now_s = now_s
        self._waiting_since_s: float | None = now_s  # for a preface, a head or anything at all
        self.has_ended = False
        self._late: list[Event] = []
        self._resets: set[int] = set()  # streams to be reset once all that was sent on them has left
        self._pieces: list[bytes] = []  # of content that came in several frames
        self._pieces_id = 0

    # What the connection asks ----------------------------------------------------------------

    @property
    def streams_count(self) -> int:
        """Streams that are open."""
        return len(self._streams)

    @property
    def last_stream_id(self) -> int:
        return self._gate.last_stream_id

    @property
    def buffered_bytes(self) -> int:
        """Input that waits for the rest of its frame, and content that waits for a window of the client's."""
        return self._gate.held_bytes + self.queued_bytes()

    def next_deadline_s(self) -> float | None:
        """The time at which ``receive_data(b"", now_s)`` must be called."""
        if self.has_ended:
            return None
        limits = self._limits
        deadlines = []
        if self._waiting_since_s is not None:
            is_waiting = self._gate.is_waiting
            deadlines.append(self._waiting_since_s + (limits.head_timeout_s if is_waiting else limits.idle_timeout_s))
        for stream_id in self._held:
            since_s = self._streams[stream_id].held_since_s
            deadlines.append(self._now_s if since_s is None else since_s + limits.drain_timeout_s)
        return min(deadlines, default=None)

    # Input -----------------------------------------------------------------------------------

    def receive_data(self, data: bytes, now_s: float) -> list[Event]:
        """Take bytes from the client, or let time pass; return what they mean."""
        self._now_s = now_s
        events = self.late_events()
        if self.has_ended:
            return events
        try:
            if data:
                gate = self._gate
                gate.add(data, now_s)
                while True:
                    frames, error = gate.take()
                    if frames:
                        try:
                            self._feed(frames, events)
                        finally:
                            if self._pieces:
                                self._flush_pieces(events)
                    if gate.faulty is not None:
                        self._reject_faulty(*gate.faulty, events)
                    if error is not None:
                        raise error
                    if not gate.has_more:
                        break
            if self._held:
                self._check_held(events)
            self._check_waiting(events)
        except HTTP2Error as error:
            self._fail(error, events)
        return events

    def receive_eof(self) -> list[Event]:
        """Take note that the client sends no more: requests without their ends are reset, the others are answered."""
        events = self.late_events()
        if not self.has_ended:
            for stream_id, stream in [*self._streams.items()]:
                if not stream.is_complete:
                    del self._streams[stream_id]
                    events.append(StreamReset(ErrorCode.CANCEL, stream_id))
            if not self._streams:
                self._end(events)
        return events

    def late_events(self) -> list[Event]:
        """Return and forget what became of streams while something was sent."""
        events, self._late = self._late, []
        return events

    def _check_waiting(self, events: list[Event]) -> None:
        """Keep the deadline of a connection that is idle, or of a head that has begun."""
        limits = self._limits
        since_s = self._waiting_since_s
        if self._gate.is_waiting:
            if since_s is None:
                self._waiting_since_s = self._now_s
            elif self._now_s - since_s >= limits.head_timeout_s:
                if self._gate.is_in_preface:
                    self._end(events)
                else:
                    raise HTTP2Error("a field block took too long", ErrorCode.ENHANCE_YOUR_CALM)
        elif self._streams:
            self._waiting_since_s = None
        elif since_s is None:
            self._waiting_since_s = self._now_s
        elif self._now_s - since_s >= limits.idle_timeout_s:
            self._end(events)

    def _check_held(self, events: list[Event]) -> None:
        """Wait no longer for the ends of requests that were answered early than the limits say."""
        limits = self._limits
        for stream_id in [*self._held]:
            stream = self._streams[stream_id]
            if stream.held_since_s is None:
                stream.held_since_s = self._now_s
            if (
                stream.discarded_bytes > limits.max_drain_bytes
                or self._now_s - stream.held_since_s >= limits.drain_timeout_s
            ):
                self._resets.add(stream_id)
                if stream.response is _HELD:
                    self._release(stream_id, stream)
                self._held.discard(stream_id)

    def _fail(self, error: HTTP2Error, events: list[Event]) -> None:
        """The connection cannot go on."""
        self.has_ended = True
        self._submit_goaway(error.error_code, final=True)
        events.append(ProtocolFailed(error))

    def _end(self, events: list[Event]) -> None:
        self.go_away()
        events.append(ConnectionEnded())

    # What the library has read, to be called by its subclass ---------------------------------

    def _on_request(self, stream_id: int, fields: LibraryFields, end_stream: bool, events: list[Event]) -> None:
        if self._pieces:
            self._flush_pieces(events)
        if len(self._streams) >= self._limits.max_streams_count:  # the gate has counted it
            self._forget(stream_id)
            self._submit_reset(stream_id, ErrorCode.REFUSED_STREAM)
            return
        heads = self._heads
        try:
            head = heads.read(fields, stream_id, end_stream)
        except HTTP2Error as error:
            self._reject(stream_id, error)
        except RemoteProtocolError as error:
            is_tunnel = (b":method", b"CONNECT") in fields  # and its content nothing that an answer waits for
            self._streams[stream_id] = Stream(heads.length, end_stream, (b":method", b"HEAD") in fields, is_tunnel)
            events.append(ProtocolFailed(error, stream_id))
        else:
            is_tunnel = head.upgrade is not None
            length = -1 if is_tunnel else heads.length
            self._streams[stream_id] = Stream(length, end_stream, head.method == "HEAD", is_tunnel)
            events.append(head)

    def _on_data(self, stream_id: int, data: bytes, end_stream: bool, events: list[Event]) -> None:
        stream = self._streams.get(stream_id)
        if stream is None or stream.is_complete:  # reset by us while it was on its way
            self.acknowledge(stream_id, len(data))
            return
        if stream.content_left_bytes >= 0:
            stream.content_left_bytes -= len(data)
            if stream.content_left_bytes < 0 or (end_stream and stream.content_left_bytes):
                self.acknowledge(stream_id, len(data))
                self._reject(stream_id, HTTP2Error("RFC 9113 section 8.1.1: content of another length than announced"))
                events.append(StreamReset(ErrorCode.PROTOCOL_ERROR, stream_id))
                return
        if stream.response is _HELD or stream.response is _DONE:
            stream.discarded_bytes += len(data)
            self.acknowledge(stream_id, len(data))
        elif data:
            if self._pieces_id != stream_id and self._pieces:
                self._flush_pieces(events)
            self._pieces_id = stream_id
            self._pieces.append(data)
        if end_stream:
            self._on_end(stream_id, stream, [], events)

    def _on_trailers(self, stream_id: int, fields: LibraryFields, end_stream: bool, events: list[Event]) -> None:
        stream = self._streams.get(stream_id)
        if stream is None or stream.is_complete:
            return
        try:
            if not end_stream:
                raise HTTP2Error("RFC 9113 section 8.1: trailers without an end")
            if stream.content_left_bytes > 0:
                raise HTTP2Error("RFC 9113 section 8.1.1: less content than the Content-Length")
            trailers = read_trailers(fields, self._limits)
        except HTTP2Error as error:
            self._reject(stream_id, error)
            events.append(StreamReset(ErrorCode.PROTOCOL_ERROR, stream_id))
        else:
            self._on_end(stream_id, stream, trailers, events)

    def _on_end(self, stream_id: int, stream: Stream, trailers: Fields, events: list[Event]) -> None:
        if self._pieces:
            self._flush_pieces(events)
        stream.is_complete = True
        if stream.response is _HELD:
            self._release(stream_id, stream)
        elif stream.response is not _DONE:
            events.append(EndOfMessage(trailers, stream_id))

    def _on_reset(self, stream_id: int, error_code: int, events: list[Event]) -> None:
        """The client gave a stream up, or the library did for a fault of the client's."""
        if self._pieces:
            self._flush_pieces(events)
        if self._streams.pop(stream_id, None) is not None:
            self._held.discard(stream_id)
            self._resets.discard(stream_id)
            events.append(StreamReset(error_code, stream_id))

    def _on_closed(self, stream_id: int, events: list[Event]) -> None:
        """All of a stream has come and has been sent."""
        if self._streams.pop(stream_id, None) is not None:
            if self._held or self._resets:
                self._held.discard(stream_id)
                self._resets.discard(stream_id)
            events.append(StreamEnded(stream_id))

    def _reject(self, stream_id: int, error: HTTP2Error) -> None:
        """Reset a stream whose request is malformed."""
        self._forget(stream_id)
        self._submit_reset(stream_id, error.error_code)
        self._gate.count_reset()

    def _reject_faulty(self, stream_id: int, error: HTTP2Error, events: list[Event]) -> None:
        """Reset a stream that the gate has found a fault of."""
        self._gate.faulty = None
        events.append(StreamReset(error.error_code, stream_id))
        self._reject(stream_id, error)

    def _forget(self, stream_id: int) -> None:
        """A stream is reset by us: what still comes of it is read over."""
        self._streams.pop(stream_id, None)
        self._held.discard(stream_id)
        self._resets.discard(stream_id)
        self._gate.remember_reset(stream_id)
        if self._pieces and self._pieces_id == stream_id:
            for piece in self._pieces:
                self.acknowledge(stream_id, len(piece))
            self._pieces.clear()

    def _flush_pieces(self, events: list[Event]) -> None:
        pieces, self._pieces = self._pieces, []
        events.append(Data(pieces[0] if len(pieces) == 1 else b"".join(pieces), False, self._pieces_id))

    # Output ----------------------------------------------------------------------------------

    def acknowledge(self, stream_id: int, size_bytes: int) -> None:
        """Give credit for content that was taken, or thrown away."""
        if size_bytes and not self.has_ended:
            self._submit_credit(stream_id, size_bytes)

    def reset(self, stream_id: int, error_code: int) -> None:
        """Give up a stream that is open; what is queued of it is lost. No event comes of it."""
        if stream_id in self._streams:
            self._forget(stream_id)
            if not self.has_ended:
                self._submit_reset(stream_id, error_code)

    def announce_end(self) -> None:
        """Ask the client for no further streams; those that come all the same are answered."""
        if not self.has_ended:
            self._submit_goaway(ErrorCode.NO_ERROR, final=False)

    def go_away(self, error_code: int = ErrorCode.NO_ERROR) -> None:
        """End the connection, which has no streams; or some, that are lost."""
        if not self.has_ended:
            self.has_ended = True
            self._submit_goaway(error_code, final=True)

    def abandon(self) -> None:
        """The connection is dropped: hold nothing any more."""
        self.has_ended = True
        self._gate.clear()
        self._abandon()

    def data_to_send(self, most_bytes: int | None = None) -> bytes:
        """Return and forget bytes queued for the client: so many, or all; what has no window stays."""
        data = self._fetch(most_bytes)
        if self._resets and (most_bytes is None or len(data) < most_bytes):
            for stream_id in [*self._resets]:
                if not self.queued_bytes(stream_id):
                    self._forget(stream_id)
                    self._submit_reset(stream_id, ErrorCode.NO_ERROR)
                    self._late.append(StreamEnded(stream_id))
            data += self._fetch(None if most_bytes is None else most_bytes - len(data))
        return data

    # What a subclass does with its library ---------------------------------------------------

    def queued_bytes(self, stream_id: int | None = None) -> int:
        """Content that waits to be fetched, of one stream or of all."""
        raise NotImplementedError

    def _window_of(self, stream_id: int) -> int:
        """What the client lets us send on a stream that is open, of all windows but that of the connection."""
        raise NotImplementedError

    def _feed(self, frames: bytes, events: list[Event]) -> None:
        """Let the library read whole frames, and tell what it read by the ``_on_`` methods.

        Raises:
            HTTP2Error: the connection has failed.
        """
        raise NotImplementedError

    def _fetch(self, most_bytes: int | None) -> bytes:
        """Bytes for the client. What ends by that is told by ``_on_closed`` and ``_on_reset`` into ``_late``."""
        raise NotImplementedError

    def _submit_reset(self, stream_id: int, error_code: int) -> None:
        raise NotImplementedError

    def _submit_credit(self, stream_id: int, size_bytes: int) -> None:
        raise NotImplementedError

    def _abandon(self) -> None:
        """Let go of what is queued."""
        raise NotImplementedError

    def _submit_goaway(self, error_code: int, *, final: bool) -> None:
        """Queue a GOAWAY: the last one, or one that announces it (RFC 9113 section 6.8)."""
        raise NotImplementedError

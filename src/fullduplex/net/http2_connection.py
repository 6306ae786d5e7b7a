"""One client connection that speaks HTTP/2: bytes to and from the transport, events to and from its streams.

::

    transport ── data_received ──> codec ── events ──> HTTP2Stream ──> Handler (gateway)
    transport <──── flush ──────── codec <── send ─────────┘

Nothing that a stream does keeps another waiting: what a client may send is bounded for each (credit goes back as its
application takes content), and so is what waits for it. Reading never pauses, since credit for us may be in what comes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from fullduplex.limits import ConnectionLimits
from fullduplex.log_lines import address, escape_line
from fullduplex.net.flow import WriteFlow
from fullduplex.net.http2_stream import HTTP2Stream
from fullduplex.net.stream import Address, ClientConnection, Gateway
from fullduplex.wire.events import (
    ConnectionEnded,
    Data,
    EndOfMessage,
    Event,
    ProtocolFailed,
    RequestHead,
    StreamEnded,
    StreamReset,
)
from fullduplex.wire.http2 import HTTP2Codec

logger = logging.getLogger("fullduplex.server")

WRITE_BYTES = 81_920  # fetched for one write: 64 KiB of content go with their head and frames
TURN_BYTES = 1_048_576  # written before others have the loop
QUIET_S = 0.25  # without a request before GOAWAY: who has read the last answer has asked by then, if it will


class HTTP2Connection(asyncio.Protocol):
    """An accepted connection that speaks HTTP/2.

    Args:
        gateway: answers the requests.
        limits: byte bounds and deadlines.
        codec: protocol state, made for this connection.
        connections: the worker's set of open connections; this one adds and removes itself.
        loop: the loop that runs it.

    Attributes:
        is_closing: whether nothing that is written now would reach the client.
        writes: what is queued is going to be written, at the end of this turn of the loop or sooner.
    """

    __slots__ = (
        "_close_deadline_s",
        "_connections",
        "_discarding",
        "_drain_deadline_s",
        "_draining",
        "_flow",
        "_full",
        "_gateway",
        "_grace_s",
        "_half_close",
        "_is_dropped",
        "_quiet_s",
        "_quiet_since_s",
        "_streams",
        "client",
        "codec",
        "is_closing",
        "leave",
        "limits",
        "loop",
        "scheme",
        "server",
        "tls",
        "transport",
        "writes",
    )

    def __init__(
        self,
        gateway: Gateway,
        limits: ConnectionLimits,
        codec: HTTP2Codec,
        connections: set[ClientConnection],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._gateway = gateway
        self.limits = limits
        self.codec = codec
        self._connections = connections
        self.loop = loop
        self.client: Address | None = None
        self.server: Address | None = None
        self.scheme = "http"
        self.tls: dict[str, Any] | None = None
        self.leave: Callable[[], None] | None = None  # gives its seat up
        self._streams: dict[int, HTTP2Stream] = {}
        self._full: set[HTTP2Stream] = set()  # those that wait for room
        self.writes = False
        self._discarding = False
        self._is_dropped = False
        self._draining = False
        self._drain_deadline_s: float | None = None
        self._half_close: asyncio.TimerHandle | None = None
        self._grace_s = 0.0
        self._quiet_s = 0.0
        self._quiet_since_s: float | None = None  # of a connection that drains, and has no streams any more
        self._close_deadline_s: float | None = None

    def begin(self, transport: asyncio.Transport, data: bytes) -> None:
        """Go on with a connection that was made, and with what has come of it.

        Its addresses and what is known of TLS have been set.
        """
        self.transport = transport
        self.is_closing: Callable[[], bool] = transport.is_closing  # its own: this is asked for every message
        self._flow = WriteFlow(transport, self.limits)
        self._connections.add(self)
        transport.set_protocol(self)
        if data:
            self.data_received(data)
        self.flush()

    def refuse(self, error_code: int) -> None:
        """Say why there will be nothing, and close."""
        self.codec.go_away(error_code)
        self.flush()
        self._lose_streams()
        self.close_lingering()

    # asyncio.Protocol ------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if not self._discarding and not self.transport.is_closing():
            self._dispatch(self.codec.receive_data(data, self.loop.time()))

    def eof_received(self) -> bool:
        """Answer the requests that are complete, as over HTTP/1."""
        if self._discarding:
            return False
        self._dispatch(self.codec.receive_eof())
        if not self._streams or self.scheme == "https" or self.transport.is_closing():
            return False
        self._half_close = self.loop.call_later(self.limits.half_close_grace_s, self.transport.abort)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if self._half_close is not None:
            self._half_close.cancel()
        leave, self.leave = self.leave, None
        if leave is not None:
            leave()
        self._connections.discard(self)
        self._flow.connection_lost()
        self._lose_streams()

    def pause_writing(self) -> None:
        self._flow.pause(self.loop.time())

    def resume_writing(self) -> None:
        self._flow.resume()
        self.flush()

    # For the streams -------------------------------------------------------------------------

    @property
    def is_stuck(self) -> bool:
        """Whether the client takes nothing of what was written."""
        return self._flow.paused

    def get_write_buffer_size(self) -> int:
        """Bytes that were written, and that the client has not taken."""
        return self.transport.get_write_buffer_size()

    def write_soon(self) -> None:
        """Something is queued: write it at the end of this turn of the loop, with what else there will be."""
        if not self.writes:
            self.writes = True
            self.loop.call_soon(self._write)

    def _write(self) -> None:
        self.writes = False
        self.flush()

    def wait_for_room(self, stream: HTTP2Stream, size_bytes: int) -> None:
        """So much more waits: call ``stream.check_room()`` whenever something has been written."""
        self._full.add(stream)
        self._gateway.note_queued(size_bytes)

    def flush(self) -> None:
        """Write what is queued, as far as the client takes it."""
        codec = self.codec
        transport = self.transport
        written_bytes = 0
        while not self._flow.paused and not transport.is_closing():
            if written_bytes >= TURN_BYTES:
                self.write_soon()
                break
            data = codec.data_to_send(WRITE_BYTES)
            if not data:
                break
            try:
                transport.write(data)
            except BaseException:  # what was fetched is lost, and with it what all behind it refers to
                transport.abort()
                raise
            if len(data) < WRITE_BYTES:  # that was all
                break
            written_bytes += len(data)
        late = codec.late_events()
        if late:
            self._handle(late)
        if self._full:
            full, self._full = self._full, set()
            for stream in full:
                if not stream.check_room():  # which may write, and so fill the stream again
                    self._full.add(stream)
        if not self._streams:
            if self._half_close is not None:
                self._say_goodbye()
            elif self._draining and self._quiet_since_s is None:
                self._quiet_since_s = self.loop.time()

    # For the worker --------------------------------------------------------------------------

    @property
    def buffered_bytes(self) -> int:
        """Received and not yet taken by the applications, and written and not yet taken by the client.

        Nothing of a connection that is dropped: it is gone before the next turn of the loop.
        """
        if self._is_dropped:
            return 0
        size_bytes = self.transport.get_write_buffer_size() + self.codec.buffered_bytes
        return size_bytes + sum(stream.buffered_bytes for stream in self._streams.values())

    def drain(self, grace_s: float) -> None:
        """The server is going down: answer what was asked, and then say that it is over.

        Clients differ in what they make of GOAWAY while they wait for answers, or have asked before they see it: some
        give up. So it comes when they have been quiet for a moment, or when a client goes on asking for longer than
        ``grace_s``, as it does to one that asks for nothing.
        """
        self._draining = bool(self._streams)
        self._grace_s = grace_s
        self._quiet_s = min(QUIET_S, grace_s)
        self._drain_deadline_s = self.loop.time() + grace_s

    @property
    def lasts(self) -> bool:
        """Whether a stream goes on until somebody ends it."""
        return any(stream.handler is not None and stream.handler.lasts for stream in self._streams.values())

    def dismiss(self) -> None:
        """The server is going down: end what would go on."""
        for stream in [*self._streams.values()]:
            if stream.handler is not None and stream.handler.lasts:
                stream.handler.drain()

    def tick(self, now_s: float) -> None:
        """Enforce the deadlines that have passed. Called by the worker's sweep, a few times a second."""
        if self._close_deadline_s is not None:
            if now_s >= self._close_deadline_s:
                self.abort()
            return
        if self._flow.stalled(now_s):
            logger.warning(
                "%s has read nothing for %g s: the connection is dropped, with %d bytes unread",
                address(self.client),
                self.limits.stalled_write_timeout_s,
                self.transport.get_write_buffer_size(),
            )
            self.abort()
            return
        deadline_s = self.codec.next_deadline_s()
        if deadline_s is None or now_s >= deadline_s:
            self._dispatch(self.codec.receive_data(b"", now_s))
        for stream in [*self._streams.values()]:
            stream.tick(now_s)
        if self._drain_deadline_s is not None and now_s >= self._drain_deadline_s:
            self._drain_deadline_s = self._quiet_since_s = None
            if self._draining:
                self.codec.announce_end()
                self._quiet_s = self._grace_s
            else:
                self._say_goodbye()
        elif self._quiet_since_s is not None and now_s - self._quiet_since_s >= self._quiet_s and not self._streams:
            self._say_goodbye()
        self.flush()

    def close(self) -> None:
        """Close after what is written has left, within a deadline."""
        if not self.transport.is_closing():
            self.transport.close()
        self._close_in(self.limits.close_timeout_s)

    def close_lingering(self) -> None:
        """Close so that the client gets what was written although it may still be sending."""
        if self.transport.is_closing() or not self.transport.can_write_eof():
            self.close()
            return
        self._discarding = True
        try:
            self.transport.write_eof()
        except OSError:  # the client has reset the connection, and the loop has not noticed
            self.close()
        else:
            self._close_in(self.limits.linger_timeout_s)

    def abort(self) -> None:
        """Drop the connection; what is not yet written is lost, and what comes for it until it is gone."""
        self._is_dropped = True
        self.codec.abandon()
        self.transport.abort()

    # Inside ----------------------------------------------------------------------------------

    def _dispatch(self, events: list[Event]) -> None:
        """Hand out events, and write what comes of them together."""
        self.writes = True
        try:
            self._handle(events)
        finally:
            self.writes = False
        self.flush()

    def _handle(self, events: list[Event]) -> None:
        streams = self._streams
        opened: list[HTTP2Stream] | None = None
        one: Any  # typing.cast is a call, and this runs for every event
        for one in events:
            kind = type(one)
            if kind is RequestHead:
                stream_id = one.stream_id
                streams[stream_id] = stream = HTTP2Stream(self, stream_id, one.upgrade is not None)
                self._gateway.open(stream, one)
                if opened is None:
                    opened = [stream]
                else:
                    opened.append(stream)
            elif kind is StreamEnded:
                ended = streams.pop(one.stream_id, None)
                if ended is not None:
                    ended.ended()
            elif kind is Data:
                found = streams.get(one.stream_id)
                if found is not None:
                    found.received(one.data)
                else:
                    self.codec.acknowledge(one.stream_id, len(one.data))
            elif kind is EndOfMessage:
                found = streams.get(one.stream_id)
                if found is not None:
                    found.received_end()
            else:
                self._handle_end(one)
        if opened:
            self._quiet_since_s = None
            if self._drain_deadline_s is not None:
                self._draining = True
        for stream in opened or ():
            handler = stream.handler
            if handler is not None and not stream.closed:
                handler.start()

    def _handle_end(self, event: Event) -> None:
        """Something has ended before its time."""
        if isinstance(event, StreamReset):
            stream = self._streams.pop(event.stream_id, None)
            if stream is not None:
                stream.lost()
        elif isinstance(event, ProtocolFailed):
            if event.stream_id:
                self._streams[event.stream_id] = stream = HTTP2Stream(self, event.stream_id)
                self._gateway.refuse(stream, event.error)
            else:
                logger.info(
                    "Ended the HTTP/2 connection of %s: %s", address(self.client), escape_line(str(event.error))
                )
                self.flush()
                self._lose_streams()
                self.close_lingering()
        elif isinstance(event, ConnectionEnded):
            self.flush()
            self.close()

    def _lose_streams(self) -> None:
        streams = [*self._streams.values()]
        self._streams.clear()
        for stream in streams:
            stream.lost()
        self._full.clear()

    def _say_goodbye(self) -> None:
        """The last answer has left, and no further request will be lost."""
        self._draining = False
        self._drain_deadline_s = self._quiet_since_s = None
        if self._half_close is not None:
            self._half_close.cancel()
            self._half_close = None
        if not self.codec.has_ended:
            self.codec.go_away()
        self.flush()
        self.close()

    def _close_in(self, delay_s: float) -> None:
        if self._close_deadline_s is None:
            self._close_deadline_s = self.loop.time() + delay_s

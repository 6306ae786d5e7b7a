"""One request of an HTTP/2 connection, or one WebSocket over it: the :class:`~fullduplex.net.stream.Stream` of many."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from fullduplex.limits import ConnectionLimits
from fullduplex.net.flow import TURN_BYTES, WRITE_COST_BYTES
from fullduplex.net.stream import Address, Handler, Tunnel
from fullduplex.wire.events import Data, Event, Fields
from fullduplex.wire.http2 import HTTP2Codec
from fullduplex.wire.http2_errors import ErrorCode

# What is queued at once is written at once; less than that gathers until the end of the turn.
URGENT_BYTES = 16_384


class Carrier(Protocol):
    """What a stream asks of its connection."""

    loop: asyncio.AbstractEventLoop
    limits: ConnectionLimits
    codec: HTTP2Codec
    client: Address | None
    server: Address | None
    scheme: str
    tls: dict[str, Any] | None
    is_closing: Callable[[], bool]
    writes: bool

    @property
    def is_stuck(self) -> bool:
        """Whether the client takes nothing of what was written."""

    def get_write_buffer_size(self) -> int:
        """Bytes that were written, and that the client has not taken."""

    def write_soon(self) -> None:
        """Something is queued: write it at the end of this turn of the loop."""

    def flush(self) -> None:
        """Write what is queued, as far as the client takes it."""

    def wait_for_room(self, stream: HTTP2Stream, size_bytes: int) -> None:
        """So much more waits: call ``stream.check_room()`` whenever something has been written."""


def _yes() -> bool:
    return True


class HTTP2Stream:
    """See :class:`~fullduplex.net.stream.Stream`; it is its own flow and, for a WebSocket, its own transport.

    Attributes:
        tunnel: the WebSocket that took it over.
        closed: nothing can be sent any more.
    """

    __slots__ = (
        "_callbacks",
        "_carrier",
        "_close_deadline_s",
        "_early",
        "_held_bytes",
        "_left_bytes",
        "_progress_s",
        "_reading_paused",
        "_stream_id",
        "_turn_bytes",
        "_waiters",
        "client",
        "closed",
        "handler",
        "is_closing",
        "limits",
        "loop",
        "paused",
        "scheme",
        "sending",
        "server",
        "tls",
        "tunnel",
    )

    def __init__(self, carrier: Carrier, stream_id: int, is_tunnel: bool = False) -> None:
        self._carrier = carrier
        self._stream_id = stream_id
        self.loop = carrier.loop
        self.limits = carrier.limits
        self.client = carrier.client
        self.server = carrier.server
        self.scheme = carrier.scheme
        self.tls = carrier.tls
        self.handler: Handler | None = None
        self.tunnel: Tunnel | None = None
        self.is_closing = carrier.is_closing
        self.sending: asyncio.Task[int] | None = None  # never: a file goes through the codec
        self.closed = False
        self.paused = False
        self._waiters: list[asyncio.Future[None]] | None = None
        self._callbacks: list[Callable[[], None]] | None = None
        self._turn_bytes = 0
        self._reading_paused = False
        self._held_bytes = 0  # handed out, and no credit given for it yet
        self._early: list[bytes] | None = [] if is_tunnel else None  # came before the accept
        self._left_bytes = 0
        self._progress_s: float | None = None
        self._close_deadline_s: float | None = None

    @property
    def transport(self) -> HTTP2Stream:
        return self

    @property
    def flow(self) -> HTTP2Stream:
        return self

    # Out -------------------------------------------------------------------------------------

    def send(self, *events: Event) -> None:
        """Encode events; they are written at the end of the turn, or at once where they are large.

        Raises:
            LocalProtocolError: an event is malformed, or not allowed now.
        """
        carrier = self._carrier
        codec = carrier.codec
        if self.closed or codec.has_ended:
            return
        carrier.write_soon()
        size_bytes = 0
        for event in events:
            event.stream_id = self._stream_id  # type: ignore[attr-defined]
            codec.send(event)
            if type(event) is Data:
                size_bytes += len(event.data)
        if size_bytes:
            self._queued(size_bytes)

    def respond(self, status: int, headers: Fields, content: bytes) -> None:
        """Send a whole response: ``send(ResponseHead(...), Data(content, end_stream=True))``, a little faster.

        Raises:
            LocalProtocolError: as :meth:`send`.
        """
        carrier = self._carrier
        codec = carrier.codec
        if self.closed or codec.has_ended:
            return
        if not carrier.writes:
            carrier.write_soon()
        codec.respond(self._stream_id, status, headers, content)
        if len(content) >= URGENT_BYTES:
            self._queued(len(content))

    def takes_plain(self, count: int) -> bool:
        """Never: there are frames around everything."""
        return False

    def sent_plain(self, count: int) -> None:
        """Nothing is."""

    def write(self, data: bytes) -> None:
        """Send bytes of a WebSocket, at once: who asks what waits means what the client does not take."""
        self.send(Data(data))
        if not self.closed:
            self._carrier.flush()

    def get_write_buffer_size(self) -> int:
        """What waits for a window of the stream, and what waits for the client before it."""
        return self._queued_bytes() + self._carrier.get_write_buffer_size()

    def _queued_bytes(self) -> int:
        return self._carrier.codec.queued_bytes(self._stream_id)

    def _queued(self, size_bytes: int) -> None:
        """Take note of content: does it have to leave, and must the writer wait?"""
        carrier = self._carrier
        if size_bytes >= URGENT_BYTES:
            carrier.flush()
        if not self.closed and self._is_behind(self.limits.write_buffer_bytes):
            self.paused = True
            carrier.wait_for_room(self, size_bytes)

    # Flow ------------------------------------------------------------------------------------

    def _is_behind(self, most_bytes: int) -> bool:
        """Whether more than so much waits for the stream's window, or anything while the client takes nothing."""
        queued_bytes = self._queued_bytes()
        return queued_bytes > most_bytes or (queued_bytes > 0 and self._carrier.is_stuck)

    def must_wait(self, size_bytes: int) -> bool:
        """Whether the writer of so many bytes must :meth:`drain` before it goes on. To be asked once for each write."""
        self._turn_bytes += size_bytes + WRITE_COST_BYTES
        return self.paused or self._turn_bytes >= TURN_BYTES

    async def drain(self) -> None:
        """Let others have the loop, and wait until the stream has room or is lost."""
        self._turn_bytes = 0
        if not self.paused:
            await asyncio.sleep(0)
            return
        waiter = self.loop.create_future()
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(waiter)
        await waiter

    def on_resume(self, callback: Callable[[], None]) -> None:
        """Call ``callback()`` once when the buffer has room again: now, if it has."""
        if not self.paused:
            callback()
            return
        if self._callbacks is None:
            self._callbacks = []
        self._callbacks.append(callback)

    def check_room(self) -> bool:
        """Something was written: whether the stream has room again."""
        if not self.closed and self._is_behind(self.limits.write_buffer_bytes // 4):
            return False
        self.paused = False
        if self.tunnel is not None and self._early is not None:
            early, self._early = self._early, None
            if not self._reading_paused:
                self._give_credit()
            self.tunnel.data_received(b"".join(early))
        waiters, self._waiters = self._waiters, None
        callbacks, self._callbacks = self._callbacks, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)
        for callback in callbacks or ():
            callback()
        return True

    # In --------------------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """A piece of content, or of what a WebSocket says."""
        if self.tunnel is not None and self.paused and self._early is None:
            self._early = []  # a client that reads nothing gets no answers to its pings
        if self._early is not None and self.handler is not None:
            self._early.append(data)
            self._held_bytes += len(data)
            return
        handler = self.handler
        if handler is not None:
            handler.data_received(data)
        if self._reading_paused:
            self._held_bytes += len(data)
        else:
            self._carrier.codec.acknowledge(self._stream_id, len(data))

    def received_end(self) -> None:
        if self.tunnel is not None:
            self.tunnel.eof_received()
        elif self.handler is not None:
            self.handler.end_received()

    @property
    def buffered_bytes(self) -> int:
        """Received, and not yet taken by the application."""
        early = sum(map(len, self._early)) if self._early else 0
        return early + (self.handler.buffered_bytes if self.handler is not None else 0)

    @property
    def reading_paused(self) -> bool:
        """Whether the client is kept waiting by us: it gets no credit."""
        return self._reading_paused or (self.tunnel is not None and self.paused)

    def pause_reading(self) -> None:
        """The application is slower than the client: give no more credit until :meth:`resume_reading`."""
        self._reading_paused = True

    def resume_reading(self) -> None:
        self._reading_paused = False
        self._give_credit()

    def _give_credit(self) -> None:
        held_bytes, self._held_bytes = self._held_bytes, 0
        if held_bytes:
            self._carrier.codec.acknowledge(self._stream_id, held_bytes)
            self._carrier.write_soon()

    # The end ---------------------------------------------------------------------------------

    def finish(self) -> None:
        """The response is complete, and the handler done."""
        self.handler = None
        if self._held_bytes or self._early or self._reading_paused:
            self._early = None
            self._reading_paused = False
            self._give_credit()

    def upgrade(self, tunnel: Tunnel) -> bytes:
        """Give the stream to a WebSocket whose accept was sent; return the bytes that came before."""
        self.tunnel = tunnel
        early, self._early = self._early, None
        self._give_credit()
        return b"".join(early or ())

    def close(self) -> None:
        """End it after what is written has left; a response that is not complete is reset."""
        if self.tunnel is None:
            self.abort()
        else:
            self._end_within(self.limits.close_timeout_s)

    def close_lingering(self) -> None:
        """The same, and nobody is told any more of what comes."""
        self._end_within(self.limits.linger_timeout_s)
        self.finish()
        self.tunnel = None

    def abort(self) -> None:
        """Reset it; what is not yet written is lost, and the client sees that something is missing."""
        if self.closed:
            return
        is_tunnel = self.tunnel is not None
        self._carrier.flush()  # a reset would take what is queued with it
        if self.closed:
            return
        self._carrier.codec.reset(self._stream_id, ErrorCode.CANCEL if is_tunnel else ErrorCode.INTERNAL_ERROR)
        self._carrier.write_soon()
        self._give_credit()
        self._over()
        self.loop.call_soon(self.lost)

    def _over(self) -> None:
        self.closed = True
        self.is_closing = _yes

    def lost(self) -> None:
        """The stream is over before its time: tell who has to do with it."""
        self._over()
        handler, self.handler, self.tunnel = self.handler, None, None
        self._give_credit()
        if handler is not None:
            handler.disconnected()
        self.check_room()

    def ended(self) -> None:
        """The stream is complete."""
        if self.tunnel is not None:
            self.lost()
            return
        self.closed = True
        self.is_closing = _yes
        if self._held_bytes:
            self._give_credit()
        if self.paused:
            self.check_room()

    def tick(self, now_s: float) -> None:
        """Enforce the deadlines that have passed."""
        if (self._close_deadline_s is not None and now_s >= self._close_deadline_s) or self._has_stalled(now_s):
            self.abort()
        elif self.handler is not None:
            self.handler.tick(now_s)

    def _has_stalled(self, now_s: float) -> bool:
        """Whether the client has given no window for ``stalled_write_timeout_s`` although bytes wait for it."""
        left_bytes = self._queued_bytes()
        if not left_bytes:
            self._progress_s = None
            return False
        if self._progress_s is None or left_bytes != self._left_bytes:
            self._progress_s = now_s
        self._left_bytes = left_bytes
        return now_s - self._progress_s >= self.limits.stalled_write_timeout_s

    def _end_within(self, seconds: float) -> None:
        if not self.closed and self._close_deadline_s is None:
            self._close_deadline_s = self.loop.time() + seconds
            if self.tunnel is not None:
                self.send(Data(b"", end_stream=True))

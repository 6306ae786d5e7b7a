"""One client connection: bytes to and from the transport, events to and from the gateway.

The connection knows no ASGI. It feeds its codec, hands each event to the handler of the exchange in
progress, writes what the codec queued, and closes when the codec says so. After an upgrade a
:class:`~fullduplex.net.stream.Tunnel` takes the raw bytes instead of the codec.

::

    transport ── data_received ──> codec ── events ──> Handler (gateway)
    transport <──── write ──────── codec <── send ───┘
"""

from __future__ import annotations

import asyncio
import enum
import logging
import select
from collections.abc import Callable
from typing import Final, cast

from fullduplex.limits import ConnectionLimits
from fullduplex.log_lines import address
from fullduplex.net.flow import WriteFlow
from fullduplex.net.stream import Address, ClientConnection, Gateway, Handler, Tunnel
from fullduplex.net.tls import describe
from fullduplex.wire.events import (
    AppContent,
    AppFields,
    ConnectionEnded,
    Data,
    EndOfMessage,
    Event,
    PrefaceReceived,
    ProtocolFailed,
    RequestHead,
    ResponseHead,
)
from fullduplex.wire.http1 import HTTP1Codec
from fullduplex.wire.proxy_protocol import ProxyHeader

logger = logging.getLogger("fullduplex.server")


# Content from here on is not joined with its head: two writes cost less than the copy.
UNCOPIED_BYTES: Final = 65_536


class Pause(enum.IntFlag):
    """Why reading is paused. Reading goes on when no reason is left."""

    PIPELINE = 1  # requests wait for the one that is being answered
    HANDLER = 2  # the application is slower than the client
    WRITING = 4  # the client sends what must be answered (requests, pings), and does not read
    TURN = 8  # the content that has come takes another turn of the loop


class Connection(asyncio.Protocol):
    """An accepted connection that speaks HTTP/1, and WebSocket after an upgrade.

    Args:
        gateway: answers the requests.
        limits: byte bounds and deadlines.
        codec: protocol state, made for this connection.
        connections: the worker's set of open connections; this one adds and removes itself.
        loop: the loop that runs it.

    Attributes:
        is_closing: whether nothing that is sent now would reach the client.
    """

    __deletable__ = ("_codec",)  # mypyc asks for it
    __slots__ = (
        "_close_deadline_s",
        "_codec",
        "_connections",
        "_discarding",
        "_dispatching",
        "_eof",
        "_gateway",
        "_half_close",
        "_paused",
        "client",
        "flow",
        "handler",
        "is_closing",
        "leave",
        "limits",
        "loop",
        "proxied",
        "refused",
        "scheme",
        "sending",
        "server",
        "switch",
        "tls",
        "transport",
        "tunnel",
    )

    def __init__(
        self,
        gateway: Gateway,
        limits: ConnectionLimits,
        codec: HTTP1Codec,
        connections: set[ClientConnection],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._gateway = gateway
        self.limits = limits
        self._codec = codec
        self._connections = connections
        self.loop = loop
        self.handler: Handler | None = None
        self.tunnel: Tunnel | None = None
        self.sending: asyncio.Task[int] | None = None  # a file, past the transport's buffer
        # Set before the connection is made: what its proxy said; that it is one too many; what gives its seat up; what
        # goes on with it in HTTP/2, if it can.
        self.proxied: ProxyHeader | None = None
        self.refused = False
        self.leave: Callable[[], None] | None = None
        self.switch: Callable[[Connection, bytes], bool] | None = None
        self._paused = 0
        self._dispatching = False
        self._discarding = False
        self._eof = False
        self._half_close: asyncio.TimerHandle | None = None
        self._close_deadline_s: float | None = None

    # asyncio.Protocol ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.is_closing: Callable[[], bool] = transport.is_closing  # its own: this is asked for every message
        self.flow = WriteFlow(self.transport, self.limits)
        ssl_object = transport.get_extra_info("ssl_object")
        self.tls = None if ssl_object is None else describe(ssl_object)
        self.scheme = "http" if ssl_object is None else "https"
        self.client = address_of(transport.get_extra_info("peername"))
        self.server = address_of(transport.get_extra_info("sockname"))
        if self.proxied is not None:
            self._apply_proxied(self.proxied)
        if ssl_object is not None and ssl_object.selected_alpn_protocol() == "h2" and self._switched(b""):
            return
        self._connections.add(self)
        if self.refused:
            self.transport.write(self._gateway.refusal())
            self.close_lingering()

    def data_received(self, data: bytes) -> None:
        if self.tunnel is not None:
            self.tunnel.data_received(data)
        elif not self._discarding and not self.is_closing():
            if self.flow.paused and self.handler is None:
                self._pause(Pause.WRITING)
            self._dispatch(self._codec.receive_data(data, self.loop.time()))

    def eof_received(self) -> bool:
        """Answer a request that is complete although the client has closed its half (RFC 9112 section 9.6).

        A client that merely stopped sending and one that is gone look the same until we write, so the
        handler is told after a moment: long enough for a response, short for a stream nobody reads.
        """
        self._eof = True
        if self.tunnel is not None:
            self.tunnel.eof_received()
        elif not self._discarding:
            self._dispatch(self._codec.receive_eof())
        if self.handler is None or self.scheme == "https" or self.transport.is_closing():
            return False
        self._half_close = self.loop.call_later(self.limits.half_close_grace_s, self._lost)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.leave_seat()
        self._connections.discard(self)
        self._lost()
        self.flow.connection_lost()

    def pause_writing(self) -> None:
        self.flow.pause(self.loop.time())
        if self.tunnel is not None:
            self._pause(Pause.WRITING)

    def resume_writing(self) -> None:
        self._resume(Pause.WRITING)
        self.flow.resume()

    # For the gateway -------------------------------------------------------------------------

    def send(self, *events: Event) -> None:
        """Encode events and write them with one call.

        Raises:
            LocalProtocolError: an event is malformed, or not allowed now.
        """
        for event in events:
            self._codec.send(event)
        data = self._codec.data_to_send()
        if data:
            self.transport.write(data)

    def respond(self, status: int, headers: AppFields, content: AppContent) -> None:
        """Send a whole response: ``send(ResponseHead(...), Data(content, end_stream=True))``, a little faster.

        Raises:
            LocalProtocolError: as :meth:`send`.
        """
        if len(content) >= UNCOPIED_BYTES and any(name.lower() == b"content-length" for name, _ in headers):
            self.send(ResponseHead(status, headers))
            self.send(Data(content, end_stream=True))
        else:
            self.transport.write(self._codec.encode_response(status, headers, content))

    def takes_plain(self, count: int) -> bool:
        """Whether ``count`` bytes of content may be written to the transport as they are."""
        return self._codec.takes_plain(count)

    def sent_plain(self, count: int) -> None:
        """Take note that they were."""
        self._codec.sent_plain(count)

    def finish(self) -> None:
        """The response is complete: take the next request, or close, as soon as the client has taken most of it.

        A large response is written long before a slow client has it; until then what counts is that it takes
        something at all (``stalled_write_timeout_s``). And a client that reads no answers gets no further ones.
        """
        self.handler = None
        if self.flow.paused:
            self.flow.on_resume(self._go_on)
        elif not self._dispatching or not self._codec.keep_alive:  # else the loop there goes on with the next request
            self._go_on()

    def upgrade(self, tunnel: Tunnel) -> bytes:
        """Give the connection to a tunnel; return the bytes that came after the upgrade request."""
        self.tunnel = tunnel
        self._resume(Pause.PIPELINE)
        early = self._codec.trailing_data()
        del self._codec  # a fifth of what an idle tunnel would hold; nobody asks it from here on
        return early

    def give_up(self) -> bytes:
        """Another object goes on with the transport: return what has come behind the request."""
        self._resume(Pause.PIPELINE)
        return self._codec.trailing_data()

    def pause_reading(self) -> None:
        """The application is slower than the client: stop reading until :meth:`resume_reading`."""
        self._pause(Pause.HANDLER)

    def resume_reading(self) -> None:
        self._resume(Pause.HANDLER)

    @property
    def reading_paused(self) -> bool:
        """Whether nothing can come from the client, whatever it sends."""
        return bool(self._paused)

    def close_lingering(self) -> None:
        """Close so that the client gets what was written although it may still be sending.

        Closing with unread input makes the kernel send RST, which can destroy what is on its way; so
        the write side closes first, and input is discarded for a moment (RFC 9112 section 9.6).
        """
        if self._eof or self.transport.is_closing() or not self.transport.can_write_eof():
            self.close()
            return
        self._discarding = True
        self.handler = self.tunnel = None
        if self._paused:
            self._resume(Pause.PIPELINE | Pause.HANDLER | Pause.WRITING)
        try:
            self.transport.write_eof()
        except OSError:  # the client has reset the connection, and the loop has not noticed
            self.close()
        else:
            self._close_in(self.limits.linger_timeout_s)

    def close(self) -> None:
        """Close after what is written has left, within a deadline."""
        if self.sending is not None:
            self.sending.cancel()
        if not self.transport.is_closing():
            self.transport.close()
        self._close_in(self.limits.close_timeout_s)

    def abort(self) -> None:
        """Drop the connection; what is not yet written is lost."""
        if self.sending is not None:
            self.sending.cancel()
        self.transport.abort()

    # For the worker --------------------------------------------------------------------------

    @property
    def buffered_bytes(self) -> int:
        """Received and not yet taken by the application, and written and not yet taken by the client."""
        size_bytes = self.transport.get_write_buffer_size()
        if self.handler is not None:
            size_bytes += self.handler.buffered_bytes
        if self.tunnel is None and not self._discarding:
            size_bytes += self._codec.buffered_bytes
        return size_bytes

    @property
    def is_made(self) -> bool:
        """Whether there is, or was, a transport."""
        return hasattr(self, "transport")

    def leave_seat(self) -> None:
        leave, self.leave = self.leave, None
        if leave is not None:
            leave()

    def drain(self, grace_s: float) -> None:
        """The server is going down: the next response is the last, and ``grace_s`` without a request end it, too.

        What lasts goes on until :meth:`dismiss`.
        """
        if self.tunnel is None and not self._discarding:
            self._codec.drain(self.loop.time(), grace_s)

    @property
    def lasts(self) -> bool:
        """Whether what it carries goes on until somebody ends it."""
        return self.handler is not None and self.handler.lasts

    def dismiss(self) -> None:
        """The server is going down: end what would go on."""
        if self.handler is not None:
            self.handler.drain()

    def tick(self, now_s: float) -> None:
        """Enforce the deadlines that have passed. Called by the worker's sweep, a few times a second."""
        if self._close_deadline_s is not None:
            if now_s >= self._close_deadline_s:
                self.abort()
            return
        if self.flow.stalled(now_s):
            logger.warning(
                "%s has read nothing for %g s: the connection is dropped, with %d bytes unread",
                address(self.client),
                self.limits.stalled_write_timeout_s,
                self.transport.get_write_buffer_size(),
            )
            self.abort()
        elif self.handler is not None:
            self.handler.tick(now_s)
        elif not self.flow.paused:
            deadline_s = self._codec.next_deadline_s()
            due = deadline_s is None or now_s >= deadline_s  # None: the wait for the next request begins now
            if due and not self._has_unread_input():
                self._dispatch(self._codec.receive_data(b"", now_s))

    # Inside ----------------------------------------------------------------------------------

    def _dispatch(self, events: list[Event]) -> None:
        """Hand out events, and those that were held back behind a response that ended meanwhile.

        A loop and not a recursion: an application may answer while its request is being handed out.
        """
        codec = self._codec
        self._dispatching = True
        try:
            while True:
                before = self.handler
                for event in events:
                    if type(event) is RequestHead:
                        self._gateway.open(self, event)
                    else:
                        self._handle(event)
                handler = self.handler
                if handler is not None and handler is not before:
                    handler.start()
                holds_data = codec.holds_data
                if self.handler is not None or not (events and holds_data) or self.flow.paused or self.is_closing():
                    break
                events = codec.receive_data(b"", self.loop.time())
        finally:
            self._dispatching = False
        if not holds_data:
            if self._paused:
                self._resume(Pause.PIPELINE)
        elif codec.holds_chunks:
            if not self._paused & Pause.TURN:
                self._pause(Pause.TURN)
                self.loop.call_soon(self._take_chunks)
        elif not codec.wants_data:
            self._pause(Pause.PIPELINE)
        elif self._paused:
            self._resume(Pause.PIPELINE)

    def _go_on(self) -> None:
        if self.handler is not None or self._discarding or self.transport.is_closing():
            return  # another request was answered meanwhile, or it is over
        if not self._codec.keep_alive:
            if self._codec.request_complete:
                self.close()
            else:
                self.close_lingering()
        elif self._dispatching:
            pass  # that loop goes on with the next request
        elif self._codec.holds_data:
            # Not from within the application that has just ended its response: it is still running.
            self.loop.call_soon(self._next)

    def _take_chunks(self) -> None:
        """Go on with the content that has come, before any more is read."""
        self._resume(Pause.TURN)
        if not self._discarding and not self.transport.is_closing():
            self._dispatch(self._codec.receive_data(b"", self.loop.time()))

    def _next(self) -> None:
        """Take the next request, which has come already."""
        if self.handler is None and not self._discarding and not self.transport.is_closing():
            self._dispatch(self._codec.receive_data(b"", self.loop.time()))

    def _handle(self, event: Event) -> None:
        handler = self.handler
        if type(event) is Data:
            if handler is not None:
                handler.data_received(event.data)
        elif type(event) is EndOfMessage:
            if handler is not None:
                handler.end_received()
        elif type(event) is ProtocolFailed:
            self._gateway.refuse(self, event.error)
        elif type(event) is PrefaceReceived:
            if not self._switched(event.data):
                self._gateway.refuse(self, event.error)
        elif type(event) is ConnectionEnded and handler is None:
            self.close()

    def _switched(self, data: bytes) -> bool:
        """Whether the connection goes on in HTTP/2; nobody asks this object anything any more then."""
        return self.switch is not None and self.switch(self, data)

    def _has_unread_input(self) -> bool:
        """Whether the client has sent something that the loop has not read yet: closing now would lose a request."""
        sock = self.transport.get_extra_info("socket")
        if sock is None or self._paused or not hasattr(select, "poll"):
            return False
        poll = select.poll()
        poll.register(sock.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def _apply_proxied(self, header: ProxyHeader) -> None:
        """Take the addresses of a PROXY protocol header, where it has any, for the connection's own."""
        self.client = header.client or self.client
        self.server = header.server or self.server
        if header.tls:
            self.scheme = "https"

    def _close_in(self, delay_s: float) -> None:
        if self._close_deadline_s is None:
            self._close_deadline_s = self.loop.time() + delay_s

    def _lost(self) -> None:
        if self._half_close is not None:
            self._half_close.cancel()
            self._half_close = None
        handler, self.handler, self.tunnel = self.handler, None, None
        if handler is not None:
            handler.disconnected()
            self.close()

    def _pause(self, reason: Pause) -> None:
        if not self._paused and not self.transport.is_closing():
            self.transport.pause_reading()
        self._paused |= reason

    def _resume(self, reason: Pause) -> None:
        if not self._paused:
            return
        self._paused &= ~reason
        if not self._paused and not self.transport.is_closing():
            self.transport.resume_reading()


def address_of(value: object) -> Address | None:
    """An ASGI address from a socket's name: ``(host, port)``, ``(path, None)`` for UNIX sockets, or None."""
    if isinstance(value, tuple):
        return str(value[0]), int(value[1])
    if isinstance(value, str) and value:
        return value, None
    return None

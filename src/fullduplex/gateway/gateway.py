"""Where requests come in: each becomes an exchange, or a session."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable

from fullduplex.gateway.access_log import client
from fullduplex.gateway.exchange import Exchange
from fullduplex.gateway.session import Session
from fullduplex.gateway.shared import Shared
from fullduplex.net.stream import ClientConnection, Stream
from fullduplex.wire.events import Data, RequestHead, ResponseHead

logger = logging.getLogger("fullduplex.server")


class Gateway(Shared):
    """Turns requests into calls of one ASGI application."""

    connections: Collection[ClientConnection] = ()  # of the worker, which sets it
    buffered_bytes = 0  # by all of them, when they were weighed last
    checked_paths: Collection[bytes] = ()  # where health checks are answered; see fullduplex.gateway.health
    is_leaving = False  # the service stops: whoever checks it should send nobody more
    _is_overfull = False
    _noted_bytes = 0  # since they were weighed last

    def open(self, stream: Stream, head: RequestHead) -> None:
        """Make the handler of a request, or of a WebSocket handshake."""
        if head.upgrade == b"websocket" and self._is_overfull:
            self.note_refusal(self.refused_scope(stream, head), 503, "the buffers of all connections are nearly full")
            stream.send(*self._busy())
            stream.finish()
        elif head.upgrade == b"websocket":
            Session.open(self, stream, head)
        elif self.exchange_count >= self.load.max_requests_count > 0:
            self.note_refusal(self.refused_scope(stream, head), 503, "too many requests are in progress")
            stream.send(*self._busy())
            stream.finish()
        else:
            stream.handler = exchange = Exchange(self, stream, head)
            if not head.end_stream:
                exchange.check_announced(head)

    def note_waiting(self, size_bytes: int, loop: asyncio.AbstractEventLoop) -> None:
        """Weigh again, sooner than twice a second, where so much comes that it would be gigabytes until then."""
        self._noted_bytes += size_bytes
        if self._noted_bytes > self.load.max_buffers_bytes // 8 > 0:
            self._noted_bytes = 0
            loop.call_soon(self._weigh_all)

    def note_queued(self, size_bytes: int) -> None:
        """The same for what clients do not take, and at once: many responses are queued in one turn of the loop."""
        self._noted_bytes += size_bytes
        if self._noted_bytes > self.load.max_buffers_bytes // 8 > 0:
            self._weigh_all()

    def _weigh_all(self) -> None:
        self.weigh(self.connections)

    def weigh(self, connections: Iterable[ClientConnection]) -> None:
        """Bound what all connections hold together; a few times a second."""
        self._noted_bytes = 0
        most_bytes = self.load.max_buffers_bytes
        sizes = {connection: connection.buffered_bytes for connection in connections}
        total_bytes = self.buffered_bytes = sum(sizes.values())
        if not most_bytes:
            return
        if total_bytes > most_bytes:
            total_bytes = self.buffered_bytes = self._drop_largest(sizes, total_bytes)
        was_overfull, self._is_overfull = self._is_overfull, total_bytes > most_bytes // 4 * 3
        if self._is_overfull and not was_overfull:
            logger.warning("The buffers of all connections hold %d bytes: new WebSockets get 503", total_bytes)

    def _drop_largest(self, sizes: dict[ClientConnection, int], total_bytes: int) -> int:
        """Drop the connections that hold most, until no more is held than may be; return how much that is."""
        before_bytes, dropped = total_bytes, []
        for connection in sorted(sizes, key=sizes.__getitem__, reverse=True):
            if total_bytes <= self.load.max_buffers_bytes:
                break
            connection.abort()
            dropped.append(connection)
            total_bytes -= sizes[connection]
        logger.warning(
            "The buffers of all connections hold %d bytes: the %d that hold most are dropped, the first of %s with %d",
            before_bytes,
            len(dropped),
            client({"client": dropped[0].client}),
            sizes[dropped[0]],
        )
        return total_bytes

    def refusal(self) -> bytes:
        """What a connection hears that is one too many."""
        head, data = self._busy()
        fields = b"".join(b"%b: %b\r\n" % field for field in head.headers) + self.default_fields.block
        return b"HTTP/1.1 503 Service Unavailable\r\n%bconnection: close\r\n\r\n%b" % (fields, data.data)

    def _busy(self) -> tuple[ResponseHead, Data]:
        headers = [(b"retry-after", b"%d" % self.load.retry_after_s)]
        return self.own_response(503, "Service Unavailable", headers=headers)

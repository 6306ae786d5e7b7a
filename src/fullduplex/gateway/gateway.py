"""Where requests come in: each becomes an exchange, or a session."""

from __future__ import annotations

import logging

from fullduplex.gateway.exchange import Exchange
from fullduplex.gateway.session import Session
from fullduplex.gateway.shared import Shared
from fullduplex.net.stream import Stream
from fullduplex.wire.events import Data, RequestHead, ResponseHead

logger = logging.getLogger("fullduplex.server")


class Gateway(Shared):
    """Turns requests into calls of one ASGI application."""

    def open(self, stream: Stream, head: RequestHead) -> None:
        """Make the handler of a request, or of a WebSocket handshake."""
        if head.upgrade == b"websocket":
            Session.open(self, stream, head)
        elif self.exchange_count >= self.load.max_requests_count > 0:
            self.note_refusal(self.scope(stream, head), 503, "too many requests are in progress")
            stream.send(*self._busy())
            stream.finish()
        else:
            stream.handler = exchange = Exchange(self, stream, head)
            if not head.end_stream:
                exchange.check_announced(head)

    def overloaded(self, connection_count: int) -> bytes | None:
        """What a new connection hears instead of being served, when there are too many; else None."""
        if not connection_count > self.load.max_connections_count > 0:
            return None
        logger.warning("%d connections are open: a new one is refused with 503", connection_count - 1)
        head, data = self._busy()
        fields = b"".join(b"%b: %b\r\n" % field for field in head.headers) + self.default_fields.block
        return b"HTTP/1.1 503 Service Unavailable\r\n%bconnection: close\r\n\r\n%b" % (fields, data.data)

    def _busy(self) -> tuple[ResponseHead, Data]:
        headers = [(b"retry-after", b"%d" % self.load.retry_after_s)]
        return self.error_response(503, "Service Unavailable", headers=headers)

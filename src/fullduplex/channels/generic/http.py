"""A consumer for HTTP requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.conf import settings

from fullduplex.exceptions import StopConsumer
from fullduplex.sockets.consumer import AsyncConsumer, Message

Headers = Mapping[bytes, bytes] | Iterable[tuple[bytes, bytes]]


class AsyncHttpConsumer(AsyncConsumer):
    """Gathers the body of a request, then calls :meth:`handle`; ``disconnect()`` runs once, after it.

    Attributes:
        body: the parts received so far.
        max_body_bytes: a larger body is answered with 413; None: any size. By default
            ``DATA_UPLOAD_MAX_MEMORY_SIZE``, since it is held in memory.
    """

    max_body_bytes: int | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.body: list[bytes] = []

    async def send_headers(self, *, status: int = 200, headers: Headers | None = None) -> None:
        """Begin the response; the server sends nothing before the first :meth:`send_body`."""
        pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
        await self.send({"type": "http.response.start", "status": status, "headers": list(pairs)})

    async def send_body(self, body: bytes, *, more_body: bool = False) -> None:
        """Send a part of the body, by default the last one."""
        if not isinstance(body, bytes):
            raise AssertionError("Body is not bytes")
        await self.send({"type": "http.response.body", "body": body, "more_body": more_body})

    async def send_response(self, status: int, body: bytes, **kwargs: Any) -> None:
        """Send a whole response; ``kwargs`` are those of :meth:`send_headers`."""
        await self.send_headers(status=status, **kwargs)
        await self.send_body(body)

    async def handle(self, body: bytes) -> None:
        """The request is here: answer it."""
        raise NotImplementedError("Subclasses of AsyncHttpConsumer must provide a handle() method.")

    async def disconnect(self) -> None:
        """The request is over; nothing can be sent any more."""

    async def http_request(self, message: Message) -> None:
        self.body.append(message.get("body", b""))
        too_large = self._is_too_large()
        if message.get("more_body") and not too_large:
            return
        try:
            if too_large:
                await self.send_response(413, b"Request body too large.\n", headers={b"content-type": b"text/plain"})
            else:
                await self.handle(b"".join(self.body))
        finally:
            await self.disconnect()
        raise StopConsumer

    async def http_disconnect(self, message: Message) -> None:
        await self.disconnect()
        raise StopConsumer

    def _is_too_large(self) -> bool:
        max_bytes: int | None = getattr(self, "max_body_bytes", settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
        return max_bytes is not None and sum(map(len, self.body)) > max_bytes

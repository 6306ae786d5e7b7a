"""A stream: what an exchange or a session has below it, whatever the framing.

Over HTTP/1 the connection is its own stream, for one exchange after another. Over HTTP/2 it is one of many of a
connection. What stands above a stream writes through it and steers its flow; what comes from the client is told to its
handler::

    Gateway ── open() ──> Exchange, Session     (a Handler)
                            │         ▲
               send, finish │         │ data_received, disconnected
                            ▼         │
                           Stream: a connection, or a part of one

What a stream owes its handler: ``start()`` when all events of the read that opened it have been handed out; the content
without ``end_stream``, and ``end_received()`` behind it; ``tick()`` from the sweep; ``disconnected()`` once, later and
not from within, after ``close()`` and ``abort()`` as well, unless ``handler`` was set to None. What comes before a
handshake is answered is kept, and returned by ``upgrade()``; a 101 opens the tunnel, whatever the framing sends for it.
Events that are sent name no stream: the stream does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from fullduplex.limits import ConnectionLimits
from fullduplex.wire.events import AppContent, AppFields, Event, RequestHead

Address = tuple[str, int | None]  # (host, port), or (path, None) of a UNIX socket


class Writer(Protocol):
    """Where bytes go on their way to the client; of a connection its transport."""

    def write(self, data: bytes) -> None:
        """Take bytes. It never blocks: who writes much asks the :class:`Flow`."""

    def is_closing(self) -> bool:
        """Whether nothing that is written now would reach the client."""

    def get_write_buffer_size(self) -> int:
        """Bytes that wait for the client."""


class Flow(Protocol):
    """How fast the client reads."""

    @property
    def paused(self) -> bool:
        """Whether more waits for the client than may."""

    def must_wait(self, size_bytes: int) -> bool:
        """Whether the writer of so many bytes must :meth:`drain` before it goes on. To be asked once for each write."""

    async def drain(self) -> None:
        """Let others have the loop, and wait until the buffer has room or the stream is lost."""

    def on_resume(self, callback: Callable[[], None]) -> None:
        """Call ``callback()`` once when the buffer has room again: now, if it has."""


class Stream(Protocol):
    """One request and its response, or one WebSocket, on its way to and from the client.

    Attributes:
        handler: who is told of what the client sends; None: nobody.
        sending: the task that sends a file past the buffer, to be cancelled when the stream ends.
        client, server: ASGI addresses.
        scheme: ``http`` or ``https``.
        tls: the content of the ASGI extension ``tls``, or None.
    """

    handler: Handler | None
    sending: asyncio.Task[int] | None

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    @property
    def limits(self) -> ConnectionLimits: ...

    @property
    def transport(self) -> Writer: ...

    @property
    def flow(self) -> Flow: ...

    @property
    def client(self) -> Address | None: ...

    @property
    def server(self) -> Address | None: ...

    @property
    def scheme(self) -> str: ...

    @property
    def tls(self) -> dict[str, Any] | None: ...

    # Out -------------------------------------------------------------------------------------

    @property
    def is_closing(self) -> Callable[[], bool]:
        """Tells whether nothing that is sent now would reach the client."""

    def send(self, *events: Event) -> None:
        """Encode events and write them with one call.

        Raises:
            LocalProtocolError: an event is malformed, or not allowed now.
        """

    def respond(self, status: int, headers: AppFields, content: AppContent) -> None:
        """Send a whole response: ``send(ResponseHead(...), Data(content, end_stream=True))``, a little faster.

        Raises:
            LocalProtocolError: as :meth:`send`.
        """

    def takes_plain(self, count: int) -> bool:
        """Whether ``count`` bytes of content may be written to the transport as they are: no framing is around them."""

    def sent_plain(self, count: int) -> None:
        """Take note that they were."""

    # In --------------------------------------------------------------------------------------

    @property
    def reading_paused(self) -> bool:
        """Whether nothing can come from the client, whatever it sends."""

    def pause_reading(self) -> None:
        """The application is slower than the client: take no more from it until :meth:`resume_reading`."""

    def resume_reading(self) -> None: ...

    # The end ---------------------------------------------------------------------------------

    def finish(self) -> None:
        """The response is complete, and the handler done."""

    def upgrade(self, tunnel: Tunnel) -> bytes:
        """Give the stream to a WebSocket whose accept was sent; return the bytes that came behind the handshake.

        From here on bytes come as they are (``tunnel.data_received``), and go to ``transport`` as they are.
        """

    def close(self) -> None:
        """Close after what is written has left, within a deadline."""

    def close_lingering(self) -> None:
        """Close so that the client gets what was written although it may still be sending."""

    def abort(self) -> None:
        """Drop it; what is not yet written is lost, and the client sees that something is missing."""


class Handler(Protocol):
    """What a stream tells of its request: to an exchange or a session."""

    @property
    def response_started(self) -> bool:
        """Whether a response has begun, so that no other can be sent."""

    @property
    def buffered_bytes(self) -> int:
        """Received, and not yet taken by the application."""

    def start(self) -> None:
        """Begin to answer: the head, and what came with it, has been handed out."""

    def data_received(self, data: bytes) -> None:
        """A piece of the request's content."""

    def end_received(self) -> None:
        """The request's content is complete."""

    def disconnected(self) -> None:
        """The client is gone, or broke the protocol; nothing can be sent any more. Called once."""

    def refused(self, status: int, reason: str) -> None:
        """The server itself answers, before a response has begun; for the application the client is gone."""

    @property
    def lasts(self) -> bool:
        """Whether it goes on until somebody ends it: an open WebSocket, an event stream."""

    def drain(self) -> None:
        """The server is going down: end what would go on."""

    def tick(self, now_s: float) -> None:
        """Enforce the handler's own deadlines. Called a few times a second, on the loop's clock."""


class Tunnel(Handler, Protocol):
    """A handler that took its stream over."""

    def eof_received(self) -> None:
        """The client sends no more."""


class ClientConnection(Protocol):
    """What a worker asks of each of its connections, whatever they speak."""

    @property
    def client(self) -> Address | None: ...

    @property
    def buffered_bytes(self) -> int:
        """Received and not yet taken by the application, and written and not yet taken by the client."""

    def tick(self, now_s: float) -> None:
        """Enforce the deadlines that have passed. Called by the worker's sweep, a few times a second."""

    def drain(self, grace_s: float) -> None:
        """The server is going down: the next answers are the last, and ``grace_s`` without a request end it, too."""

    @property
    def lasts(self) -> bool:
        """Whether what it carries goes on until somebody ends it."""

    def dismiss(self) -> None:
        """The server is going down: end what would go on."""

    def abort(self) -> None:
        """Drop the connection; what is not yet written is lost."""

    def __hash__(self) -> int: ...


class Gateway(Protocol):
    """What makes handlers."""

    def open(self, stream: Stream, head: RequestHead) -> None:
        """Answer a request: set ``stream.handler``, which is started a little later."""

    def refuse(self, stream: Stream, error: Exception) -> None:
        """Tell the client what it did wrong, if a response is still possible, and close."""

    def refusal(self) -> bytes:
        """What a connection hears that is one too many."""

    def note_queued(self, size_bytes: int) -> None:
        """So much more waits for a client that does not take it; its connection may be dropped for that, at once."""

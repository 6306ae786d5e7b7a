"""The WebSocket that a view gets: ASGI's events behind a few methods.

::

    CONNECTING ──accept──> OPEN ──close, or the client leaves──> CLOSED
         └──────────────── close (refused) ────────────────────────┘

It speaks plain ASGI to what is below and needs no handler of ours. The handler passes a ``receive``
that reads ahead, within a byte bound, and a ``send`` in which ``websocket.accept`` returns
when the whole chain has run and the accept is written.
"""

from __future__ import annotations

import asyncio
import enum
import json
from typing import Any

from django.http import HttpRequest
from django.http.request import HttpHeaders

from fullduplex.asgi import Receive, Scope, Send
from fullduplex.exceptions import Disconnected, LocalProtocolError, RemoteProtocolError
from fullduplex.realtime.groups import Group
from fullduplex.realtime.hub import get_hub
from fullduplex.realtime.outbox import Outbox
from fullduplex.realtime.prepared import Payload, prepare
from fullduplex.sockets.response import Headers, fields, may_accept_with

MAX_REASON_BYTES = 123  # of a close frame: 125 minus the code's 2. RFC 6455 section 5.5


class SocketState(enum.Enum):
    CONNECTING = "connecting"
    OPEN = "open"
    CLOSED = "closed"


class WebSocket:
    """One WebSocket, from its handshake to its end.

    The first ``join``, ``receive``, ``send`` or iteration accepts it. One task at a time may
    receive; any number may send.

    Attributes:
        request: the handshake as Django's request: ``user``, ``session``, ``GET``, cookies, headers.
        scope: the ASGI scope, unchanged.
        state: connecting, open or closed, as far as this side knows: that a client left shows in the
            next ``receive`` or ``send``.
        close_code: how it ended, None before: as received or sent; 1005 without a code, 1006 when lost.
        close_reason: the reason that came or went with the code.
    """

    def __init__(self, request: HttpRequest, scope: Scope, receive: Receive, send: Send) -> None:
        self.request = request
        self.scope = scope
        self.state = SocketState.CONNECTING
        self.close_code: int | None = None
        self.close_reason = ""
        self._receive = receive
        self._send = send
        self._accept_task: asyncio.Future[None] | None = None
        self._receiving = False
        self._outbox: Outbox | None = None  # made by the first join: from then on the one way out
        self._cut_task: asyncio.Future[None] | None = None

    @property
    def accepted(self) -> bool:
        """Whether the accept has been written."""
        return self.state is SocketState.OPEN

    @property
    def closed(self) -> bool:
        return self.state is SocketState.CLOSED

    @property
    def headers(self) -> HttpHeaders:
        """The headers of the handshake, without regard to case."""
        return self.request.headers

    @property
    def subprotocols(self) -> list[str]:
        """The subprotocols that the client offers, in its order of preference."""
        return list(self.scope.get("subprotocols") or ())

    async def accept(self, subprotocol: str | None = None, headers: Headers | None = None) -> None:
        """Accept the handshake; return when the response middleware has run and the accept is written.

        Args:
            subprotocol: one of ``subprotocols``, or none.
            headers: a mapping, or pairs where a name is repeated (Set-Cookie); they go out with the accept, besides
                those of the middleware.

        Raises:
            ValueError: the client did not offer ``subprotocol``, or a header may not go out with an accept.
            LocalProtocolError: it is accepted already.
            Disconnected: it is closed.
        """
        headers = fields(headers)
        self.check_accept(subprotocol, headers)
        await self._accept(subprotocol, headers)

    def check_accept(self, subprotocol: str | None = None, headers: Headers | None = None) -> None:
        """Raise what :meth:`accept` would, but for ``Disconnected``."""
        if subprotocol is not None and subprotocol not in self.subprotocols:
            raise ValueError(f"the client offers the subprotocols {self.subprotocols}, and {subprotocol!r} is none")
        for name, _ in fields(headers):
            if not may_accept_with(name):
                raise ValueError(f"the header {name!r} may not go out with an accept")
        if self.accepted or (self._accept_task is not None and not self.closed):
            raise LocalProtocolError(
                "the socket is accepted already: accept() comes first, before join, receive and send"
            )

    async def receive(self) -> str | bytes:
        """Return the next message: str for text, bytes for binary.

        Raises:
            Disconnected: the client left, or the socket was closed.
            LocalProtocolError: another task is receiving.
        """
        try:
            return await self.__anext__()
        except StopAsyncIteration:
            raise self._gone() from None

    async def receive_event(self) -> dict[str, Any]:
        """Return the next ASGI event, without accepting: for those who speak ASGI themselves, such as consumers.

        In a ``websocket.disconnect`` are the code and the reason with which the socket ended, whoever closed it.
        """
        event = await self._receive()
        if event["type"] != "websocket.disconnect":
            return dict(event)
        self._ended(event.get("code") or 1005, event.get("reason") or "")
        return {"type": "websocket.disconnect", "code": self.close_code, "reason": self.close_reason}

    async def receive_text(self) -> str:
        """Return the next message, which must be text.

        Raises:
            RemoteProtocolError: it is binary; unless handled the socket closes with 1003.
        """
        message = await self.receive()
        if not isinstance(message, str):
            raise RemoteProtocolError("a text message was expected", close_code=1003)
        return message

    async def receive_bytes(self) -> bytes:
        """Return the next message, which must be binary.

        Raises:
            RemoteProtocolError: it is text; unless handled the socket closes with 1003.
        """
        message = await self.receive()
        if not isinstance(message, bytes):
            raise RemoteProtocolError("a binary message was expected", close_code=1003)
        return message

    async def receive_json(self) -> Any:
        """Return the next message, text or binary, read as JSON.

        Raises:
            RemoteProtocolError: it is no JSON; unless handled the socket closes with 1007.
        """
        message = await self.receive()
        try:
            return json.loads(message)
        except (ValueError, RecursionError) as error:
            raise RemoteProtocolError("a JSON message was expected", close_code=1007) from error

    async def send(self, payload: Payload) -> None:
        """Send one message; wait while the client reads more slowly than this side writes.

        Args:
            payload: dict or list: JSON as text; str: text; bytes: binary.

        Raises:
            Disconnected: the client left, or the socket was closed.
            TypeError, ValueError: ``payload`` is something else, or holds what JSON or UTF-8 cannot say.
        """
        data = prepare(payload).data
        await self._open()
        kind = "text" if isinstance(data, str) else "bytes"
        await self._write({"type": "websocket.send", kind: data})

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the socket; before it is accepted, refuse it with 403. Closing twice is no error.

        Args:
            code: 1000 to 1003, 1007 to 1014 or 3000 to 4999. RFC 6455 section 7.4.
            reason: at most 123 bytes in UTF-8.

        Raises:
            ValueError: ``code`` may not be sent, or ``reason`` is too long.
        """
        if not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
            raise ValueError(f"{code} is no close code that may be sent: 1000-1003, 1007-1014 or 3000-4999")
        if len(reason.encode()) > MAX_REASON_BYTES:
            raise ValueError(f"a close reason has at most {MAX_REASON_BYTES} bytes in UTF-8")
        if self.closed:
            return
        if self._accept_task is not None:
            await self._open()
        self._ended(code, reason)
        await self._send_close(code, reason)

    def __aiter__(self) -> WebSocket:
        return self

    async def __anext__(self) -> str | bytes:
        """Return the next message; the iteration ends when the client leaves or the socket is closed."""
        # Where most sockets spend their lives: no call deeper than it must be.
        if self.state is not SocketState.OPEN:
            try:
                await self._open()
            except Disconnected:
                raise StopAsyncIteration from None
        if self._receiving:
            raise LocalProtocolError("another task is receiving from this socket already")
        self._receiving = True
        try:
            event = await self._receive()
        finally:
            self._receiving = False
        if event["type"] == "websocket.disconnect":
            self._ended(event.get("code") or 1005, event.get("reason") or "")
            raise StopAsyncIteration
        text = event.get("text")
        return text if text is not None else bytes(event["bytes"])

    async def join(self, group: Group | str) -> None:
        """Become a member of ``group``: what is published after this has returned arrives, the accept first.

        Raises:
            Disconnected: the socket is closed.
            TypeError, ValueError: ``group`` is no name for a group.
            LayerError, ConfigurationError: the layer cannot be reached, or none is configured.
        """
        name = _name(group)
        if self.closed:
            raise self._gone()
        await get_hub().join(name, self.outbox())
        await self._open()

    async def leave(self, group: Group | str) -> None:
        """Leave ``group``; without a membership it does nothing. The end of the socket leaves all groups.

        Raises:
            TypeError, ValueError: ``group`` is no name for a group.
        """
        name = _name(group)
        if self._outbox is not None:
            await get_hub().leave(name, self._outbox)

    async def end(self) -> None:
        """Leave all groups and let go of the server; the handler calls it when the view is over."""
        self._ended(1006, "")
        for task in (self._accept_task, self._cut_task):
            if task is not None and task.cancel():
                await asyncio.wait({task})
        if self._outbox is not None:
            try:
                await get_hub().leave_all(self._outbox)
            finally:
                await self._outbox.close()

    # Inside ----------------------------------------------------------------------------------

    def outbox(self, policy: str | None = None) -> Outbox:
        """Return the one way out of this socket, which the first call makes.

        Args:
            policy: what happens when too much waits in it, in the place of ``OUTBOX_POLICY``.
        """
        if self._outbox is None:
            self._outbox = Outbox(self.scope, self._send, self._overflowed, policy=policy)
            if self.state is SocketState.CONNECTING:
                self._outbox.hold()
        return self._outbox

    async def _open(self) -> None:
        """Accept, unless that has been done; wait while another task does it."""
        if self.state is SocketState.OPEN:
            return
        if self.closed:
            raise self._gone()
        await self._accept(None, None)

    async def _accept(self, subprotocol: str | None, headers: Headers | None) -> None:
        """Accept once, whoever asks; a caller that is cancelled does not take the accept back."""
        if self.closed:
            raise self._gone()
        if self._accept_task is None:
            self._accept_task = asyncio.ensure_future(self._send_accept(subprotocol, headers))
        await asyncio.shield(self._accept_task)
        if self.closed:
            raise self._gone()

    async def _send_accept(self, subprotocol: str | None, headers: Headers | None) -> None:
        encoded = [(name.encode("ascii"), value.encode("latin-1")) for name, value in fields(headers)]
        try:
            await self._send({"type": "websocket.accept", "subprotocol": subprotocol, "headers": encoded})
        except OSError:
            self._ended(1006, "")
            return
        if self.state is SocketState.CONNECTING:
            self.state = SocketState.OPEN
            self._accept_task = None
            if self._outbox is not None:
                self._outbox.release()

    async def _send_close(self, code: int, reason: str) -> None:
        try:
            await self._transmit({"type": "websocket.close", "code": code, "reason": reason})
        except OSError:
            pass  # it is closed either way

    def _overflowed(self, code: int, reason: str) -> None:
        """The client is too slow for its groups, says the outbox."""
        if not self.closed:
            self._ended(code, reason)
            self._cut_task = asyncio.ensure_future(self._send_close(code, reason))

    async def _transmit(self, event: dict[str, Any]) -> None:
        if self._outbox is not None:
            await self._outbox.send(event)
        else:
            await self._send(event)

    async def _write(self, event: dict[str, Any]) -> None:
        try:
            await self._transmit(event)
        except Disconnected as error:
            self._ended(error.code, error.reason)
            raise
        except OSError as error:
            self._ended(1006, "")
            raise self._gone() from error

    def _ended(self, code: int, reason: str) -> None:
        if self.state is not SocketState.CLOSED:
            self.state = SocketState.CLOSED
            self.close_code = code
            self.close_reason = reason

    def _gone(self) -> Disconnected:
        return Disconnected(self.close_code or 1006, self.close_reason)


def _name(group: Group | str) -> str:
    return group.name if isinstance(group, Group) else Group(group).name

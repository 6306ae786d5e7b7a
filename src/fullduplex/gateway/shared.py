"""What the exchanges and sessions of one worker share: the application, its tasks, the date, refusals."""

from __future__ import annotations

import asyncio
import contextvars
import email.utils
import logging
import sys
from collections import deque
from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import Any, Protocol

from fullduplex.asgi import Application, Scope
from fullduplex.exceptions import IncompleteRequest
from fullduplex.gateway.access_log import AccessLog, log_refusal
from fullduplex.gateway.asgi import http_scope, task_name
from fullduplex.limits import ConnectionLimits, LoadLimits, WebSocketLimits
from fullduplex.net.stream import Stream
from fullduplex.wire.events import Data, Fields, RequestHead, ResponseHead
from fullduplex.wire.http1_writer import DefaultFields

logger = logging.getLogger("fullduplex.server")

# How long the sockets that hold input may keep the loop in one turn, all together: a thousand of them would keep it for
# seconds.
GOING_ON_S = 0.005


class Socket(Protocol):
    """A session, as far as others have to do with it."""

    @property
    def unfinished_bytes(self) -> int:
        """Held of a message whose end has not come."""

    def refuse_unfinished(self) -> None:
        """Close with 1009."""

    def flush(self) -> None:
        """Write what was gathered in this turn of the loop."""

    def go_on(self) -> None:
        """Hand out more of the input that is held."""

    def abort(self) -> None:
        """Drop the connection."""


class Shared:
    """The application of one worker, and what its calls have in common.

    Args:
        app: ASGI 3 application.
        access_log: told about every request and socket, or None.
        websocket: limits of each WebSocket.
        connection: limits of each connection.
        load: limits of all of them together.
        server_header: whether responses carry ``server: fullduplex``.
    """

    def __init__(
        self,
        app: Application,
        access_log: AccessLog | None,
        websocket: WebSocketLimits,
        connection: ConnectionLimits,
        load: LoadLimits | None = None,
        server_header: bool = True,
    ) -> None:
        self.app = app
        self.access_log = access_log
        self.websocket = websocket
        self.connection = connection
        self.load = load or LoadLimits()
        self.exchange_count = 0  # in progress
        self.taken_count = 0  # requests and sockets so far
        # Of every application call, each with a copy: a request may be taken while another one is answered,
        # and must not see its context variables.
        self._context = contextvars.copy_context()
        self.state: dict[str, Any] | None = None
        self.amend: Callable[[Scope], None] | None = None  # corrects each scope; set where anything needs it
        self.tasks: set[asyncio.Task[None]] = set()
        self.turn = 1  # of the loop; only those count in which prepared messages are written
        self.in_turn = False
        self.unflushed: list[Socket] = []  # those that write at the end of this turn
        self.going_on_s = GOING_ON_S
        self._going_on: deque[Socket] = deque()  # those that hold input
        self._unfinished: set[Socket] = set()  # in the middle of a message
        self._unfinished_bytes = 0
        self._server_fields: Fields = [(b"server", b"fullduplex")] if server_header else []
        self.default_fields = DefaultFields()

    def set_clock(self, wall_s: float) -> None:
        """Renew the Date field (RFC 9110 section 6.6.1: one-second resolution)."""
        date = email.utils.formatdate(wall_s, usegmt=True).encode()
        self.default_fields.set([(b"date", date), *self._server_fields])

    def begin_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """Something is written to sockets in this turn of the loop."""
        self.in_turn = True
        loop.call_soon(self._end_turn)

    def _end_turn(self) -> None:
        """Let those write that have gathered something."""
        self.in_turn = False
        self.turn += 1
        gathered, self.unflushed = self.unflushed, []
        for one in gathered:
            try:
                try:
                    one.flush()
                except Exception:
                    logger.exception("The messages of a turn could not be written; the connection is dropped")
                    one.abort()
            except Exception:  # the others' messages must leave all the same
                logger.exception("A connection could not be dropped")

    def go_on_soon(self, socket: Socket, loop: asyncio.AbstractEventLoop) -> None:
        """Let a socket hand out more of what it holds, in its turn."""
        self._going_on.append(socket)
        if len(self._going_on) == 1:
            loop.call_soon(self._go_on, loop)

    def _go_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Serve those that hold input, each once at most, until the time is over."""
        until_s = perf_counter() + self.going_on_s
        waiting = self._going_on
        try:
            for _ in range(len(waiting)):
                socket = waiting[0]
                try:
                    socket.go_on()
                except Exception:
                    logger.exception("What a client sent could not be taken; the connection is dropped")
                    socket.abort()
                finally:
                    waiting.popleft()
                if perf_counter() >= until_s:
                    break
        finally:
            if waiting:
                loop.call_soon(self._go_on, loop)

    def count_unfinished(self, socket: Socket, more_bytes: int) -> None:
        """So much more, or less, is held of a message whose end has not come."""
        self._unfinished_bytes += more_bytes
        if socket.unfinished_bytes + more_bytes:
            self._unfinished.add(socket)
        else:
            self._unfinished.discard(socket)

    def bound_unfinished(self) -> None:
        """Hold no more of unfinished messages, of all sockets together, than may be: the largest has to go."""
        while self._unfinished_bytes > self.load.max_unfinished_bytes > 0:
            max(self._unfinished, key=lambda socket: socket.unfinished_bytes).refuse_unfinished()

    def note_waiting(self, size_bytes: int, loop: asyncio.AbstractEventLoop) -> None:
        """One connection holds so much that reading from it pauses."""

    def refuse(self, stream: Stream, error: Exception, head: RequestHead | None = None) -> None:
        """Tell the client what it did wrong, if that is still possible; then close.

        Args:
            stream: where it came from.
            error: what was wrong.
            head: of a request that nobody handles.
        """
        handler, stream.handler = stream.handler, None
        if handler is not None and handler.response_started:
            handler.disconnected()
            stream.close()
            return
        status = getattr(error, "status_hint", 400)
        if handler is not None:
            # An upload that broke off: 499, nginx's number for a client that went away.
            handler.refused(499 if isinstance(error, IncompleteRequest) else status, str(error))
        else:
            scope = {"client": stream.client} if head is None else self.refused_scope(stream, head)
            self.note_refusal(scope, status, str(error))
        headers = getattr(error, "headers", None)
        stream.send(*self.own_response(status, str(error), close=True, headers=headers))
        stream.finish()

    def refused_scope(self, stream: Stream, head: RequestHead) -> Scope:
        """The scope of a request that is refused, for the log."""
        scope = http_scope(stream, head, self.state)
        if self.amend is not None:
            self.amend(scope)
        return scope

    def note_refusal(self, scope: Scope, status: int, reason: str) -> None:
        """Log what the server itself answers, once."""
        if self.access_log is not None:
            self.access_log.http_refuse(scope, status, reason)
        else:
            log_refusal(scope, status, reason)

    def own_response(
        self, status: int, text: str, *, close: bool = False, headers: Fields | None = None
    ) -> tuple[ResponseHead, Data]:
        """A short plain-text response of the server's own."""
        body = text.encode() + b"\n"
        fields: Fields = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            *(headers or ()),
        ]
        if close:
            fields.append((b"connection", b"close"))
        return ResponseHead(status, fields), Data(body, end_stream=True)

    def start(
        self, coroutine: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop, scope: Scope
    ) -> asyncio.Task[None] | None:
        """Run an application call as a task; its first steps at once (Python 3.12), which saves a turn of the loop.

        Return the task, unless it is over: at its end the call takes itself out of ``tasks``. A callback of the task
        would take a turn of the loop.
        """
        if sys.version_info >= (3, 12):
            task = asyncio.Task(coroutine, loop=loop, eager_start=True, context=self._context.copy())
            if task.done():
                return None
            task.set_name(task_name(scope))  # not in the constructor: most are done by now
        else:
            task = loop.create_task(coroutine, name=task_name(scope), context=self._context.copy())
            task.add_done_callback(self.tasks.discard, context=self._context)  # it may be cancelled before it begins
        self.tasks.add(task)
        return task

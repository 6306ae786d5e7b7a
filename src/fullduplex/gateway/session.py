"""One WebSocket: one call of the ASGI application, whatever the framing below.

::

    HANDSHAKE ──accept──> OPEN ──our close──> CLOSING ──the client's──> CLOSED
        │                  └──────── the client's close, or it is gone ───┤
        └──refusal──> REFUSING ───────────────────────────────────────────┘
"""

from __future__ import annotations

import asyncio
import contextvars
import enum
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

from fullduplex.asgi import Event, Scope
from fullduplex.exceptions import Disconnected, LocalProtocolError, RemoteProtocolError
from fullduplex.gateway.access_log import log_failure
from fullduplex.gateway.asgi import websocket_scope
from fullduplex.gateway.call import call
from fullduplex.gateway.shared import Shared
from fullduplex.net.stream import Stream
from fullduplex.wire.deflate import negotiate_deflate
from fullduplex.wire.events import Close, ConnectionEnded, Data, ProtocolFailed, RequestHead, ResponseHead
from fullduplex.wire.events import Event as WireEvent
from fullduplex.wire.events import Message as MessageEvent
from fullduplex.wire.handshake import Handshake, accept_headers, read_handshake
from fullduplex.wire.websocket import WebSocketCodec

# What a message costs beyond its data: an object and its place in the queue. Without it, a client's empty messages
# would wait in any number for a slow application.
MESSAGE_OVERHEAD_BYTES: Final = 64


# Prepared messages of one turn of the loop that leave in one write. More would save little, and be copied.
GATHERED_BYTES: Final = 16_384


class State(enum.Enum):
    HANDSHAKE = enum.auto()
    REFUSING = enum.auto()
    OPEN = enum.auto()
    CLOSING = enum.auto()
    CLOSED = enum.auto()


# Bound once: looking up a member of an enum costs more than the comparison.
_HANDSHAKE: Final = State.HANDSHAKE
_REFUSING: Final = State.REFUSING
_OPEN: Final = State.OPEN
_CLOSING: Final = State.CLOSING
_CLOSED: Final = State.CLOSED


class Prepared(Protocol):
    """A message that goes to many sockets; its frames are made once for each way of encoding them."""

    data: str | bytes
    frames: dict[Any, bytes]


class Session:
    """The state of one WebSocket, and the ``receive`` and ``send`` of its application."""

    __deletable__ = ("_handshake", "_scope")  # mypyc asks for it
    __slots__ = (
        "_bound_bytes",
        "_close",
        "_codec",
        "_connect_taken",
        "_context",
        "_goes_on",
        "_handshake",
        "_on_disconnect",
        "_pending",
        "_pending_bytes",
        "_reading_paused",
        "_refusal",
        "_scope",
        "_shared",
        "_shared_key",
        "_started_s",
        "_state",
        "_stream",
        "_task",
        "_transport",
        "_turn",
        "_unfinished_bytes",
        "_unsent",
        "_unsent_bytes",
        "_waiter",
    )

    def __init__(self, shared: Shared, stream: Stream, handshake: Handshake, scope: Scope) -> None:
        self._shared = shared
        self._stream = stream
        self._transport = stream.transport
        self._handshake = handshake
        self._scope = scope
        self._context: contextvars.Context | None = None  # of the application where it accepted, for the log
        self._started_s = stream.loop.time()
        self._state = _HANDSHAKE
        self._codec: WebSocketCodec
        self._shared_key: int | None
        self._connect_taken = False
        self._pending: list[str | bytes] | None = None  # a deque is slower to make, and a few hundred is what may wait
        self._pending_bytes = 0
        self._bound_bytes = shared.connection.read_buffer_bytes
        self._reading_paused = False
        self._goes_on = False  # in the next turn of the loop
        self._unfinished_bytes = 0  # as counted for the whole worker
        self._unsent: list[bytes] | None = None  # frames of prepared messages, until the end of the turn
        self._unsent_bytes = 0
        self._turn = 0  # in which a prepared message was written last
        self._refusal: ResponseHead | None = None
        self._close: Close | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._on_disconnect: Callable[[int, str], None] | None = None

    @classmethod
    def open(cls, shared: Shared, stream: Stream, head: RequestHead) -> None:
        """Check the handshake, and make the session the stream's handler."""
        try:
            handshake = read_handshake(head)
        except RemoteProtocolError as error:
            shared.refuse(stream, error, head)
            return
        scope = websocket_scope(stream, head, shared.state, handshake.subprotocols)
        if shared.amend is not None:
            shared.amend(scope)
        session = cls(shared, stream, handshake, scope)
        stream.handler = session
        scope["extensions"]["fullduplex.prepared"] = {
            "version": 1,
            "write": session.write_prepared,
            "on_drain": stream.flow.on_resume,
            "on_disconnect": session.on_disconnect,
        }
        if shared.access_log is not None:
            shared.access_log.websocket_handshake(scope)

    # From the stream -------------------------------------------------------------------------

    def start(self) -> None:
        self._shared.taken_count += 1
        shared, scope = self._shared, self._scope
        self._task = shared.start(call(shared.app, self, scope), self._stream.loop, scope)

    @property
    def response_started(self) -> bool:
        return self._state is not _HANDSHAKE

    @property
    def buffered_bytes(self) -> int:
        is_open = self._state is _OPEN or self._state is _CLOSING
        return self._pending_bytes + (self._codec.buffered_bytes if is_open else 0)

    def data_received(self, data: bytes) -> None:
        if self._state is _OPEN:
            message = self._codec.receive_message(data, self._stream.loop.time())
            if message is not None:
                self._message(message)
                if self._pending_bytes > self._bound_bytes or self._reading_paused:
                    self._steer()
                return
        if self._state is _OPEN or self._state is _CLOSING:
            self._handle(self._codec.receive_data(data, self._stream.loop.time()))

    def end_received(self) -> None:
        """A handshake has no content."""

    def eof_received(self) -> None:
        if self._state is _OPEN or self._state is _CLOSING:
            self._handle(self._codec.receive_eof())

    def disconnected(self) -> None:
        self._end(Close(1006), "lost")

    def refused(self, status: int, reason: str) -> None:
        """The server itself answers the handshake; for the application the client is gone."""
        self._shared.note_refusal(self._scope, status, reason)
        self._over()

    def tick(self, now_s: float) -> None:
        if self._state is _OPEN and self._stream.reading_paused:
            self._codec.excuse_silence(now_s)
        elif self._state is _OPEN or self._state is _CLOSING:
            deadline_s = self._codec.next_deadline_s()
            if deadline_s is not None and now_s >= deadline_s:
                self._handle(self._codec.receive_data(b"", now_s))
        elif self._state is _HANDSHAKE and now_s >= self._started_s + self._shared.websocket.handshake_timeout_s:
            log_failure("The ASGI application did not answer a handshake in time", self._scope)
            self._refuse(504, "Gateway Timeout")

    @property
    def lasts(self) -> bool:
        return self._state is _OPEN

    def drain(self) -> None:
        """Tell the client to come back (1012, service restart), and the application that it is over."""
        if self._state is _OPEN:
            self._send_close(1012, "service restart")

    # The application's side ------------------------------------------------------------------

    async def receive(self) -> Event:
        """``websocket.connect``, then ``websocket.receive`` for each message, then ``websocket.disconnect``.

        Raises:
            LocalProtocolError: another task is waiting in ``receive`` already.
        """
        if not self._connect_taken:
            self._connect_taken = True
            return {"type": "websocket.connect"}
        while (pending := self._pending) is None:
            if self._close is not None:
                return {"type": "websocket.disconnect", "code": self._close.code, "reason": self._close.reason}
            if self._waiter is not None:
                raise LocalProtocolError("another task is waiting in receive() already")
            self._waiter = self._stream.loop.create_future()
            if self._reading_paused:
                self._steer()
            try:
                await self._waiter
            finally:
                self._waiter = None
        data = pending.pop(0)
        if pending:
            self._pending_bytes -= _weight(data)
        else:
            self._pending = None
            self._pending_bytes = 0
        if self._reading_paused:
            self._steer()
        if type(data) is str:
            return {"type": "websocket.receive", "text": data}
        return {"type": "websocket.receive", "bytes": data}

    async def send(self, message: Event) -> None:
        """Take one ASGI event; waits while the client reads more slowly than the application writes.

        Raises:
            Disconnected: the socket is closed.
            LocalProtocolError: the event is malformed or comes at the wrong time.
        """
        kind = message["type"]
        size_bytes = 0
        if kind == "websocket.send":
            size_bytes = self._send_message(message)
        elif kind == "websocket.accept":
            self._accept(message)
        elif kind == "websocket.close":
            self._app_close(message)
        elif kind == "websocket.http.response.start":
            self._app_refusal_start(message)
        elif kind == "websocket.http.response.body":
            self._app_refusal_body(message)
        else:
            raise LocalProtocolError(f"unknown ASGI event {kind!r} on a WebSocket")
        if self._stream.flow.must_wait(size_bytes):
            await self._stream.flow.drain()

    def on_disconnect(self, callback: Callable[[int, str], None]) -> None:
        """Have ``callback(code, reason)`` called when the socket has ended, whoever ended it; at once if it has.

        ``receive`` tells of it only behind all messages, and needs a task that waits in it.
        """
        self._on_disconnect = callback
        if self._close is not None:
            self._tell_disconnect(self._close)

    def write_prepared(self, prepared: Prepared) -> int:
        """Write a message that other sockets get, too; see ``fullduplex.prepared`` in docs/internals.

        The first one of a turn of the loop is written at once, those behind it together at the turn's end: a system
        call costs more than all the rest.

        Returns:
            Bytes that now wait for this client, besides at most ``GATHERED_BYTES`` of this turn.

        Raises:
            Disconnected: the socket is closed.
            LocalProtocolError: it is not accepted yet.
        """
        if self._state is not _OPEN:
            raise self._gone()
        # Runs once for each member and message, so it does what it can without a call.
        frame = prepared.frames.get(self._shared_key)
        if frame is None:
            frame = self._codec.shared_frame(prepared.data, prepared.frames)
        shared = self._shared
        if self._turn != shared.turn:
            self._turn = shared.turn
            if not shared.in_turn:
                shared.begin_turn(self._stream.loop)
            if not self._transport.is_closing():
                self._transport.write(frame)
        else:
            self._gather(frame)
        return self._transport.get_write_buffer_size()

    def _gather(self, frame: bytes) -> None:
        """Keep what is not the first prepared message of its turn for the end of the turn."""
        if len(frame) > GATHERED_BYTES:  # joining would copy it
            self.flush()
            if not self._transport.is_closing():
                self._transport.write(frame)
        elif self._unsent is None:
            self._unsent = [frame]
            self._unsent_bytes = len(frame)
            self._shared.unflushed.append(self)
        else:
            self._unsent.append(frame)
            self._unsent_bytes += len(frame)
            if self._unsent_bytes > GATHERED_BYTES:
                self.flush()

    def flush(self) -> None:
        """Write the prepared messages of this turn."""
        unsent = self._unsent
        if unsent is None:
            return
        self._unsent = None
        if not self._transport.is_closing():
            self._transport.write(unsent[0] if len(unsent) == 1 else b"".join(unsent))

    def abort(self) -> None:
        """Drop the connection."""
        self._stream.abort()

    # Handshake -------------------------------------------------------------------------------

    def _accept(self, message: Event) -> None:
        self._expect(_HANDSHAKE, "websocket.accept")
        limits = self._shared.websocket
        parameters = None
        if limits.deflate:
            offers = self._handshake.extensions
            parameters = negotiate_deflate(offers, context_takeover=limits.deflate_takeover)
        subprotocol = message.get("subprotocol")
        extra = [*message.get("headers", ())]
        fields = accept_headers(self._handshake, subprotocol, extra, parameters)
        stream = self._stream
        stream.send(ResponseHead(101, fields, end_stream=True))
        self._codec = WebSocketCodec(limits, deflate=parameters, now_s=stream.loop.time())
        self._shared_key = self._codec.shared_key
        self._state = _OPEN
        del self._handshake  # it has served, and the socket may stay for days
        if self._shared.access_log is not None:
            self._context = contextvars.copy_context()
            self._shared.access_log.websocket_accept(self._scope)
        early = stream.upgrade(self)
        if early:
            self.data_received(early)

    def _app_refusal_start(self, message: Event) -> None:
        self._expect(_HANDSHAKE, "websocket.http.response.start")
        status = message["status"]
        if not isinstance(status, int) or not 300 <= status <= 599:
            raise LocalProtocolError(f"a handshake is refused with a status from 300 to 599, not {status!r}")
        self._state = _REFUSING
        self._refusal = ResponseHead(status, [*message.get("headers", ())])

    def _app_refusal_body(self, message: Event) -> None:
        self._expect(_REFUSING, "websocket.http.response.body")
        end = not message.get("more_body", False)
        data = Data(message.get("body", b""), end)
        if self._refusal is not None:
            head, self._refusal = self._refusal, None
            self._stream.send(head, data)
            self._log_refusal(head.status)
        else:
            self._stream.send(data)
        if end:
            self._refused()

    def _refuse(self, status: int, text: str) -> None:
        self._stream.send(*self._shared.own_response(status, text))
        self._log_refusal(status)
        self._refused()

    def _refused(self) -> None:
        self._over()
        self._stream.finish()

    def _over(self) -> None:
        """There will be no socket."""
        self._state = _CLOSED
        self._close = Close(1006)
        self._wake()
        self._tell_disconnect(self._close)

    def _log_refusal(self, status: int) -> None:
        if self._shared.access_log is not None:
            self._shared.access_log.websocket_refuse(self._scope, status)

    # Messages and closing --------------------------------------------------------------------

    def _send_message(self, message: Event) -> int:
        """Return the bytes written."""
        if self._state is not _OPEN or self._transport.is_closing():
            if self._state is _OPEN:
                self._end(Close(1006), "lost")  # the connection will say so, too, when the loop gets to it
            self._expect(_OPEN, "websocket.send")
        data = message.get("text")
        if data is None:
            data = message.get("bytes")
            if data is None:
                raise LocalProtocolError("websocket.send carries neither text nor bytes")
        frame = self._codec.encode_message(data)
        if self._unsent is None:
            self._transport.write(frame)
        else:
            self._write(frame)
        return len(frame)

    def _app_close(self, message: Event) -> None:
        if self._state is _HANDSHAKE:
            self._refuse(403, "Forbidden")
        elif self._state is _OPEN:
            self._send_close(message.get("code") or 1000, message.get("reason") or "")
        elif self._state is _REFUSING:
            raise LocalProtocolError("websocket.close came in the middle of a refusal")
        # Closing what is closed asks for nothing new: the client may have been faster.

    def _send_close(self, code: int, reason: str) -> None:
        self._codec.send(Close(code, reason))
        self._write(self._codec.data_to_send())
        self._end(Close(code, reason), "server")
        self._state = _CLOSING

    def _handle(self, events: list[WireEvent]) -> None:
        for event in events:
            kind = type(event)
            if kind is MessageEvent:
                self._message(cast(MessageEvent, event).data)
            elif kind is Close:
                self._end(cast(Close, event), "client")
                self._hang_up()
            elif kind is ProtocolFailed:
                error = cast(ProtocolFailed, event).error
                self._end(Close(getattr(error, "close_code", 1002), str(error)), "server")
                self._hang_up()
            elif kind is ConnectionEnded:
                self._end(Close(1006), "lost")
                self._hang_up()
        codec = self._codec
        data = codec.data_to_send()
        if data:
            self._write(data)
        if codec.unfinished_bytes != self._unfinished_bytes:
            self._count_unfinished(codec.unfinished_bytes)
        if self._pending_bytes > self._bound_bytes or codec.holds_data or self._reading_paused:
            self._steer()

    def _steer(self) -> None:
        """Take no more from the client than the application takes, and nothing before what the codec holds.

        What it holds is handed out a part in each turn of the loop, so that others have theirs; what would inflate to
        megabytes, when the application waits for it.
        """
        bound_bytes = self._bound_bytes
        waiting_bytes = 0 if self._close is not None else self._pending_bytes
        holds = (self._state is _OPEN or self._state is _CLOSING) and self._codec.holds_data
        if not self._reading_paused and (holds or waiting_bytes > bound_bytes):
            self._reading_paused = True
            self._stream.pause_reading()
            if waiting_bytes > bound_bytes:
                self._shared.note_waiting(waiting_bytes, self._stream.loop)
        if waiting_bytes > bound_bytes // 4:
            return
        if holds:
            if not self._goes_on and self._may_go_on():
                self._goes_on = True
                self._shared.go_on_soon(self, self._stream.loop)
        elif self._reading_paused:
            self._reading_paused = False
            self._stream.resume_reading()

    def go_on(self) -> None:
        """Hand out more of what the codec holds."""
        self._goes_on = False
        if (self._state is _OPEN or self._state is _CLOSING) and self._may_go_on():
            self._handle(self._codec.receive_data(b"", self._stream.loop.time()))

    def _may_go_on(self) -> bool:
        return not self._codec.holds_large or self._waiter is not None or self._close is not None

    def _count_unfinished(self, size_bytes: int) -> None:
        """A message has begun, goes on, or has ended."""
        self._shared.count_unfinished(self, size_bytes - self._unfinished_bytes)
        self._unfinished_bytes = size_bytes
        self._shared.bound_unfinished()

    @property
    def unfinished_bytes(self) -> int:
        """Held of a message whose end has not come."""
        return self._unfinished_bytes

    def refuse_unfinished(self) -> None:
        """Close with 1009: all sockets together hold too much of messages whose ends have not come, this one most."""
        self._handle(self._codec.fail(RemoteProtocolError("too much is held of unfinished messages", close_code=1009)))

    def _write(self, data: bytes) -> None:
        """Write behind the prepared messages of this turn."""
        if self._unsent is not None:
            self._unsent.append(data)
            self.flush()
        else:
            self._transport.write(data)

    def _message(self, data: str | bytes) -> None:
        if self._close is not None:
            return  # our close frame is on its way: nobody will read this
        if self._pending is None:
            self._pending = [data]
        else:
            self._pending.append(data)
        self._pending_bytes += _weight(data)
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _hang_up(self) -> None:
        """The closing handshake is complete, or cannot be: the server closes first (RFC 6455 section 7.1.1)."""
        self.flush()
        data = self._codec.data_to_send()
        if data:  # a second end of the same socket has none, and writing after EOF is an error
            self._stream.transport.write(data)
        self._state = _CLOSED
        self._stream.close_lingering()

    def _end(self, close: Close, ended_by: str) -> None:
        """Note how the socket ended, the first time that it does."""
        if self._unfinished_bytes:
            self._count_unfinished(0)
        if self._close is not None:
            return
        self._close = close
        log = self._shared.access_log
        if log is None:
            pass
        elif self._state is _OPEN:
            duration_s = self._stream.loop.time() - self._started_s
            assert self._context is not None
            self._context.run(log.websocket_close, self._scope, close.code, close.reason, ended_by, duration_s)
            self._context = None
        elif self._state is _HANDSHAKE or self._refusal is not None:
            log.websocket_refuse(self._scope, 499)  # nobody saw an answer; as for other requests
        if ended_by == "lost":
            self._state = _CLOSED
        if self._reading_paused:
            self._steer()
        self._wake()
        self._tell_disconnect(close)

    def _tell_disconnect(self, close: Close) -> None:
        """Not from within: who is told may send, or end the application's call."""
        callback, self._on_disconnect = self._on_disconnect, None
        if callback is not None:
            self._stream.loop.call_soon(callback, close.code, close.reason)

    def ended(self, error: BaseException | None) -> None:
        """The application's call is over."""
        try:
            if error is None:
                if self._state is _HANDSHAKE:
                    log_failure("The ASGI application returned without an answer", self._scope)
                self._finish(1000, 500)
            elif isinstance(error, Disconnected):
                self._finish(1011, 500)  # the application let the news of the client's leaving pass: no error
            elif isinstance(error, Exception):
                log_failure("Exception in the ASGI application", self._scope, error)
                self._finish(1011, 500)
            else:
                self._finish(1012, 503)
        finally:
            # It refers to this object, by way of its extensions: the garbage collector would have to find every socket.
            del self._scope
            if self._task is not None:
                self._shared.tasks.discard(self._task)
                self._task = None

    def _finish(self, close_code: int, status: int) -> None:
        """The application is done: close or refuse what it left open."""
        if self._close is not None:
            return
        if self._state is _OPEN:
            self._send_close(close_code, "")
        elif self._state is _HANDSHAKE:
            self._refuse(status, "Internal Server Error" if status == 500 else "Service Unavailable")
        else:
            self._end(Close(1006), "lost")
            self._stream.abort()  # a refusal cut short must look like one

    # Inside ----------------------------------------------------------------------------------

    def _expect(self, state: State, kind: str) -> None:
        if self._state is state and self._close is None:
            return
        if self._close is not None:
            raise self._gone()
        raise LocalProtocolError(f"{kind} is not allowed {_WHEN[self._state]}")

    def _gone(self) -> Exception:
        close = self._close
        if close is None:
            return (
                Disconnected()
                if self._state is _CLOSED
                else LocalProtocolError("a message is not allowed before websocket.accept")
            )
        return Disconnected(close.code, close.reason)

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


def _weight(data: str | bytes) -> int:
    """What a message that waits is counted for."""
    if type(data) is str and not data.isascii():
        return 4 * len(data) + MESSAGE_OVERHEAD_BYTES  # up to four bytes for each character
    return len(data) + MESSAGE_OVERHEAD_BYTES


_WHEN = {
    _HANDSHAKE: "before the handshake is accepted",
    _REFUSING: "in a refusal",
    _OPEN: "after the handshake is accepted",
    _CLOSING: "after websocket.close",
    _CLOSED: "after the end",
}

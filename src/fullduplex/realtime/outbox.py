"""The one way out of a socket: what groups deliver, and what the view itself sends, in order.

::

                       clear road (fullduplex.prepared)
    deliver(message) ──────────────────────────────────────> write(prepared)
        │                                                        ^
        └── held, congested, or the server has no extension ──> queue ──> or ASGI send, by a writer task
                                                                 ^ │
    send(event) ── takes its turn behind what waits ─────────────┘ └──> its own ASGI send

What waits for a slow client is bounded in bytes. Beyond the bound the policy decides, and counts.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fullduplex.asgi import Event
from fullduplex.conf import get_settings
from fullduplex.exceptions import ConfigurationError, Disconnected
from fullduplex.realtime.prepared import Prepared

logger = logging.getLogger("fullduplex.realtime")

EXTENSION = "fullduplex.prepared"
POLICIES = ("disconnect", "drop_oldest", "drop_newest", "keep_latest")

#: Close code of a client that is too slow: "Try Again Later", from IANA's registry of WebSocket close codes.
#: A client that comes back finds an empty queue.
TOO_SLOW = 1013

# What a waiting message costs beside its data: a slot of the queue, the head of a frame (RFC 6455 section 5.2: up to 10
# bytes). Without it, empty messages would wait without bound.
_ENTRY_BYTES = 64

# With a dropping policy, what the server holds for one client, and nobody can drop any more. asyncio's high-water mark.
_WIRE_BYTES = 65_536

_CLOSE_TIMEOUT_S = 5.0  # a close waits so long behind queued messages, as the server then does for the peer's close


#: The turn of an event of the view's own: done when it may be sent.
_Turn = asyncio.Future[None]


class Counters:
    """Messages of groups, by what became of them; plain ints that only grow.

    Attributes:
        delivered: handed to the server.
        dropped: not sent: by policy, or because the socket closed before.
        disconnected: sockets closed for being too slow, or after a gap.
        gaps: memberships that may have missed messages, because the broker was lost for a while.
    """

    __slots__ = ("delivered", "disconnected", "dropped", "gaps")

    def __init__(self) -> None:
        self.delivered = 0
        self.dropped = 0
        self.disconnected = 0
        self.gaps = 0


#: Of all sockets of this process, since it started.
totals = Counters()


class Outbox(Counters):
    """The way out of one socket; for the thread of its loop only. It counts what became of this socket's messages.

    Args:
        scope: the ASGI scope; ``write`` and ``on_drain`` of its extension ``fullduplex.prepared`` are used.
        send: the ASGI ``send``.
        on_overflow: called once with a close code and a reason when the policy, or :meth:`cut`, ends the socket.
        max_bytes: what may wait for the client; ``OUTBOX_MAX_BYTES`` of the settings by default. One
            message more may be on the wire.
        policy: what happens above it; ``OUTBOX_POLICY`` of the settings by default:
            ``disconnect``: the socket is closed with 1013, so that the client knows that it missed something;
            ``drop_oldest``, ``drop_newest``: that message is lost;
            ``keep_latest``: as soon as messages wait, of each group the newest alone stays (prices, positions).
        close_timeout_s: how long a close may wait behind queued messages.

    Raises:
        ConfigurationError: there is no such policy.

    Attributes:
        groups: the rooms of the hub that it is in; the hub's.
    """

    __slots__ = (
        "__weakref__",
        "_asgi_send",
        "_clear",
        "_close_timeout_s",
        "_congested",
        "_congested_bytes",
        "_gone",
        "_held",
        "_on_drain",
        "_on_overflow",
        "_pumping",
        "_queue",
        "_queued_bytes",
        "_turn",
        "_write",
        "_writer",
        "groups",
        "max_bytes",
        "policy",
    )

    def __init__(
        self,
        scope: Mapping[str, Any],
        send: Callable[[Event], Awaitable[None]],
        on_overflow: Callable[[int, str], None],
        *,
        max_bytes: int | None = None,
        policy: str | None = None,
        close_timeout_s: float = _CLOSE_TIMEOUT_S,
    ) -> None:
        settings = get_settings()
        self.max_bytes = settings.outbox_max_bytes if max_bytes is None else max_bytes
        self.policy = settings.outbox_policy if policy is None else policy
        if self.policy not in POLICIES:
            raise ConfigurationError(f"OUTBOX_POLICY is one of {', '.join(POLICIES)}, not {self.policy!r}.")
        super().__init__()
        self.groups: list[str] = []
        self._asgi_send = send
        self._on_overflow = on_overflow
        self._close_timeout_s = close_timeout_s
        extension = (scope.get("extensions") or {}).get(EXTENSION) if settings.prepared_frames else None
        self._write: Callable[[Prepared], int] | None = extension["write"] if extension else None
        self._on_drain: Callable[[Callable[[], None]], None] | None = extension["on_drain"] if extension else None
        self._congested_bytes = self.max_bytes if self.policy == "disconnect" else min(_WIRE_BYTES, self.max_bytes)
        self._queue: deque[Prepared | _Turn] | None = None  # what an empty one takes is a tenth of a socket
        self._queued_bytes = 0
        self._held = False
        self._congested = False
        self._turn: _Turn | None = None
        self._writer: asyncio.Task[None] | None = None
        self._pumping = False
        self._gone: Disconnected | None = None
        self._clear = self._write is not None  # the road to ``write`` is: nothing waits, nothing hinders

    @property
    def waiting_bytes(self) -> int:
        """What waits here, besides the server's own buffer."""
        return self._queued_bytes

    def deliver(self, prepared: Prepared) -> None:
        """Send a message of a group: now, later, or not at all, as the client and the policy have it. Never raises."""
        if self._clear:
            self._put_on_wire(prepared)
        else:
            self._enqueue(prepared)

    async def send(self, event: Event) -> None:
        """Send an ASGI event behind everything that was delivered before; a message is never dropped.

        Raises:
            Disconnected: the socket ended, or was closed for being too slow.
            Exception: what the ASGI ``send`` raises.
        """
        kind = event["type"]
        if kind == "websocket.close":
            await self._close_behind_queue(event)
        elif self._clear or kind != "websocket.send":
            await self._asgi_send(event)
        else:
            await self._send_in_turn(event)

    async def drained(self) -> None:
        """Wait until what was delivered before has left, but for what the server's own buffer takes without waiting.
        Others have the loop meanwhile.

        Raises:
            Disconnected: the socket ended.
        """
        turn = self._line_up()
        try:
            await turn
        finally:
            self._leave_line(turn)
        if self._gone is None and self._on_drain is not None:
            has_room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._on_drain(lambda: None if has_room.done() else has_room.set_result(None))
            await has_room
        await asyncio.sleep(0)
        if self._gone is not None:
            raise Disconnected(self._gone.code, self._gone.reason)

    def hold(self) -> None:
        """Keep what comes, in order, until :meth:`release`: the accept must be written first."""
        self._held = True
        self._clear = False

    def release(self) -> None:
        self._held = False
        self._pump()

    async def close(self) -> None:
        """The socket is over: drop and count what waits, and leave no task behind."""
        writer = self._writer
        self._end(Disconnected())
        if writer is not None:
            await asyncio.wait({writer})

    # To the server ---------------------------------------------------------------------------

    def _put_on_wire(self, prepared: Prepared) -> None:
        try:
            waiting_bytes = self._write(prepared)  # type: ignore[misc]  # the road is clear only with the extension
        except Exception as error:
            self._drop()
            self._lose(error)
            return
        self.delivered += 1
        totals.delivered += 1
        if waiting_bytes > self._congested_bytes:
            self._congest()

    def _congest(self) -> None:
        if self.policy == "disconnect":
            self.cut(TOO_SLOW, "too slow")
            return
        assert self._on_drain is not None
        self._congested = True
        self._clear = False
        try:
            self._on_drain(self._drained)
        except Exception as error:  # nobody would ever tell that it has drained
            self._lose(error)

    def _drained(self) -> None:
        self._congested = False
        self._pump()

    async def _send_queued(self) -> None:
        """The writer task, for servers without the extension."""
        while self._queue and isinstance(prepared := self._queue[0], Prepared):
            self._queue.popleft()
            kind = "text" if isinstance(prepared.data, str) else "bytes"
            try:
                await self._asgi_send({"type": "websocket.send", kind: prepared.data})
            except asyncio.CancelledError:
                self._drop()
                raise
            except Exception as error:
                self._drop()
                self._lose(error)
                return
            finally:
                self._queued_bytes -= _cost(prepared)
            self.delivered += 1
            totals.delivered += 1

    def _writer_done(self, writer: asyncio.Task[None]) -> None:
        self._writer = None
        self._pump()

    # Turns of the view's own messages --------------------------------------------------------

    async def _send_in_turn(self, event: Event) -> None:
        turn = self._line_up()
        try:
            await turn
            if self._gone is not None:
                raise Disconnected(self._gone.code, self._gone.reason)
            await self._asgi_send(event)
        finally:
            self._leave_line(turn)

    async def _close_behind_queue(self, event: Event) -> None:
        if not self._clear and self._gone is None:
            turn = self._line_up()
            try:
                async with asyncio.timeout(self._close_timeout_s):
                    await turn
            except TimeoutError:
                pass
            finally:
                self._leave_line(turn, go_on=False)
        self._end(Disconnected(event.get("code") or 1000, event.get("reason") or ""))
        await self._asgi_send(event)

    def _line_up(self) -> _Turn:
        turn: _Turn = asyncio.get_running_loop().create_future()
        if self._gone is not None:
            turn.set_result(None)
        else:
            self._put(turn)
            self._pump()
        return turn

    def _leave_line(self, turn: _Turn, go_on: bool = True) -> None:
        if self._turn is turn:
            self._turn = None
        elif self._queue and turn in self._queue:
            self._queue.remove(turn)
        if go_on:
            self._pump()

    # The queue -------------------------------------------------------------------------------

    def _enqueue(self, prepared: Prepared) -> None:
        if self._gone is not None:
            self._drop()
            return
        if self.policy == "keep_latest":
            self._drop_first(prepared.group)
        if self._make_room(_cost(prepared)):
            self._put(prepared)
            self._queued_bytes += _cost(prepared)
            self._pump()
        else:
            self._drop()
            if self.policy == "disconnect":
                self.cut(TOO_SLOW, "too slow")

    def _put(self, entry: Prepared | _Turn) -> None:
        if self._queue is None:
            self._queue = deque((entry,))
        else:
            self._queue.append(entry)

    def _make_room(self, cost_bytes: int) -> bool:
        """Whether a message of ``cost_bytes`` may wait; drops older ones where that is the policy."""
        if self.policy in ("drop_oldest", "keep_latest") and cost_bytes <= self.max_bytes:
            while self._queued_bytes + cost_bytes > self.max_bytes and self._drop_first():
                pass
        return self._queued_bytes + cost_bytes <= self.max_bytes

    def _drop_first(self, group: str | None = None) -> bool:
        """Drop the oldest message that waits, of ``group`` or of any; False when there is none."""
        for index, entry in enumerate(self._queue or ()):
            if isinstance(entry, Prepared) and group in (None, entry.group):
                del self._queue[index]  # type: ignore[union-attr]  # there is one
                self._queued_bytes -= _cost(entry)
                self._drop()
                return True
        return False

    def _pump(self) -> None:
        """Move the queue on, as far as it can go."""
        if self._pumping:
            return  # called back from within: the loop below sees what changed
        self._pumping = True
        try:
            while self._queue and not self._hindered():
                self._move(self._queue[0])
        finally:
            self._pumping = False
        if not self._queue:
            self._queue = None
        self._clear = self._write is not None and not self._queue and not self._hindered()

    def _move(self, entry: Prepared | _Turn) -> None:
        """Let the first of the queue go its way."""
        assert self._queue is not None
        if not isinstance(entry, Prepared):
            self._turn = entry
            self._queue.popleft()
            if not entry.done():
                entry.set_result(None)
        elif self._write is None:
            self._writer = asyncio.get_running_loop().create_task(self._send_queued())
            self._writer.add_done_callback(self._writer_done)
        else:
            self._queue.popleft()
            self._queued_bytes -= _cost(entry)
            self._put_on_wire(entry)

    def _hindered(self) -> bool:
        return (
            self._held
            or self._congested
            or self._turn is not None
            or self._writer is not None
            or self._gone is not None
        )

    # Ends ------------------------------------------------------------------------------------

    def cut(self, code: int, reason: str) -> None:
        """End the socket: the client has missed something, and this tells it."""
        if self._gone is not None:
            return
        self.disconnected += 1
        totals.disconnected += 1
        self._end(Disconnected(code, reason))
        try:
            self._on_overflow(code, reason)
        except Exception:
            logger.exception("The end of a slow socket could not be told")

    def _lose(self, error: Exception) -> None:
        """The server cannot send any more."""
        if isinstance(error, Disconnected):
            self._end(Disconnected(error.code, error.reason))
            return
        if not isinstance(error, OSError):  # ASGI: send raises OSError when the client is gone
            logger.error("The server failed to send a message of a group", exc_info=error)
        self._end(Disconnected())

    def _end(self, gone: Disconnected) -> None:
        if self._gone is None:
            self._gone = gone
        self._clear = False
        while self._queue:
            entry = self._queue.popleft()
            if isinstance(entry, Prepared):
                self._queued_bytes -= _cost(entry)
                self._drop()
            elif not entry.done():
                entry.set_result(None)  # who waits for it sees that the socket is gone
        if self._writer is not None and self._writer is not asyncio.current_task():
            self._writer.cancel()

    def _drop(self) -> None:
        self.dropped += 1
        totals.dropped += 1


def _cost(prepared: Prepared) -> int:
    return prepared.size_bytes + _ENTRY_BYTES

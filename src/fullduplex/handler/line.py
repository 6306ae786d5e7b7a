"""The server's side of one socket: its ``receive`` and ``send``, and the news that the client has left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fullduplex.asgi import Event, Receive, Scope, Send
from fullduplex.conf import Settings
from fullduplex.exceptions import Disconnected
from fullduplex.handler.inbox import Inbox
from fullduplex.handler.tasks import cancel
from fullduplex.realtime.outbox import EXTENSION


class Line:
    """One ``websocket`` scope as ASGI gives it.

    Attributes:
        left: the news that the client is gone, or None.
        receive: the ASGI ``receive`` of the view.
    """

    __slots__ = ("_inbox", "_loop", "_on_lost", "_pump", "_send", "_waiter", "left", "receive")

    def __init__(self, scope: Scope, receive: Receive, send: Send, settings: Settings) -> None:
        self._loop = asyncio.get_running_loop()
        self._send = send
        self.left: Disconnected | None = None
        self.receive = receive
        self._waiter: asyncio.Future[None] | None = None
        self._on_lost: Callable[[], None] | None = None
        self._inbox: Inbox | None = None
        self._pump: asyncio.Task[None] | None = None
        # The end of the connection is told by a server that can, else found by a task that reads ahead.
        extension = (scope.get("extensions") or {}).get(EXTENSION)
        if extension is not None and "on_disconnect" in extension and settings.prepared_frames:
            extension["on_disconnect"](self.lost)
        else:
            self._inbox = Inbox(receive, settings.read_ahead_bytes, self.lost)
            self.receive = self._inbox.receive
            self._pump = self._loop.create_task(self._inbox.pump())

    async def send(self, event: Event) -> None:
        """The server's ``send``.

        Raises:
            Disconnected: the client is gone.
        """
        try:
            await self._send(event)
        except OSError as error:
            code, reason = (error.code, error.reason) if isinstance(error, Disconnected) else (1006, "")
            self.lost(code, reason)
            raise Disconnected(code, reason) from error

    def lost(self, code: int, reason: str) -> None:
        """Note that the client is gone; the first news counts."""
        if self.left is not None:
            return
        self.left = Disconnected(code, reason)
        if self._inbox is not None:
            self._inbox.lost(code, reason)
        if self._on_lost is not None:
            self._on_lost()
        else:
            self.wake()

    async def wait(self, task: asyncio.Task[Any], timeout_s: float | None = None) -> None:
        """Wait until ``task`` is done, the client has left, or the time is over."""
        if task.done() or self.left is not None:
            return
        self._waiter = self._loop.create_future()
        task.add_done_callback(self.wake)
        timer = None if timeout_s is None else self._loop.call_later(timeout_s, self.wake)
        try:
            await self._waiter
        finally:
            self._waiter = None
            task.remove_done_callback(self.wake)
            if timer is not None:
                timer.cancel()

    def until_end(self, task: asyncio.Task[Any], on_lost: Callable[[], None]) -> asyncio.Future[None]:
        """Return what is done when ``task`` is, or at :meth:`wake`; ``on_lost()`` is called when the client leaves."""
        waiter = self._waiter = self._loop.create_future()
        task.add_done_callback(self.wake)
        self._on_lost = on_lost
        if self.left is not None:
            on_lost()
        return waiter

    def wake(self, *args: Any) -> None:
        """End what waits."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def let_go(self) -> None:
        """Nobody waits any more, or is told."""
        self._waiter = self._on_lost = None

    async def stop_reading(self) -> None:
        """Read no more from the server."""
        if self._pump is not None:
            await cancel(self._pump)

    def check(self) -> None:
        """Let a server whose ``receive`` fails hear of it; when reading has stopped.

        Raises:
            Exception: what its ``receive`` raised.
        """
        if self._pump is not None and not self._pump.cancelled():
            self._pump.result()

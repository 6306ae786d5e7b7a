"""Byte-bounded flow control of the write side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from fullduplex.limits import ConnectionLimits

# What a writer may write before it lets others have the loop. An application that only writes would otherwise keep it
# for as long as its client is fast, or gone: asyncio drops what is written to a lost connection without a word.
TURN_BYTES: Final = 262_144
WRITE_COST_BYTES: Final = 4_096  # of any write, however short


class WriteFlow:
    """Lets writers wait while the client reads more slowly than the application writes."""

    __slots__ = (
        "_callbacks",
        "_left_bytes",
        "_limits",
        "_progress_s",
        "_transport",
        "_turn_bytes",
        "_waiters",
        "paused",
    )

    def __init__(self, transport: asyncio.Transport, limits: ConnectionLimits) -> None:
        self._transport = transport
        self._limits = limits
        self._waiters: list[asyncio.Future[None]] | None = None
        self._callbacks: list[Callable[[], None]] | None = None
        self._left_bytes = 0
        self._progress_s = 0.0
        self._turn_bytes = 0
        self.paused = False
        transport.set_write_buffer_limits(high=limits.write_buffer_bytes, low=limits.write_buffer_bytes // 4)

    def must_wait(self, size_bytes: int) -> bool:
        """Whether the writer of so many bytes must :meth:`drain` before it goes on. To be asked once for each write."""
        self._turn_bytes += size_bytes + WRITE_COST_BYTES
        return self.paused or self._turn_bytes >= TURN_BYTES

    async def drain(self) -> None:
        """Let others have the loop, and wait until the buffer has room or the connection is lost."""
        self._turn_bytes = 0
        if not self.paused:
            await asyncio.sleep(0)
            return
        waiter = asyncio.get_running_loop().create_future()
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(waiter)
        await waiter

    def on_resume(self, callback: Callable[[], None]) -> None:
        """Call ``callback()`` once when the buffer has room again: now, if it has."""
        if not self.paused:
            callback()
            return
        if self._callbacks is None:
            self._callbacks = []
        self._callbacks.append(callback)

    def pause(self, now_s: float) -> None:
        self.paused = True
        self._progress_s = now_s
        self._left_bytes = self._transport.get_write_buffer_size()

    def resume(self) -> None:
        self.paused = False
        waiters, self._waiters = self._waiters, None
        callbacks, self._callbacks = self._callbacks, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)
        for callback in callbacks or ():
            callback()

    def connection_lost(self) -> None:
        self.resume()

    def stalled(self, now_s: float) -> bool:
        """Whether the client has read nothing for ``stalled_write_timeout_s`` although bytes wait for it."""
        if not self.paused:
            return False
        left_bytes = self._transport.get_write_buffer_size()
        if left_bytes < self._left_bytes:
            self._progress_s = now_s
        self._left_bytes = left_bytes
        return now_s - self._progress_s >= self._limits.stalled_write_timeout_s

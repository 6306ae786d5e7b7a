"""Appends of one loop: what comes for a group while others of it are under way goes out together, in one script.

The first goes out at once. Those that come before it is answered wait for that, and are then one call; so a script runs
once for many messages where many are published. Nobody waits longer for it than for the connection, which sends nothing
before the last batch is answered.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from fullduplex.exceptions import ChannelFull, LayerUnavailable
from fullduplex.layers.history import Keep, Position
from fullduplex.layers.redis.history import Entry
from fullduplex.layers.redis.limits import RedisLimits

_BATCH_COUNT = 64  # so many take the server about a millisecond
_BATCH_BYTES = 262_144

#: Has the server append messages to one group, in their order; None: it is not known whether that one was kept.
Send = Callable[[bytes, Keep, Sequence[Entry]], Awaitable[list[Position | None]]]


class Appends:
    """
    Args:
        send: see above.
    """

    def __init__(self, send: Send, limits: RedisLimits) -> None:
        self._send = send
        self._limits = limits
        self._groups: dict[tuple[bytes, Keep], deque[_Waiting]] = {}  # of which something is under way
        self._waiting_bytes = 0
        self._room = asyncio.Event()
        self._unanswered: dict[_Waiting, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def append(self, name: bytes, keep: Keep, entry: Entry) -> Position:
        """
        Raises:
            LayerUnavailable: it is not known whether it was kept.
            ChannelFull: it had no turn within ``publish_timeout_s``, and was not kept.
        """
        group = (name, keep)
        end_s = asyncio.get_running_loop().time() + self._limits.publish_timeout_s
        while (queue := self._groups.get(group)) is not None:
            if self._waiting_bytes < self._limits.max_pending_bytes:
                return await self._wait_in(queue, _Waiting(entry, end_s))
            try:
                async with asyncio.timeout_at(end_s):
                    self._room.clear()
                    await self._room.wait()
            except TimeoutError as error:
                raise self._too_late(is_sent=False) from error
        self._groups[group] = deque()
        try:
            return known((await self._send(name, keep, [entry]))[0])
        finally:
            self._go_on(group)

    async def close(self) -> None:
        """Wait for those who wait; the connections are closed before, so that they fail at once."""
        if self._timer is not None:
            self._timer.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    # Inside ----------------------------------------------------------------------------------

    async def _wait_in(self, queue: deque[_Waiting], waiting: _Waiting) -> Position:
        queue.append(waiting)
        self._waiting_bytes += waiting.size_bytes
        self._unanswered[waiting] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(waiting.end_s, self._look_at_clock)
        try:
            return await waiting.position
        finally:
            del self._unanswered[waiting]

    def _look_at_clock(self) -> None:
        """Tell those who have waited too long; one timer for all, since most are answered long before."""
        loop = asyncio.get_running_loop()
        now_s, rest_s = loop.time(), []
        for waiting in self._unanswered:
            if waiting.end_s > now_s:
                rest_s.append(waiting.end_s)
            else:
                waiting.fail(self._too_late(waiting.is_sent))
        self._timer = loop.call_at(min(rest_s), self._look_at_clock) if rest_s else None

    def _too_late(self, is_sent: bool) -> LayerUnavailable | ChannelFull:
        told = f"(gave up after {self._limits.publish_timeout_s:g} s)"
        if is_sent:
            return LayerUnavailable(f"Redis: no answer {told}")
        return ChannelFull(f"Redis: others wait for the same group, and it had no turn {told}")

    def _go_on(self, group: tuple[bytes, Keep]) -> None:
        if not self._groups[group]:
            del self._groups[group]
            return
        task = asyncio.get_running_loop().create_task(self._send_all(group))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send_all(self, group: tuple[bytes, Keep]) -> None:
        queue = self._groups[group]
        batch: list[_Waiting] = []
        try:
            while batch := self._take(queue):
                try:
                    positions = await self._send(*group, [waiting.entry for waiting in batch])
                except Exception as error:
                    for waiting in batch:
                        waiting.fail(error)
                else:
                    for waiting, position in zip(batch, positions, strict=True):
                        waiting.settle(position)
                await asyncio.sleep(0)  # who has his answer may have the next message
        finally:
            del self._groups[group]
            for waiting in (*batch, *queue):  # of a task that was cancelled
                waiting.fail(LayerUnavailable("the layer was closed"))

    def _take(self, queue: deque[_Waiting]) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size_bytes = 0
        while queue and size_bytes < _BATCH_BYTES and len(batch) < _BATCH_COUNT:
            waiting = queue.popleft()
            self._waiting_bytes -= waiting.size_bytes
            if not waiting.position.done():  # its caller may have given up
                waiting.is_sent = True
                size_bytes += waiting.size_bytes
                batch.append(waiting)
        self._room.set()
        return batch


class _Waiting:
    __slots__ = ("end_s", "entry", "is_sent", "position", "size_bytes")

    def __init__(self, entry: Entry, end_s: float) -> None:
        self.entry = entry
        self.end_s = end_s
        self.size_bytes = 64 + len(entry.data)
        self.is_sent = False
        self.position: asyncio.Future[Position] = asyncio.get_running_loop().create_future()

    def settle(self, position: Position | None) -> None:
        if not self.position.done():
            try:
                self.position.set_result(known(position))
            except LayerUnavailable as error:
                self.position.set_exception(error)

    def fail(self, error: Exception) -> None:
        """Each gets an error of his own: raising one in several tasks mixes their tracebacks up."""
        if not self.position.done():
            own = type(error)(str(error))
            own.__cause__ = error
            self.position.set_exception(own)


def known(position: Position | None) -> Position:
    """
    Raises:
        LayerUnavailable: it is None.
    """
    if position is None:
        raise LayerUnavailable("Redis: the answer was lost, and what is kept by now does not tell whether it was")
    return position

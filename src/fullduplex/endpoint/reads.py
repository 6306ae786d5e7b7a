"""Reading histories: clients who ask for the same at the same time share one answer.

After a deploy a thousand clients of a group come back to a process within a second, most of them from the same
position. An answer serves those who asked before the store was: who asks while it is being read shares the next one,
since what was published between the two might be missing in this one. And only so many answers are under way at a
time: who asks for more must wait, and not those who publish through the same store.
"""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

from fullduplex.layers.history import Missed, Position
from fullduplex.realtime.groups import Group

# Of one answer. It bounds what a client that comes back makes the process hold, however much it has missed.
PIECE_BYTES = 131_072
PIECE_COUNT = 1_000

# Answers of one loop under way: a mebibyte at most.
READS_COUNT = 8

_Key = tuple[str, Position | None]

_reads: WeakKeyDictionary[asyncio.AbstractEventLoop, Reads] = WeakKeyDictionary()


class _Read:
    """Attributes: who waits for it."""

    __slots__ = ("task", "waiting_count")

    def __init__(self, task: asyncio.Task[Missed]) -> None:
        self.task = task
        self.waiting_count = 0


class Reads:
    """The reads of one loop that are under way."""

    def __init__(self) -> None:
        self._running: dict[_Key, asyncio.Task[Missed]] = {}
        self._next: dict[_Key, _Read] = {}
        self._turns = asyncio.Semaphore(READS_COUNT)

    async def read(self, group: str, after: Position | None) -> Missed:
        """Read a piece of what came after a position, as of now or later.

        Raises:
            LayerError: the store cannot be reached.
        """
        key = (group, after)
        found = self._next.get(key)
        if found is None:
            reading = self._read(key, self._running.get(key))
            found = self._next[key] = _Read(asyncio.get_running_loop().create_task(reading))
        found.waiting_count += 1
        try:
            return await asyncio.shield(found.task)
        finally:
            found.waiting_count -= 1
            if not found.waiting_count and self._next.get(key) is found:  # it has not begun, and nobody wants it
                del self._next[key]
                found.task.cancel()

    async def _read(self, key: _Key, before: asyncio.Task[Missed] | None) -> Missed:
        if before is not None:
            await asyncio.wait({before})
        async with self._turns:
            task = self._running[key] = self._next.pop(key).task
            try:
                group, after = key
                return await Group(group).ahistory(after, max_count=PIECE_COUNT, max_bytes=PIECE_BYTES)
            finally:
                if self._running.get(key) is task:
                    del self._running[key]


def reads() -> Reads:
    """Return those of the running loop."""
    loop = asyncio.get_running_loop()
    found = _reads.get(loop)
    if found is None:
        found = _reads[loop] = Reads()
    return found

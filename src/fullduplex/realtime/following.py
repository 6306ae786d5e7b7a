"""One group that keeps a history, as one loop follows it: each message once, in order, and holes are filled.

::

    take(message) ── the next one ─────────────────────────────> hand_on(message)
        │  seen already: dropped                                      ^
        └─ one is missing ──> held, in order ── read the history ─────┘
                                                      └── what is not kept any more: tell_gap()
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
from collections import deque
from collections.abc import Callable
from weakref import WeakKeyDictionary

from fullduplex.exceptions import LayerError
from fullduplex.failures import failures
from fullduplex.layers.history import Kept, Missed, Position
from fullduplex.realtime.keeping import Keeping

logger = logging.getLogger("fullduplex.realtime")

READS_COUNT = 8  # of one loop at the same time, of a mebibyte at most each: all groups look when a broker is back
FILL_S = 5.0  # for so long a hole is tried to be filled; what comes meanwhile waits. As layers wait for their brokers
PAUSE_S = 0.05  # before the history is asked again, which does not have yet what others were sent
HELD_BYTES = 1_048_576  # of messages that wait behind a hole; beyond it they are forgotten, and read as well
ENTRY_BYTES = 256  # what such a message costs beside its data
ENDED_COUNT = 4  # epochs of which something may still be under way


class _Turns:
    """Who of one loop reads a history, to fill a hole: a few at a time, in the order in which they came."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._places = asyncio.Semaphore(READS_COUNT)
        self._failed_s = -math.inf

    async def take(self, end_s: float) -> float:
        """Wait for a turn; return until when it lasts: a wait behind those who get their answers counts for nothing."""
        begin_s = self._loop.time()
        await self._places.acquire()
        return end_s if self._failed_s >= begin_s else end_s + self._loop.time() - begin_s

    def note_failure(self) -> None:
        """The history was not there: whoever waits now waits for it, too."""
        self._failed_s = self._loop.time()

    def give_back(self) -> None:
        self._places.release()


_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, _Turns] = WeakKeyDictionary()


def _turns_of(loop: asyncio.AbstractEventLoop) -> _Turns:
    found = _turns.get(loop)
    if found is None:
        found = _turns[loop] = _Turns(loop)
    return found


class Follower:
    """The position of a loop in the history of one group; for the thread of that loop only.

    Args:
        name: of the group.
        keeping: its history.
        hand_on: takes each message, in order.
        tell_gap: something is missing before the message that is handed on next.

    Attributes:
        name: as given.
        position: of what was handed on last.
    """

    __slots__ = (
        "_again",
        "_ended",
        "_filling",
        "_hand_on",
        "_held",
        "_held_bytes",
        "_keeping",
        "_newest",
        "_tell_gap",
        "name",
        "position",
    )

    def __init__(
        self, name: str, keeping: Keeping, hand_on: Callable[[Kept], None], tell_gap: Callable[[], None]
    ) -> None:
        self.position = Position(0, "")
        self.name = name
        self._keeping = keeping
        self._hand_on = hand_on
        self._tell_gap = tell_gap
        self._held: deque[Kept] = deque()
        self._held_bytes = 0
        self._newest: Position | None = None  # that has come while a hole was filled
        self._again = False
        self._ended: deque[str] = deque(maxlen=ENDED_COUNT)
        self._filling: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Take the position now, before the subscription begins.

        Raises:
            LayerError: the history cannot be read.
        """
        history, keep = self._keeping
        self.position = (await history.aread(self.name, keep, after=None)).position

    def take(self, message: Kept) -> None:
        """A message has come."""
        offset, epoch = message.position
        position = self.position
        if self._filling is not None:
            self._hold(message)
        elif offset == position[0] + 1 and epoch == position[1]:  # nearly all of them
            self.position = message.position
            self._hand_on(message)
        elif not self._take_next(message):
            self._hold(message)
            self.look()

    def look(self) -> None:
        """Something may be missing: look in the history."""
        self._again = True
        if self._filling is None:
            # In no context: the message may have come in that of a request, which may be in a transaction.
            loop = asyncio.get_running_loop()
            self._filling = loop.create_task(self._fill(), context=contextvars.Context())

    def look_beyond(self, position: Position | None) -> None:
        """The group was seen at a position, or nothing was seen of it: look, unless that has been handed on."""
        if position is None or position.epoch != self.position.epoch or position.offset > self.position.offset:
            self.look()

    def close(self) -> None:
        """Nobody listens any more."""
        if self._filling is not None:
            self._filling.cancel()
        self._forget_held()

    # Inside ----------------------------------------------------------------------------------

    def _take_next(self, message: Kept) -> bool:
        """Hand the message on if it is the next one, drop it if it was seen; False: something is missing before it."""
        offset, epoch = message.position
        if epoch != self.position.epoch:
            return epoch in self._ended
        if offset == self.position.offset + 1:
            self.position = message.position
            self._hand_on(message)
            return True
        return offset <= self.position.offset

    def _hold(self, message: Kept) -> None:
        self._newest = message.position
        self._held.append(message)
        self._held_bytes += len(message.data) + ENTRY_BYTES
        if self._held_bytes > HELD_BYTES:
            self._forget_held()

    def _forget_held(self) -> None:
        self._held.clear()
        self._held_bytes = 0

    async def _fill(self) -> None:
        try:
            await self._fill_hole()
        except Exception as error:
            if failures().admits(logger, "Filling holes failed", error):
                logger.exception("Filling a hole in the group %r failed", self.name)
            self._tell_gap()
            self._forget_held()
        finally:
            self._newest = None
            self._filling = None

    async def _fill_hole(self) -> None:
        """Read until everything that has come is handed on, or too long in vain."""
        loop = asyncio.get_running_loop()
        turns = _turns_of(loop)
        history, keep = self._keeping
        end_s = loop.time() + FILL_S
        while self._again or self._is_behind():
            self._again = False
            before = self.position
            error: Exception | None = None
            end_s = await turns.take(end_s)
            try:
                async with asyncio.timeout_at(end_s):
                    missed = await history.aread(self.name, keep, after=before)
            except (LayerError, TimeoutError) as failure:
                error = failure
                turns.note_failure()
                self._again = True
            else:
                self._catch_up(missed)
                self._again = self._again or not missed.complete
            finally:
                turns.give_back()
            if self.position != before:
                end_s = loop.time() + FILL_S
                await asyncio.sleep(0)
            elif self._again or self._is_behind():
                if loop.time() + PAUSE_S > end_s:
                    self._give_up(error)
                    return
                await asyncio.sleep(PAUSE_S)

    def _is_behind(self) -> bool:
        newest = self._newest
        if self._held or newest is None:
            return bool(self._held)
        if newest.epoch == self.position.epoch:
            return newest.offset > self.position.offset
        return newest.epoch not in self._ended

    def _catch_up(self, missed: Missed) -> None:
        """Hand on what was missed, and what is held behind it."""
        end, epoch = missed.position
        if not missed.recovered:
            self._tell_gap()
            start = missed.messages[0].position.offset - 1 if missed.messages else end
            if self._held and self._held[0].position.epoch == epoch:  # it may have left the window since, and is here
                start = min(start, self._held[0].position.offset - 1)
            self._move_to(Position(start, epoch))
            self._take_held()
        for message in missed.messages:
            self._take_next(message)
        self._take_held()

    def _take_held(self) -> None:
        while self._held and self._take_next(self._held[0]):
            self._held_bytes -= len(self._held.popleft().data) + ENTRY_BYTES

    def _give_up(self, error: Exception | None) -> None:
        """Go on without what is missing."""
        reason = error or "it does not have what is missing"
        logger.warning("A hole in the group %r could not be filled from its history: %s", self.name, reason)
        self._tell_gap()
        self._again = False
        for message in self._held:
            if not self._take_next(message):
                self._move_to(message.position)
                self._hand_on(message)
        self._forget_held()
        if self._newest is not None and self._is_behind():
            self._move_to(self._newest)

    def _move_to(self, position: Position) -> None:
        if position.epoch != self.position.epoch:
            self._ended.append(self.position.epoch)
        self.position = position

"""One subscription of one client: what it missed, then what is said now, and no hole between the two.

::

    start ──> joined: what comes is held ──> read what was missed, a piece ──> send it, wait until the client took it
                                                  ^                                       │
                                                  └── more is missing, too much was held ──┤
                                                                                          v
              a hole ──> held again, read <────────────────────────── live: what was held, then each message at once

It joins first and reads then, so each message is in what was read, or held, or both: an offset that is there already is
dropped. What is held is bounded for the whole client. Beyond the bound it is dropped, and read from the history once
more: so a client that is slow takes a piece at a time for as long as it needs, and costs no memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from fullduplex.endpoint import grammar
from fullduplex.endpoint.envelopes import enveloped, envelopes
from fullduplex.endpoint.reads import reads
from fullduplex.exceptions import Disconnected, LayerError
from fullduplex.failures import failures
from fullduplex.layers.history import Kept, Missed, Position
from fullduplex.realtime.hub import get_hub
from fullduplex.realtime.keeping import rule_of
from fullduplex.realtime.outbox import totals
from fullduplex.realtime.prepared import Prepared

logger = logging.getLogger("fullduplex.endpoint")

# Of all groups of one client, while it catches up.
MAX_HELD_BYTES = 262_144
_ENTRY_BYTES = 64

# A history that does not have what was published before is asked again, and after so many times believed.
_HOLE_READS = 5
_HOLE_PAUSE_S = 0.05


class Way(Protocol):
    """The way to one client: a socket, or an event stream.

    Attributes:
        turn: one group at a time sends what was missed.
        held_bytes: of messages that its subscriptions hold.
        piece_bytes: that it takes at a time, of what was missed.
    """

    piece_bytes: int
    turn: asyncio.Lock
    held_bytes: int

    def deliver(self, prepared: Prepared) -> None:
        """Send a message, in the order of the calls; a client for whom too much waits is cut."""

    async def drained(self) -> None:
        """Wait until little waits for the client.

        Raises:
            Disconnected: it is gone.
        """

    async def send_large(self, prepared: Prepared) -> None:
        """Send a message that is longer than what may wait, in order, and wait until the client has taken it.

        Raises:
            Disconnected: it is gone.
        """


class Subscription:
    """One group, for one client; a member of the hub.

    Args:
        on_end: called with code and reason when it cannot go on; the client is told by it.

    Attributes:
        groups: the hub's.
        position: of what the client was sent last; None: the group keeps no history.
    """

    __slots__ = (
        "_catching_up",
        "_held",
        "_held_bytes",
        "_on_end",
        "_overflowed",
        "_way",
        "group",
        "groups",
        "position",
    )

    def __init__(self, group: str, way: Way, on_end: Callable[[Subscription, str, str], None]) -> None:
        self.group = group
        self.groups: list[str] = []
        self.position: Position | None = None
        self._way = way
        self._on_end = on_end
        self._held: deque[Prepared] | None = deque()  # None: live
        self._held_bytes = 0
        self._overflowed = False
        self._catching_up: asyncio.Task[None] | None = None

    async def start(self, request_id: int | None, after: Position | None) -> None:
        """Become a member, tell the client from where on it is one, and begin to send.

        Raises:
            LayerError, ConfigurationError: the layer or the store cannot be reached; it is no member then.
        """
        await get_hub().join(self.group, self)
        try:
            if rule_of(self.group) is None:
                self._tell(grammar.subscribed(request_id, self.group, after is None, None, None))
                if self._overflowed:
                    self._tell(grammar.gap(self.group, None))
                self._go_live()
                return
            now = get_hub().position(self.group)
            if now is not None and after in (None, now):
                missed = Missed([], now, recovered=True, complete=True)
            else:
                missed = await reads().read(self.group, after)
        except BaseException:
            await self.stop()
            raise
        self.position = after if after is not None and missed.recovered else _begin(missed)
        latest = missed.position.offset
        self._tell(grammar.subscribed(request_id, self.group, missed.recovered, self.position, latest))
        if missed.messages or not self._is_caught_up(missed):
            # While another group has its turn, what was read is not held: a client has any number of groups.
            self._start_catching_up(None if self._way.turn.locked() else missed)

    async def stop(self) -> None:
        """Be no member any more, at once; then wait until no task is left behind, and the layer is told."""
        task, self._catching_up = self._catching_up, None
        if task is not None:
            task.cancel()
        self._let_go()
        await get_hub().leave(self.group, self)
        if task is not None and not task.done():
            await asyncio.wait({task})

    # From the hub ----------------------------------------------------------------------------

    def deliver(self, prepared: Prepared) -> None:
        """Take a message of the group."""
        if self._held is not None:
            self._hold(prepared)
            return
        position = prepared.position
        if position is not None:
            last = self.position
            if last is None or position.epoch != last.epoch or position.offset > last.offset + 1:
                self._fall_behind()
                self._hold(prepared)
                return
            if position.offset <= last.offset:
                return
            self.position = position
        self._way.deliver(prepared.enveloped or enveloped(prepared))

    def note_gap(self, group: str) -> None:
        """The layer may have lost messages: what is kept is read, else the client is told."""
        if self._held is not None:
            self._overflow()
        elif self.position is not None:
            self._fall_behind()
        else:
            totals.gaps += 1
            self._tell(grammar.gap(self.group, None))

    # Catching up -----------------------------------------------------------------------------

    def _fall_behind(self) -> None:
        self._held = deque()
        self._start_catching_up(None)

    def _start_catching_up(self, missed: Missed | None) -> None:
        self._catching_up = asyncio.get_running_loop().create_task(self._catch_up(missed))

    async def _catch_up(self, missed: Missed | None) -> None:
        """Send what is missing, beginning with what has been read already, until nothing is."""
        hole_count = 0
        try:
            while True:
                async with self._way.turn:
                    if missed is None:
                        missed = await self._read_on()
                    await self._send(missed.messages)
                if self._is_caught_up(missed):
                    break
                if missed.complete and not missed.messages and not self._overflowed:
                    hole_count += 1
                    if hole_count == _HOLE_READS:
                        self._skip_hole()
                        hole_count = 0
                        continue
                    await asyncio.sleep(_HOLE_PAUSE_S)
                missed = None
            self._catching_up = None
        except Disconnected:
            pass  # who serves the client knows
        except LayerError as error:
            if failures().admits(logger, "What clients missed cannot be read", error):
                logger.warning("What a client missed of the group %r cannot be read: %s", self.group, error)
            self._end("unavailable", "The history of this group cannot be read now.")
        except Exception as error:
            if failures().admits(logger, "What clients missed cannot be sent", error):
                logger.exception("What a client missed of the group %r cannot be sent", self.group)
            self._end("internal", "The server failed.")

    async def _read_on(self) -> Missed:
        """Read what comes next. What is held from now on is not older than what is read."""
        self._overflowed = False
        missed = await reads().read(self.group, self.position)
        if not missed.recovered:
            self._skip_to(_begin(missed))
        return missed

    async def _send(self, messages: Sequence[Kept]) -> None:
        way, made, waiting_bytes = self._way, envelopes(), 0
        for kept in messages:
            prepared = made.of(self.group, kept)
            waiting_bytes += prepared.size_bytes
            if waiting_bytes > way.piece_bytes:
                await way.drained()
                waiting_bytes = prepared.size_bytes
            if waiting_bytes > way.piece_bytes:
                await way.send_large(prepared)
            else:
                way.deliver(prepared)
            self.position = kept.position
        await way.drained()

    def _is_caught_up(self, missed: Missed) -> bool:
        """Go live, if nothing is missing between what was read and what is held."""
        return missed.complete and not self._overflowed and self._go_live()

    def _go_live(self) -> bool:
        """Send what is held; False where something is missing before the first of it."""
        held = self._held
        assert held is not None
        while held:
            position, last = held[0].position, self.position
            if position is not None and last is not None:
                if position.epoch != last.epoch or position.offset > last.offset + 1:
                    return False
                if position.offset <= last.offset:
                    self._release_first()
                    continue
                self.position = position
            self._way.deliver(enveloped(self._release_first()))
        self._held = None
        return True

    def _skip_hole(self) -> None:
        """What is missing before the first message that is held is nowhere."""
        position = self._held[0].position if self._held else None
        if position is not None:
            self._skip_to(Position(position.offset - 1, position.epoch))

    def _skip_to(self, position: Position) -> None:
        self.position = position
        totals.gaps += 1
        self._tell(grammar.gap(self.group, position))

    # What is held ----------------------------------------------------------------------------

    def _hold(self, prepared: Prepared) -> None:
        assert self._held is not None
        if self._overflowed:
            return
        cost_bytes = prepared.size_bytes + _ENTRY_BYTES
        if self._way.held_bytes + cost_bytes > MAX_HELD_BYTES:
            self._overflow()
            return
        self._held.append(prepared)
        self._held_bytes += cost_bytes
        self._way.held_bytes += cost_bytes

    def _release_first(self) -> Prepared:
        assert self._held is not None
        prepared = self._held.popleft()
        cost_bytes = prepared.size_bytes + _ENTRY_BYTES
        self._held_bytes -= cost_bytes
        self._way.held_bytes -= cost_bytes
        return prepared

    def _overflow(self) -> None:
        """Too much to hold: it will be read."""
        self._overflowed = True
        self._let_go()
        self._held = deque()

    def _let_go(self) -> None:
        self._way.held_bytes -= self._held_bytes
        self._held_bytes = 0
        self._held = deque()

    # Inside ----------------------------------------------------------------------------------

    def _tell(self, message: dict[str, Any]) -> None:
        self._way.deliver(Prepared(grammar.write(message)))

    def _end(self, code: str, reason: str) -> None:
        self._catching_up = None
        self._on_end(self, code, reason)


def _begin(missed: Missed) -> Position:
    """Where what was read begins."""
    if missed.messages:
        offset, epoch = missed.messages[0].position
        return Position(offset - 1, epoch)
    return missed.position

"""The local layer: from any process of one user on one machine to all that serve the same project, without a broker.

::

    any thread ── Sender ──> sequencer, a process of its own ──> Line of each loop that subscribed ──> hub
    any thread ── Asker <──> its windows, for groups that keep a history <──> Line
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
import weakref
from typing import ClassVar

from fullduplex.layers.base import BaseLayer, Deliver, Gap, Message
from fullduplex.layers.history import Keep, Kept, Missed, Position
from fullduplex.layers.local.asker import Asker
from fullduplex.layers.local.line import Line
from fullduplex.layers.local.messages import frame_of, keeping, kept_frame_of, missed_of, position_of, reading
from fullduplex.layers.local.place import Place
from fullduplex.layers.local.sender import Sender
from fullduplex.watched import watched

logger = logging.getLogger("fullduplex.layers")

FRESH_S = 600.0  # between two marks that workers serve; systemd-tmpfiles removes what is 10 days old


class LocalLayer(BaseLayer):
    """Reaches the members in all processes of this user on this machine that serve this project.

    Between them is one process, the sequencer. Who subscribes first starts it, and it ends with the last connection.
    Workers come and go without anybody noticing; when the sequencer dies, another one is started, all come back to it,
    and each subscription is told of a gap.

    Args:
        directory: where the processes meet, mode 700; by default one that only this user and project find.
        publish_timeout_s: how long ``publish`` waits for the sequencer, or for a process that does not read.
        subscribe_timeout_s: how long ``subscribe`` waits for the sequencer.
        slice_s: a loop hands out messages for so long, then its other work has a turn.
        history_max_bytes: kept of all groups together; above it the groups that were quiet for longest lose theirs.

    Raises:
        ConfigurationError: ``directory`` is too long.
    """

    supports_history: ClassVar[bool] = True
    reports_gaps: ClassVar[bool] = True

    def __init__(
        self,
        *,
        directory: str | os.PathLike[str] | None = None,
        publish_timeout_s: float = 5.0,
        subscribe_timeout_s: float = 5.0,
        slice_s: float = 0.005,
        history_max_bytes: int = 67_108_864,
    ) -> None:
        self.place = Place(directory)
        self._publish_timeout_s = publish_timeout_s
        self._history_max_bytes = history_max_bytes
        self._subscribe_timeout_s = subscribe_timeout_s
        self._slice_s = slice_s
        self._lock = threading.Lock()
        self._lines: dict[asyncio.AbstractEventLoop, Line] = {}
        self._sender = Sender(self.place, publish_timeout_s)
        self._asker = Asker(self.place, publish_timeout_s)
        self._mark: int | None = None
        self._marking: asyncio.Task[None] | None = None
        _layers.add(self)

    # The contract ----------------------------------------------------------------------------

    async def open(self) -> None:
        await self._line().open()

    async def close(self) -> None:
        with self._lock:
            line = self._lines.pop(asyncio.get_running_loop(), None)
            self._drop_closed()
            is_last = not self._lines
        if line is not None:
            await line.close()
        if is_last:
            await asyncio.to_thread(self._disconnect)
            if self._marking is not None:
                self._marking.cancel()
                self._marking = None
            mark, self._mark = self._mark, None
            if mark is not None:
                self.place.remove_mark(mark)

    def publish(self, group: str, message: Message) -> None:
        self._sender.send(frame_of(group, message))

    async def apublish(self, group: str, message: Message) -> None:
        await self._sender.asend(frame_of(group, message))

    def publish_kept(self, group: str, kept: Kept) -> None:
        self._sender.send(kept_frame_of(group, kept))

    async def apublish_kept(self, group: str, kept: Kept) -> None:
        await self._sender.asend(kept_frame_of(group, kept))

    async def subscribe(self, group: str, deliver: Deliver, on_gap: Gap | None = None) -> None:
        await self._line().subscribe(group.encode(), deliver, on_gap)

    async def unsubscribe(self, group: str) -> None:
        with self._lock:
            line = self._lines.get(asyncio.get_running_loop())
        if line is not None:
            line.unsubscribe(group.encode())

    # History ---------------------------------------------------------------------------------

    def append(self, group: str, data: Message, keep: Keep, *, key: str = "") -> Position:
        make = keeping(group, data, keep, key, self._history_max_bytes)
        return position_of(self._asker.ask(make, may_repeat=bool(key)))

    async def aappend(self, group: str, data: Message, keep: Keep, *, key: str = "") -> Position:
        make = keeping(group, data, keep, key, self._history_max_bytes)
        return position_of(await self._line().ask(make, self._publish_timeout_s, may_repeat=bool(key)))

    def read(
        self, group: str, keep: Keep, *, after: Position | None, max_count: int = 1_000, max_bytes: int = 1_048_576
    ) -> Missed:
        return missed_of(self._asker.ask(reading(group, keep, after, max_count, max_bytes), may_repeat=True))

    async def aread(
        self, group: str, keep: Keep, *, after: Position | None, max_count: int = 1_000, max_bytes: int = 1_048_576
    ) -> Missed:
        make = reading(group, keep, after, max_count, max_bytes)
        return missed_of(await self._line().ask(make, self._subscribe_timeout_s, may_repeat=True))

    # Beyond it -------------------------------------------------------------------------------

    async def mark_served(self) -> None:
        """Show to shells and tasks that workers serve here, until :meth:`close`. It starts nothing.

        Raises:
            ConfigurationError: the directory cannot be used.
            OSError: it cannot be done.
        """
        if self._mark is None:
            self._mark = await asyncio.to_thread(self.place.mark_served)
            self._marking = asyncio.create_task(watched("The mark of the local layer", self._keep_mark, logger))

    async def _keep_mark(self) -> None:
        """Those who clean /tmp take what is old."""
        while self._mark is not None:
            await asyncio.sleep(FRESH_S)
            self._mark = await asyncio.to_thread(self.place.renew_mark, self._mark)

    # Inside ----------------------------------------------------------------------------------

    def _line(self) -> Line:
        loop = asyncio.get_running_loop()
        with self._lock:
            line = self._lines.get(loop)
            if line is None:
                self._drop_closed()
                line = self._lines[loop] = Line(self.place, self._subscribe_timeout_s, self._slice_s)
        return line

    def _drop_closed(self) -> None:
        """Of loops that have ended without a word; the lock held."""
        for closed in [other for other in self._lines if other.is_closed()]:
            self._lines.pop(closed).abandon()

    def _disconnect(self) -> None:
        self._sender.close()
        self._asker.close()

    def _forget(self) -> None:
        """In a fork: the connections are the parent's, and would stay open with it."""
        for line in self._lines.values():
            line.abandon()
        self._sender.forget()
        self._asker.forget()
        self._lock = threading.Lock()
        self._lines = {}
        self._mark = self._marking = None  # the descriptor is closed in place.py


_layers: weakref.WeakSet[LocalLayer] = weakref.WeakSet()


def _after_fork() -> None:
    for layer in [*_layers]:
        layer._forget()


def _at_exit() -> None:
    for layer in [*_layers]:
        layer._disconnect()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

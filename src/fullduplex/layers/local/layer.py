"""The local layer: from any process of one user on one machine to all that serve the same project, without a broker.

::

    any thread ── Sender ──> sequencer, a process of its own ──> Line of each loop that subscribed ──> hub
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
import weakref
from typing import ClassVar

from fullduplex.exceptions import LayerError
from fullduplex.layers.base import BaseLayer, Deliver, Gap, Message
from fullduplex.layers.local.line import Line
from fullduplex.layers.local.place import Place
from fullduplex.layers.local.sender import Sender
from fullduplex.sequencer.frames import BINARY, TEXT, encode
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

    Raises:
        ConfigurationError: ``directory`` is too long.
    """

    reports_gaps: ClassVar[bool] = True

    def __init__(
        self,
        *,
        directory: str | os.PathLike[str] | None = None,
        publish_timeout_s: float = 5.0,
        subscribe_timeout_s: float = 5.0,
        slice_s: float = 0.005,
    ) -> None:
        self.place = Place(directory)
        self._subscribe_timeout_s = subscribe_timeout_s
        self._slice_s = slice_s
        self._lock = threading.Lock()
        self._lines: dict[asyncio.AbstractEventLoop, Line] = {}
        self._sender = Sender(self.place, publish_timeout_s)
        self._mark: int | None = None
        self._marking: asyncio.Task[None] | None = None
        _layers.add(self)

    # The contract ----------------------------------------------------------------------------

    async def open(self) -> None:
        await self._line().open()

    async def close(self) -> None:
        with self._lock:
            line = self._lines.pop(asyncio.get_running_loop(), None)
            is_last = not self._lines
        if line is not None:
            await line.close()
        if is_last:
            await asyncio.to_thread(self._sender.close)
            if self._marking is not None:
                self._marking.cancel()
                self._marking = None
            mark, self._mark = self._mark, None
            if mark is not None:
                self.place.remove_mark(mark)

    def publish(self, group: str, message: Message) -> None:
        self._sender.send(_frame(group, message))

    async def apublish(self, group: str, message: Message) -> None:
        await self._sender.asend(_frame(group, message))

    async def subscribe(self, group: str, deliver: Deliver, on_gap: Gap | None = None) -> None:
        await self._line().subscribe(group.encode(), deliver, on_gap)

    async def unsubscribe(self, group: str) -> None:
        with self._lock:
            line = self._lines.get(asyncio.get_running_loop())
        if line is not None:
            line.unsubscribe(group.encode())

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
                for closed in [other for other in self._lines if other.is_closed()]:
                    self._lines.pop(closed).abandon()
                line = self._lines[loop] = Line(self.place, self._subscribe_timeout_s, self._slice_s)
        return line

    def _forget(self) -> None:
        """In a fork: the connections are the parent's, and would stay open with it."""
        for line in self._lines.values():
            line.abandon()
        self._sender.forget()
        self._lock = threading.Lock()
        self._lines = {}
        self._mark = self._marking = None  # the descriptor is closed in place.py


def _frame(group: str, message: Message) -> bytes:
    kind, payload = (TEXT, message.encode()) if isinstance(message, str) else (BINARY, message)
    try:
        return encode(kind, group.encode(), payload)
    except ValueError as error:
        raise LayerError(str(error)) from None


_layers: weakref.WeakSet[LocalLayer] = weakref.WeakSet()


def _after_fork() -> None:
    for layer in [*_layers]:
        layer._forget()


def _at_exit() -> None:
    for layer in [*_layers]:
        layer._sender.close()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

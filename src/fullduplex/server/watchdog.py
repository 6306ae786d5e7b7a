"""A blocked event loop, seen by a thread beside it: what runs in it, what waits for it, and what the other threads do.

A thread sees nothing while somebody holds the interpreter's lock. Then the supervisor, which misses the worker's beats,
has the interpreter itself write its stacks before it ends the worker. Where there is no supervisor any more, the
thread ends it: nobody else would, and it holds the sockets that the next service listens on.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator

from fullduplex.server.orders import DUMP_SIGNAL

logger = logging.getLogger("fullduplex.server")

TASKS_COUNT = 20  # whose stacks are logged; the one that blocks is among the threads'


class Watchdog:
    """Tells once of each time that the loop does not run for too long.

    Args:
        loop: to be watched; the thread that runs it calls :meth:`beat`.
        warn_s: how long it may not run.
        limit_s: how long it may not run where nobody else ends it; 0 for as long as it likes.
        is_alone: whether there is nobody else.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, warn_s: float, limit_s: float, is_alone: Callable[[], bool]
    ) -> None:
        self._loop = loop
        self._warn_s = warn_s
        self._limit_s = limit_s
        self._is_alone = is_alone
        self._beat_s = time.monotonic()
        self._told = False
        self._stopped = threading.Event()
        self._watched = threading.get_ident()
        faulthandler.register(DUMP_SIGNAL, all_threads=True, chain=False)
        self._thread = threading.Thread(target=self._watch, name="fullduplex watchdog", daemon=True)
        self._thread.start()

    def beat(self) -> None:
        """The loop runs."""
        blocked_s = time.monotonic() - self._beat_s
        self._beat_s += blocked_s
        if self._told:
            self._told = False
            logger.warning("The event loop runs again, after %.1f s", blocked_s)

    def stop(self) -> None:
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(self._warn_s / 4):
            blocked_s = time.monotonic() - self._beat_s
            if blocked_s >= self._warn_s and not self._told:
                self._told = True
                self._tell(blocked_s)
            if 0 < self._limit_s <= blocked_s and self._is_alone():
                logger.error("The event loop is blocked and the supervisor is gone; this worker ends")
                logging.shutdown()
                os._exit(1)

    def _tell(self, blocked_s: float) -> None:
        """The stacks stand below the line, as a traceback does; what stands in a message is one line."""
        message, stacks = "The event loop has been blocked for %.1f s", "\n".join(self._report())
        logger.handle(
            logger.makeRecord(logger.name, logging.ERROR, __file__, 0, message, (blocked_s,), None, sinfo=stacks)
        )

    def _report(self) -> Iterator[str]:
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        frames = sys._current_frames()
        if self._watched in frames:
            yield "What blocks it:"
            yield from _lines(traceback.format_stack(frames.pop(self._watched)))
        for ident, frame in frames.items():
            if ident != threading.get_ident():
                yield f"Thread {names.get(ident, ident)}:"
                yield from _lines(traceback.format_stack(frame))
        tasks = [*asyncio.all_tasks(self._loop)]
        for task in tasks[:TASKS_COUNT]:
            yield f"Task {task.get_name()} waits:"
            for frame in task.get_stack(limit=5):
                yield from _lines(traceback.format_stack(frame, limit=1))
        if len(tasks) > TASKS_COUNT:
            yield f"and {len(tasks) - TASKS_COUNT} more tasks"


def _lines(stack: list[str]) -> list[str]:
    return [line for entry in stack for line in entry.splitlines()]

"""The state of a service at a moment: for health checks and metrics, whoever answers them.

The loop that knows it puts it together; a thread of its own reads it (:mod:`fullduplex.server.metrics_port`). So what
is handed over never changes.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from fullduplex.server.figures import Family

BLOCKED_S = 2.0  # a loop that was not seen to run for so long is no place for requests


class State(enum.Enum):
    """Of a worker."""

    STARTING = enum.auto()
    READY = enum.auto()
    DRAINING = enum.auto()


@dataclass(frozen=True, slots=True)
class Seen:
    """One worker, as it was seen last.

    Attributes:
        slot: from 0.
        beat_s: when its loop was seen to run; on the clock of :func:`time.monotonic`, as all moments here.
        taken_s: when its figures were taken; None: there are none.
    """

    slot: int
    state: State
    beat_s: float
    taken_s: float | None
    figures: tuple[Family, ...] = ()


@dataclass(frozen=True, slots=True)
class Overview:
    """All there is to know.

    Attributes:
        alive_s: when the loop of whoever answers was seen to run.
        is_stopping: the service goes down.
        past: figures by slot of workers that have ended: what only grows.
        families: figures of the service itself.
    """

    alive_s: float
    is_stopping: bool
    workers: tuple[Seen, ...]
    past: tuple[tuple[int, tuple[Family, ...]], ...] = ()
    families: tuple[Family, ...] = ()

    def ready_count(self, now_s: float) -> int:
        """Workers that take requests."""
        return sum(one.state is State.READY and now_s - one.beat_s < BLOCKED_S for one in self.workers)

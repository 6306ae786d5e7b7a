"""The figures of the async ORM's connections, for whoever watches a process."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from fullduplex.db.seats import seats_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionStats:
    """The connections of the async ORM on one event loop.

    Attributes:
        taken_count: requests and other tasks that have one to each database that they use.
        idle_count: those that are kept for the next.
        waiting_count: requests and other tasks that wait for one.
        wait_count: waits that are over.
        wait_total_s: how long they took, together.
        wait_longest_s: the longest of them.
        exhausted_count: those that ended without one, after THREADS_WAIT_S.
    """

    taken_count: int
    idle_count: int
    waiting_count: int
    wait_count: int
    wait_total_s: float
    wait_longest_s: float
    exhausted_count: int


def connection_stats() -> ConnectionStats:
    """Return the figures of the running loop."""
    seats = seats_of(asyncio.get_running_loop())
    waits = seats.waits
    return ConnectionStats(
        taken_count=seats.taken_count,
        idle_count=seats.idle_count,
        waiting_count=seats.waiting_count,
        wait_count=waits.count,
        wait_total_s=waits.total_s,
        wait_longest_s=waits.longest_s,
        exhausted_count=waits.exhausted_count,
    )

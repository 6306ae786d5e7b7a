"""The figures of the thread pool, for whoever watches a process."""

from __future__ import annotations

from dataclasses import dataclass

from fullduplex.threads.context import get_pool


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadStats:
    """The threads for sync code of one process, and what waiting for them has cost since it started.

    Attributes:
        thread_count: threads that there are; they start when needed, up to THREADS_MAX_COUNT.
        busy_count: of them, those that run sync code, or wait in it for async code.
        resting_count: of them, those that wait for the next call of their request or socket.
        waiting_count: requests and sockets that wait for one.
        wait_count: waits that are over.
        wait_total_s: how long they took, together.
        wait_longest_s: the longest of them.
        long_wait_count: those of a second or longer.
        exhausted_count: those that ended without a thread, after THREADS_WAIT_S.
    """

    thread_count: int
    busy_count: int
    resting_count: int
    waiting_count: int
    wait_count: int
    wait_total_s: float
    wait_longest_s: float
    long_wait_count: int
    exhausted_count: int


def thread_stats() -> ThreadStats:
    """Return the figures of this process, from any thread; it costs a few microseconds."""
    pool = get_pool()
    waits = pool.waits
    return ThreadStats(
        thread_count=pool.thread_count,
        busy_count=pool.running_count,
        resting_count=pool.resting_count,
        waiting_count=pool.waiting_count,
        wait_count=waits.count,
        wait_total_s=waits.total_s,
        wait_longest_s=waits.longest_s,
        long_wait_count=waits.long_count,
        exhausted_count=waits.exhausted_count,
    )

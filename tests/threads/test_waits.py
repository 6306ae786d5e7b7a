"""Waiting for a thread can be seen: in figures, and in the log when it gets long."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

import fullduplex
from fullduplex.threads.lease import Lease
from fullduplex.threads.pool import ThreadPool
from fullduplex.threads.waits import LONG_WAIT_S, Waits
from tests.threads.leases import DEADLINE_S, Blocker, settled


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadPool]:
    pool = ThreadPool(lambda: 2)
    monkeypatch.setattr("fullduplex.threads.stats.get_pool", lambda: pool)
    yield pool
    pool.close()


def test_the_figures_of_a_process(pool: ThreadPool) -> None:
    assert fullduplex.thread_stats().thread_count == 0
    leases = [Lease(pool) for _ in range(5)]
    blockers = [Blocker(lease) for lease in leases[:2]]
    waiting = [lease.submit(threading.get_ident) for lease in leases[2:]]
    busy = fullduplex.thread_stats()
    assert (busy.thread_count, busy.busy_count, busy.waiting_count, busy.wait_count) == (2, 2, 3, 0)
    for blocker in blockers:
        blocker.end()
    for lease in leases[:2]:
        lease.end()
    for future, lease in zip(waiting, leases[2:], strict=True):
        future.result(DEADLINE_S)
        lease.free()
    assert settled(pool)
    idle = fullduplex.thread_stats()
    assert (idle.thread_count, idle.busy_count, idle.waiting_count, idle.wait_count) == (2, 0, 0, 3)
    assert (busy.resting_count, idle.resting_count) == (0, 0)
    assert 0 < idle.wait_longest_s <= idle.wait_total_s
    assert (idle.long_wait_count, idle.exhausted_count) == (0, 0)


def test_long_waits_are_told_once_in_an_interval(caplog: pytest.LogCaptureFixture) -> None:
    waits = Waits()
    waits.note(LONG_WAIT_S / 2)
    assert not waits.has_news
    for wait_s in (1.0, 3.25, 2.0):
        waits.note(wait_s)
    assert waits.has_news
    waits.report(100.0, 16, 7)
    waits.note(1.5)
    waits.report(109.9, 16, 7)  # too early: it stays news
    assert waits.has_news
    waits.report(110.0, 16, 0)
    assert not waits.has_news
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith("3 requests or sockets waited 1 s or longer for a thread, the longest so far 3.2 s; 7 wait")
    assert "THREADS_COUNT" in first
    assert second.startswith("1 requests or sockets")
    assert (waits.count, waits.long_count) == (5, 4)


def test_a_request_that_ends_tells_of_them(pool: ThreadPool, caplog: pytest.LogCaptureFixture) -> None:
    lease = Lease(pool)
    lease.end()
    assert not caplog.records
    pool.waits.note(LONG_WAIT_S)
    lease.end()
    lease.end()
    (record,) = caplog.records
    assert (record.levelname, record.name) == ("WARNING", "fullduplex.handler")

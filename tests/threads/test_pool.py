"""The pool: threads are leased with the first call, kept in a transaction, given back clean, waited for in order."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection, transaction

from fullduplex.exceptions import ThreadsExhausted
from fullduplex.threads.pool import Lease, ThreadPool, Worker
from tests.threads.leases import DEADLINE_S, LONG_S, Blocker, settled, thread_of


@pytest.fixture
def pool() -> Iterator[ThreadPool]:
    pool = ThreadPool(lambda: 2)
    yield pool
    pool.close()
    assert pool.thread_count == 0


# Calls ---------------------------------------------------------------------------------------


def test_calls_of_a_lease_run_in_order_in_one_thread_and_return_or_raise(pool: ThreadPool) -> None:
    lease = Lease(pool, LONG_S)
    order: list[int] = []
    futures = [lease.submit(order.append, number) for number in range(50)]
    assert [future.result(DEADLINE_S) for future in futures] == [None] * 50
    assert order == list(range(50))
    assert thread_of(lease) is thread_of(lease)
    with pytest.raises(ZeroDivisionError):
        lease.submit(lambda: 1 / 0).result(DEADLINE_S)
    lease.end()


def test_a_cancelled_call_does_not_run(pool: ThreadPool) -> None:
    lease = Lease(pool)
    first, ran = Blocker(lease), []
    second = lease.submit(ran.append, "second")
    assert second.cancel()
    first.end()
    thread_of(lease)
    assert ran == []


def test_two_leases_run_at_the_same_time(pool: ThreadPool) -> None:
    one, other = Blocker(Lease(pool)), Blocker(Lease(pool))
    assert one.running.wait(DEADLINE_S)
    assert other.running.wait(DEADLINE_S)
    one.end()
    other.end()


def test_a_thread_serves_one_lease_after_the_other(pool: ThreadPool) -> None:
    threads = set()
    for _ in range(20):
        lease = Lease(pool, LONG_S)
        threads.add(thread_of(lease))
        lease.end()
        assert settled(pool)
    assert len(threads) == 1


def test_a_lease_that_has_ended_takes_a_thread_for_each_call(pool: ThreadPool) -> None:
    lease = Lease(pool, LONG_S)
    lease.shutdown()
    assert thread_of(lease).is_alive()
    assert settled(pool)
    assert lease.worker is None


def test_a_resting_thread_is_taken_when_another_lease_needs_it(pool: ThreadPool) -> None:
    leases = [Lease(pool, LONG_S) for _ in range(5)]
    threads = {thread_of(lease) for lease in leases}
    assert len(threads) == 2
    assert pool.waits.count == 0 or pool.waits.total_s < DEADLINE_S
    for lease in leases:
        lease.end()


def test_a_resting_thread_goes_back_after_a_while(pool: ThreadPool) -> None:
    lease = Lease(pool, 0.01)
    thread_of(lease)
    deadline_s = time.monotonic() + DEADLINE_S
    while lease.worker is not None and time.monotonic() < deadline_s:
        time.sleep(0.001)
    assert lease.worker is None
    assert settled(pool)


def test_give_back_lets_a_resting_thread_go_and_a_running_one_alone(pool: ThreadPool) -> None:
    lease = Lease(pool, LONG_S)
    blocker = Blocker(lease)
    assert blocker.running.wait(DEADLINE_S)
    lease.give_back()
    assert lease.worker is not None
    blocker.end()
    while not lease.worker.rests:
        time.sleep(0.001)
    lease.give_back()
    assert lease.worker is None


# Waiting -------------------------------------------------------------------------------------


def test_leases_wait_in_order_and_the_wait_is_measured(pool: ThreadPool) -> None:
    blockers = [Blocker(Lease(pool)) for _ in range(2)]
    order: list[int] = []
    futures = [Lease(pool).submit(order.append, number) for number in range(10)]
    assert pool.waiting_count == 10
    blockers[0].end()
    for future in futures:
        future.result(DEADLINE_S)
    blockers[1].end()
    assert order == list(range(10))
    assert pool.waits.count == 10
    assert 0 < pool.waits.longest_s <= pool.waits.total_s
    assert pool.waiting_count == 0


async def test_a_call_that_blocks_holds_up_the_next_one_for_a_moment_only(pool: ThreadPool) -> None:
    together = threading.Barrier(2)
    first = Lease(pool).submit(together.wait, DEADLINE_S)
    second = Lease(pool).submit(together.wait, DEADLINE_S)  # waits for the first, until it is seen to block
    assert pool.waiting_count == 1
    await asyncio.gather(asyncio.wrap_future(first), asyncio.wrap_future(second))
    assert pool.thread_count == 2
    assert pool.waits.count == 1


async def test_short_calls_share_a_thread(pool: ThreadPool) -> None:
    leases = [Lease(pool) for _ in range(20)]
    idents = await asyncio.gather(*(asyncio.wrap_future(lease.submit(threading.get_ident)) for lease in leases))
    assert len(set(idents)) <= 2


async def test_past_the_limit_a_call_fails_and_the_log_names_the_setting(
    pool: ThreadPool, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.FULLDUPLEX = {"THREADS_WAIT_S": 0.01}
    blockers = [Blocker(Lease(pool)) for _ in range(2)]
    lease = Lease(pool)
    with pytest.raises(ThreadsExhausted):
        await asyncio.wrap_future(lease.submit(int))
    assert pool.waits.exhausted_count == 1
    assert "THREADS_WAIT_S" in caplog.text
    assert pool.waiting_count == 0
    for blocker in blockers:
        blocker.end()
    assert await asyncio.wrap_future(lease.submit(lambda: "later")) == "later"


async def test_a_thread_that_comes_in_time_ends_the_wait(pool: ThreadPool, settings: Any) -> None:
    settings.FULLDUPLEX = {"THREADS_WAIT_S": LONG_S}
    blockers = [Blocker(Lease(pool)) for _ in range(2)]
    waits = asyncio.wrap_future(Lease(pool).submit(lambda: "done"))
    for blocker in blockers:
        await asyncio.to_thread(blocker.end)
    assert await waits == "done"
    assert pool.waits.exhausted_count == 0


async def test_a_system_without_more_threads_makes_calls_wait_for_those_that_there_are(
    pool: ThreadPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as context:
        context.setattr(Worker, "start", refuse)
        with pytest.raises(RuntimeError, match="no more"):
            Lease(pool).submit(int)
    assert pool.thread_count == 0
    blocker = Blocker(Lease(pool))
    together = threading.Barrier(2)
    waits = Lease(pool).submit(together.wait, DEADLINE_S)
    refused = []
    monkeypatch.setattr(Worker, "start", lambda worker: refuse(worker, refused))
    while not refused:
        await asyncio.sleep(0)
    assert (pool.thread_count, pool.waiting_count) == (1, 1)
    monkeypatch.undo()
    await asyncio.to_thread(together.wait, DEADLINE_S)  # the system has threads again
    await asyncio.wrap_future(waits)
    blocker.end()


async def test_a_call_that_found_no_thread_is_not_run_later(pool: ThreadPool, monkeypatch: pytest.MonkeyPatch) -> None:
    lease, ran = Lease(pool), []
    with monkeypatch.context() as context:
        context.setattr(Worker, "start", refuse)
        with pytest.raises(RuntimeError, match="no more"):
            lease.submit(ran.append, "first")
    await asyncio.wrap_future(lease.submit(ran.append, "second"))
    assert ran == ["second"]


def refuse(worker: Worker, refused: list[Worker] | None = None) -> None:
    if refused is not None:
        refused.append(worker)
    raise RuntimeError("no more threads")


def test_a_loop_that_ends_does_not_leave_the_calls_of_another_one_alone() -> None:
    pool = ThreadPool(lambda: 4)
    one, other = asyncio.new_event_loop(), asyncio.new_event_loop()
    together = threading.Barrier(3)

    async def submit(count: int) -> list[Future[int]]:
        return [Lease(pool).submit(together.wait, DEADLINE_S) for _ in range(count)]

    async def end(calls: list[Future[int]]) -> None:
        await asyncio.gather(*map(asyncio.wrap_future, calls))

    calls = one.run_until_complete(submit(2))
    calls += other.run_until_complete(submit(1))
    other.close()
    one.run_until_complete(end(calls))
    one.close()
    pool.close()


# Clean threads -------------------------------------------------------------------------------


@pytest.fixture
def database(transactional_db: None) -> None:
    """The threads share the in-memory database of the tests."""


def begin() -> None:
    connection.ensure_connection()
    transaction.set_autocommit(False)


@pytest.mark.usefixtures("database")
def test_a_thread_in_a_transaction_is_kept_even_when_others_wait(pool: ThreadPool) -> None:
    lease, other = Lease(pool), Lease(pool)
    lease.submit(begin).result(DEADLINE_S)
    other.submit(begin).result(DEADLINE_S)
    waiting = Lease(pool).submit(int)
    assert pool.waiting_count == 1
    lease.give_back()
    assert pool.waiting_count == 1
    assert lease.submit(lambda: connection.autocommit).result(DEADLINE_S) is False
    lease.submit(lambda: (transaction.rollback(), transaction.set_autocommit(True))).result(DEADLINE_S)
    assert waiting.result(DEADLINE_S) == 0
    other.end()


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("leak", [begin, lambda: transaction.atomic().__enter__()])
def test_a_transaction_that_is_left_open_is_rolled_back_and_logged(
    pool: ThreadPool, leak: Any, caplog: pytest.LogCaptureFixture
) -> None:
    lease = Lease(pool)

    def leave() -> None:
        leak()
        Group.objects.create(name="leaked")

    lease.submit(leave).result(DEADLINE_S)
    lease.end()
    assert settled(pool)

    def state() -> tuple[bool, bool, int]:
        return connection.in_atomic_block, connection.get_autocommit(), Group.objects.count()

    assert Lease(pool).submit(state).result(DEADLINE_S) == (False, True, 0)
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1


class Old:
    """A connection past CONN_MAX_AGE."""

    alias = "old"
    connection = object()
    in_atomic_block = False
    autocommit = True
    errors_occurred = False
    close_at = 0.0
    settings_dict = {"AUTOCOMMIT": True}  # noqa: RUF012
    run_on_commit: list[Any] = []  # noqa: RUF012
    queries_log: list[Any] = []  # noqa: RUF012

    def __init__(self) -> None:
        self.closed_by: list[threading.Thread] = []

    def close(self) -> None:
        self.closed_by.append(threading.current_thread())
        raise ZeroDivisionError  # logged, and it does not stop the thread


def test_old_connections_are_closed_on_their_thread_when_the_lease_ends(
    pool: ThreadPool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    old = Old()
    monkeypatch.setattr("fullduplex.threads.connections._initialized", lambda: [old])
    lease = Lease(pool, LONG_S)
    thread = thread_of(lease)
    lease.end()
    assert settled(pool)
    assert old.closed_by == [thread]
    assert "could not be cleaned" in caplog.text


def test_close_ends_the_threads_and_the_next_call_starts_another() -> None:
    pool = ThreadPool(lambda: 2)
    lease = Lease(pool, LONG_S)
    first = thread_of(lease)
    pool.close()
    assert not first.is_alive()
    second = thread_of(Lease(pool))
    assert second is not first
    pool.close()


def test_fewer_threads_by_setting_take_effect() -> None:
    size = [2]
    pool = ThreadPool(lambda: size[0])
    blockers = [Blocker(Lease(pool)) for _ in range(2)]
    size[0] = 1
    for blocker in blockers:
        blocker.end()
    assert settled(pool)
    deadline_s = time.monotonic() + DEADLINE_S
    while pool.thread_count > 1 and time.monotonic() < deadline_s:
        time.sleep(0.001)
    assert pool.thread_count == 1
    pool.close()

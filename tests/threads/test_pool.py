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
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Group
from django.db import connection, transaction

from fullduplex.exceptions import ThreadsExhausted
from fullduplex.threads import pool as pool_module
from fullduplex.threads import worker as worker_module
from fullduplex.threads.hop import hop_on
from fullduplex.threads.lease import Lease, SharedLease
from fullduplex.threads.pace import Pace
from fullduplex.threads.pool import ThreadPool
from fullduplex.threads.worker import Worker
from tests.threads.leases import DEADLINE_S, LONG_S, Blocker, put, settled, thread_of


@pytest.fixture
def pool() -> Iterator[ThreadPool]:
    pool = ThreadPool(lambda: 2, lambda: 50)
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


def test_a_lease_keeps_its_thread_whoever_waits_for_one(pool: ThreadPool) -> None:
    leases = [Lease(pool) for _ in range(5)]
    threads = [thread_of(lease) for lease in leases]
    assert len(set(threads)) == 5
    assert [thread_of(lease) for lease in leases] == threads
    assert settled(pool)
    assert (pool.thread_count, pool.resting_count, pool.waits.count) == (5, 5, 0)
    for lease in leases:
        lease.end()


def test_who_has_a_thread_never_waits_again(pool: ThreadPool) -> None:
    lease = Lease(pool)
    thread = thread_of(lease)
    blockers = [Blocker(Lease(pool)) for _ in range(2)]
    waiting = Lease(pool).submit(int)
    assert pool.waiting_count == 1
    assert thread_of(lease) is thread
    assert not waiting.done()
    for blocker in blockers:
        blocker.end()
    lease.end()


def test_above_the_limit_of_all_a_resting_thread_is_waited_for() -> None:
    pool = ThreadPool(lambda: 1, lambda: 2)
    leases = [Lease(pool) for _ in range(2)]
    for lease in leases:
        thread_of(lease)
    assert settled(pool)
    waiting = Lease(pool)
    future = waiting.submit(threading.current_thread)
    assert (pool.waiting_count, pool.thread_count) == (1, 2)
    leases[0].end()
    assert future.result(DEADLINE_S).is_alive()
    waiting.end()
    leases[1].end()
    pool.close()


def test_a_thread_that_a_request_has_spoiled_is_not_used_again(pool: ThreadPool) -> None:
    lease = Lease(pool)
    thread = thread_of(lease)
    lease.end(spoiled=True)
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    blocker = Blocker(running := Lease(pool))
    running.end(spoiled=True)  # while its call still runs: after it
    blocker.end()
    assert thread_of(Lease(pool)) is not thread
    assert settled(pool)


def test_free_lets_the_thread_go_after_the_call_that_runs(pool: ThreadPool) -> None:
    lease = Lease(pool)
    blocker = Blocker(lease)
    assert blocker.running.wait(DEADLINE_S)
    lease.free()
    assert lease.has_thread
    blocker.end()
    assert settled(pool)
    assert not lease.has_thread
    thread_of(lease)
    assert settled(pool)
    lease.free()
    assert not lease.has_thread


def test_surplus_threads_end_when_they_have_been_idle(settings: Any) -> None:
    settings.FULLDUPLEX = {"IDLE_THREAD_S": 0}
    pool = ThreadPool(lambda: 1, lambda: 10)
    leases = [Lease(pool) for _ in range(10)]
    assert len({thread_of(lease) for lease in leases}) == 10
    for lease in leases:
        lease.end()
    deadline_s = time.monotonic() + DEADLINE_S
    while pool.thread_count > 1 and time.monotonic() < deadline_s:
        time.sleep(0.001)
    assert pool.thread_count == 1
    pool.close()


def test_one_that_waits_for_async_code_does_not_count_as_running() -> None:
    pool = ThreadPool(lambda: 1, lambda: 10)
    loop = asyncio.new_event_loop()
    go_on, inside = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        inside.set()
        await go_on.wait()

    async def main() -> None:
        lease = Lease(pool)
        waits = asyncio.create_task(hop_on(lease, async_to_sync(wait)))
        await inside.wait()
        other = Lease(pool)
        assert await hop_on(other, int) == 0
        other.end()
        go_on.set()
        await waits
        lease.end()

    loop.run_until_complete(asyncio.wait_for(main(), DEADLINE_S))
    loop.close()
    pool.close()


def test_a_request_inside_another_uses_its_thread_and_ends_nothing(pool: ThreadPool) -> None:
    outer = Lease(pool)
    thread = thread_of(outer)
    inner = SharedLease(outer)
    assert thread_of(inner) is thread
    inner.free()
    inner.end(spoiled=True)
    assert thread_of(outer) is thread
    outer.end()


# Loose leases: sockets, and tasks that outlive their request ---------------------------------


def test_a_lease_that_has_ended_is_loose(pool: ThreadPool) -> None:
    lease = Lease(pool)
    lease.shutdown()
    assert thread_of(lease).is_alive()
    assert settled(pool)
    assert lease.worker is None


def test_sockets_have_threads_of_their_own(pool: ThreadPool) -> None:
    request, socket = Lease(pool), Lease(pool, LONG_S, is_bound=False)
    first = thread_of(request)
    request.end()
    assert settled(pool)
    assert thread_of(socket) is not first
    socket.end()
    assert settled(pool)
    again = Lease(pool)
    assert thread_of(again) is first
    again.end()


def test_a_resting_thread_is_taken_when_another_socket_needs_it(pool: ThreadPool) -> None:
    leases = [Lease(pool, LONG_S, is_bound=False) for _ in range(5)]
    threads = set()
    for lease in leases:
        threads.add(thread_of(lease))
        assert settled(pool)
    assert len(threads) == 2
    for lease in leases:
        lease.end()


def test_a_resting_thread_goes_back_after_a_while(pool: ThreadPool) -> None:
    lease = Lease(pool, 0.01, is_bound=False)
    thread_of(lease)
    deadline_s = time.monotonic() + DEADLINE_S
    while lease.worker is not None and time.monotonic() < deadline_s:
        time.sleep(0.001)
    assert lease.worker is None
    assert settled(pool)


def test_a_handshake_that_becomes_a_socket_leaves_its_thread(pool: ThreadPool) -> None:
    lease = Lease(pool, LONG_S, tracks=True)
    thread = thread_of(lease)
    assert settled(pool)
    lease.loosen()
    assert not lease.has_thread
    assert thread_of(lease) is not thread
    lease.end()


# Waiting -------------------------------------------------------------------------------------


def test_leases_wait_in_order_and_the_wait_is_measured(pool: ThreadPool) -> None:
    blockers = [Blocker(lease) for lease in (Lease(pool), Lease(pool))]
    order: list[int] = []
    futures = [Lease(pool, is_bound=False).submit(order.append, number) for number in range(10)]
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


async def test_last_calls_that_are_short_share_a_thread(pool: ThreadPool) -> None:
    leases = [Lease(pool) for _ in range(20)]
    idents = await asyncio.gather(*(hop_on(lease, threading.get_ident, over=bool) for lease in leases))
    assert len(set(idents)) <= 2


async def test_one_that_rests_after_its_call_holds_up_nobody(pool: ThreadPool) -> None:
    leases = [Lease(pool) for _ in range(20)]
    idents = await asyncio.gather(*(hop_on(lease, threading.get_ident) for lease in leases))
    assert len(set(idents)) == 20
    for lease in leases:
        lease.end()


async def test_whoever_stops_waiting_takes_no_thread(pool: ThreadPool) -> None:
    blockers = [Blocker(Lease(pool)) for _ in range(2)]
    for blocker in blockers:
        await asyncio.to_thread(blocker.running.wait, DEADLINE_S)
    gone = Lease(pool)
    task = asyncio.create_task(hop_on(gone, int))
    await asyncio.sleep(0)
    assert pool.waiting_count == 1
    task.cancel()
    await asyncio.wait({task})
    other = asyncio.create_task(hop_on(Lease(pool), int))
    for blocker in blockers:
        await asyncio.to_thread(blocker.end)
    assert await other == 0
    assert not gone.has_thread


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


async def test_who_waits_is_looked_after_although_that_failed_once(
    pool: ThreadPool, settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pool_module, "PAUSE_S", 0.0)
    settings.FULLDUPLEX = {"THREADS_WAIT_S": 0.01}
    look, failures = pool._pace.look, [LookupError("a fault of ours")]

    def fail_once(*args: Any) -> None:
        if failures:
            raise failures.pop()
        look(*args)

    monkeypatch.setattr(Pace, "look", lambda self, *args: fail_once(*args))
    blockers = [Blocker(Lease(pool)) for _ in range(2)]
    with pytest.raises(ThreadsExhausted):
        async with asyncio.timeout(DEADLINE_S):
            await hop_on(Lease(pool), int)
    for blocker in blockers:
        blocker.end()
    assert "Looking after those that wait for a thread failed" in caplog.text


@pytest.mark.parametrize("name", ["is_unclean", "has_open_query", "clean_connections"])
def test_a_thread_that_fails_beside_its_calls_is_replaced(
    name: str, pool: ThreadPool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures: list[threading.Thread] = []
    original = getattr(worker_module, name)

    def fail_once() -> Any:
        if not failures:
            failures.append(threading.current_thread())
            raise LookupError("of a database driver")
        return original()

    monkeypatch.setattr(worker_module, name, fail_once)
    lease = Lease(pool, LONG_S, tracks=True)
    first = thread_of(lease)
    if name == "clean_connections":  # between two leases
        lease.end()
        lease = Lease(pool, LONG_S)
    assert [lease.submit(int).result(DEADLINE_S) for _ in range(3)] == [0, 0, 0]
    first.join(DEADLINE_S)
    assert failures == [first]
    assert thread_of(lease) is not first
    assert (pool.thread_count, pool.waiting_count) == (1, 0)
    assert "A thread failed between two calls" in caplog.text
    lease.end()


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
        return [put(Lease(pool), together.wait, DEADLINE_S) for _ in range(count)]

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
def test_a_socket_keeps_a_thread_in_which_a_transaction_is_open(pool: ThreadPool) -> None:
    lease, others = Lease(pool, 0, is_bound=False), [Lease(pool, 0, is_bound=False) for _ in range(3)]
    lease.submit(begin).result(DEADLINE_S)
    thread = thread_of(lease)
    assert thread not in {thread_of(other) for other in others}
    assert lease.submit(lambda: connection.autocommit).result(DEADLINE_S) is False
    lease.submit(lambda: (transaction.rollback(), transaction.set_autocommit(True))).result(DEADLINE_S)
    assert settled(pool)
    assert not lease.has_thread


@pytest.mark.usefixtures("database")
def test_a_socket_keeps_a_thread_in_which_a_cursor_is_open(pool: ThreadPool) -> None:
    lease = Lease(pool, 0, is_bound=False)
    cursors: list[Any] = []

    def ask() -> None:
        cursors.append(connection.cursor())
        cursors[0].execute("SELECT 1 UNION SELECT 2")

    lease.submit(ask).result(DEADLINE_S)
    thread = thread_of(lease)
    assert settled(pool)
    assert lease.has_thread
    assert lease.submit(lambda: cursors[0].fetchall()).result(DEADLINE_S) == [(1,), (2,)]
    assert thread_of(lease) is thread
    cursors.clear()  # nobody reads on
    deadline_s = time.monotonic() + DEADLINE_S
    while lease.has_thread and time.monotonic() < deadline_s:
        time.sleep(0.001)
    assert not lease.has_thread


@pytest.mark.usefixtures("database")
def test_what_a_handshake_has_open_keeps_its_thread_for_the_socket(pool: ThreadPool) -> None:
    lease = Lease(pool, LONG_S, tracks=True)
    lease.submit(begin).result(DEADLINE_S)
    thread = thread_of(lease)
    assert settled(pool)
    lease.loosen()
    assert thread_of(lease) is thread
    lease.submit(lambda: (transaction.rollback(), transaction.set_autocommit(True))).result(DEADLINE_S)
    assert settled(pool)
    assert not lease.has_thread
    assert thread_of(lease) is not thread
    lease.end()


@pytest.mark.usefixtures("database")
def test_what_observes_the_queries_of_one_request_is_gone_for_the_next(pool: ThreadPool) -> None:
    seen: list[str] = []

    def observe(execute: Any, sql: str, *args: Any) -> Any:
        seen.append(sql)
        return execute(sql, *args)

    def leave() -> threading.Thread:
        connection.ensure_connection()
        connection.execute_wrappers.append(observe)
        connection.force_debug_cursor = True
        Group.objects.count()
        return threading.current_thread()

    def look() -> tuple[threading.Thread, bool, int]:
        Group.objects.count()
        return threading.current_thread(), connection.force_debug_cursor, len(connection.queries_log)

    lease = Lease(pool)
    thread = lease.submit(leave).result(DEADLINE_S)
    lease.end()
    assert settled(pool)
    after = Lease(pool)
    assert after.submit(look).result(DEADLINE_S) == (thread, False, 0)
    after.end()
    assert len(seen) == 1


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
    execute_wrappers: list[Any] = []  # noqa: RUF012
    force_debug_cursor = False

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


@pytest.mark.usefixtures("database")
def test_sqlite_in_memory_is_closed_too(pool: ThreadPool) -> None:
    def connect() -> tuple[threading.Thread, bool]:
        was_open = connection.connection is not None
        connection.ensure_connection()
        return threading.current_thread(), was_open

    threads = set()
    for _ in range(2):
        lease = Lease(pool)
        thread, was_open = lease.submit(connect).result(DEADLINE_S)
        lease.end()
        assert settled(pool)
        assert not was_open
        threads.add(thread)
    assert len(threads) == 1


def test_close_ends_the_threads_and_the_next_call_starts_another() -> None:
    pool = ThreadPool(lambda: 2)
    lease = Lease(pool, LONG_S)
    first = thread_of(lease)
    pool.close()
    assert not first.is_alive()
    second = thread_of(Lease(pool))
    assert second is not first
    pool.close()


def test_fewer_threads_by_setting_take_effect(settings: Any) -> None:
    settings.FULLDUPLEX = {"IDLE_THREAD_S": 0}
    size = [2]
    pool = ThreadPool(lambda: size[0])
    leases = [Lease(pool) for _ in range(2)]
    blockers = [Blocker(lease) for lease in leases]
    size[0] = 1
    for blocker, lease in zip(blockers, leases, strict=True):
        blocker.end()
        lease.end()
    assert settled(pool)
    deadline_s = time.monotonic() + DEADLINE_S
    while pool.thread_count > 1 and time.monotonic() < deadline_s:
        time.sleep(0.001)
    assert pool.thread_count == 1
    pool.close()

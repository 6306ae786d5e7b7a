"""Nothing is left of a request that was cancelled, of a task that ended, of a connection that was lost."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any, cast

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, Error, connection, connections, transaction
from django.test import override_settings

from fullduplex.db import database_only
from fullduplex.db.calls import adapt
from fullduplex.db.transactions import aatomic
from fullduplex.threads.context import enter_lease, entered_lease
from tests.db.cases import apid, as_request, asleep, fetch, pid, seats, wait_until, watch
from tests.db.project.models import Author

SLEEPING = """SELECT count(*) = {} FROM pg_stat_activity
    WHERE query LIKE '%pg_sleep(60)%' AND state = 'active' AND application_name = 'project'"""


@database_only
def sleep_in_transaction() -> None:
    with transaction.atomic():
        Author.objects.create(name="cancelled")
        fetch("SELECT true FROM pg_sleep(60)")


async def case_a_cancelled_query_is_cancelled_in_the_server() -> None:
    async def view() -> None:
        before = await apid()
        sleeping = asyncio.create_task(asleep(60))
        await wait_until(SLEEPING.format(1))
        sleeping.cancel()
        await asyncio.wait({sleeping})
        assert sleeping.cancelled()
        assert await apid() == before  # and its connection is good

    await as_request(view())
    assert await watch(SLEEPING.format(0))


async def case_cancelled_transactions_are_rolled_back() -> None:
    tasks = [asyncio.create_task(as_request(sync_to_async(sleep_in_transaction)())) for _ in range(10)]
    await wait_until(SLEEPING.format(10))
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks)
    assert await watch(SLEEPING.format(0))
    assert not await Author.objects.filter(name="cancelled").aexists()


async def case_cancelled_twice() -> None:
    """The second cancellation comes while the server is told of the first."""
    task = asyncio.create_task(as_request(sync_to_async(sleep_in_transaction)()))
    await wait_until(SLEEPING.format(1))
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert not await Author.objects.filter(name="cancelled").aexists()


async def case_cancelled_in_a_transaction_across_awaits() -> None:
    async def view() -> None:
        async with aatomic():
            await Author.objects.acreate(name="cancelled")
            inside.set()
            await asyncio.Event().wait()

    inside = asyncio.Event()
    task = asyncio.create_task(as_request(view()))
    await inside.wait()
    task.cancel()
    await asyncio.wait({task})
    assert not await Author.objects.filter(name="cancelled").aexists()


async def case_cancelled_while_it_waits_for_its_turn_or_a_connection() -> None:
    async def view() -> None:
        tasks = [asyncio.create_task(apid()) for _ in range(5)]
        await asyncio.sleep(0)
        for task in tasks[1:4]:
            task.cancel()
        await asyncio.wait(tasks)
        assert tasks[0].result() == tasks[4].result()

    with override_settings(FULLDUPLEX={**settings.FULLDUPLEX, "CONNECTIONS_MAX_COUNT": 2}):
        requests = [asyncio.create_task(as_request(view())) for _ in range(10)]
        await asyncio.sleep(0.01)
        for request in requests[3:7]:
            request.cancel()
        await asyncio.wait(requests)
        assert not any(request.exception() for request in requests[:3] + requests[7:])


async def case_a_transaction_that_was_left_open_is_rolled_back() -> None:
    @database_only
    def leave_open() -> None:
        transaction.set_autocommit(False)
        Author.objects.create(name="left")

    async def view() -> None:
        await sync_to_async(leave_open)()

    await as_request(view())
    while seats().taken_count:
        await asyncio.sleep(0.01)
    assert not await Author.objects.filter(name="left").aexists()


async def case_a_lost_connection_heals() -> None:
    barrier = asyncio.Barrier(5)

    async def view() -> int:
        return await apid()

    async def at_once() -> int:
        await barrier.wait()
        found = await apid()
        await barrier.wait()
        return found

    assert len(set(await asyncio.gather(*(as_request(at_once()) for _ in range(5))))) == 5
    await watch("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'project'")
    failures = 0
    for _ in range(5):
        try:
            await as_request(view())
        except Error:
            failures += 1
    assert failures <= 1
    assert len(set(await asyncio.gather(*(as_request(at_once()) for _ in range(5))))) == 5

    async def task() -> None:  # outside of any request
        apid = adapt(pid)
        await apid()
        await watch("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'project'")
        for attempt in range(2):
            try:
                await apid()
            except Error:
                assert attempt == 0

    await asyncio.create_task(task())


async def case_connections_end_with_their_request_where_none_are_kept() -> None:
    databases = settings.DATABASES[DEFAULT_DB_ALIAS]
    kept, databases["CONN_MAX_AGE"] = databases["CONN_MAX_AGE"], 0
    try:
        await asyncio.gather(*(as_request(asleep(0.01)) for _ in range(10)))
        await wait_until("SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'project'")
    finally:
        databases["CONN_MAX_AGE"] = kept


async def case_connections_past_their_age_are_not_used() -> None:
    before = await as_request(apid())
    for seat in seats()._idle[True]:
        for wrapper in seat.wrappers.values():
            wrapper.close_at = 0.0
    assert await as_request(apid()) != before


async def case_a_burst_leaves_few_connections() -> None:
    await asyncio.gather(*(as_request(asleep(0.05)) for _ in range(20)))
    await wait_until("SELECT count(*) <= 16 FROM pg_stat_activity WHERE application_name = 'project'")


async def case_ended_tasks_leave_nothing() -> None:
    async def task() -> None:
        await adapt(pid)()
        await adapt(pid)()

    for _ in range(3):
        await asyncio.gather(*(asyncio.create_task(task()) for _ in range(20)))
    assert seats().taken_count == 0

    async def forgets() -> None:
        """It ends with a cursor open."""
        rows = Author.objects.order_by("pk").aiterator(chunk_size=1)
        await anext(rows)
        kept.append(rows)

    kept: list[Any] = []
    await Author.objects.abulk_create([Author(name="row"), Author(name="row"), Author(name="row")])
    await asyncio.create_task(forgets())
    kept.clear()
    gc.collect()
    while seats().taken_count:
        await asyncio.sleep(0.01)


async def case_an_abandoned_cursor_is_gone_with_the_request() -> None:
    async def view() -> int:
        async for _ in Author.objects.order_by("pk").aiterator(chunk_size=1):
            break
        gc.collect()
        return await apid()

    await Author.objects.abulk_create([Author(name="row"), Author(name="row"), Author(name="row")])
    used = await as_request(view())
    await wait_until(f"SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = {used}")


async def case_a_session_needs_no_garbage_collector() -> None:
    async def view() -> weakref.ref[Any]:
        await apid()
        lease = entered_lease()
        assert lease is not None
        return weakref.ref(cast(Any, lease.session))

    gc.disable()
    try:
        assert (await as_request(view()))() is None
    finally:
        gc.enable()


async def case_a_task_that_outlives_its_request() -> None:
    async def view() -> asyncio.Task[int]:
        await apid()
        return asyncio.create_task(later())

    async def later() -> int:
        await released.wait()
        await asleep(0.01)
        return await apid()

    released = asyncio.Event()
    task = await as_request(view())
    assert seats().taken_count == 0
    released.set()
    await task
    assert seats().taken_count == 0


async def case_a_call_that_outlives_its_request() -> None:
    async def view() -> None:
        await apid()
        tasks.append(asyncio.create_task(asleep(0.05)))
        await asyncio.sleep(0)

    tasks: list[asyncio.Task[None]] = []
    await as_request(view())
    assert seats().taken_count == 1
    await tasks[0]
    assert seats().taken_count == 0


async def case_observers_of_one_request_are_not_there_in_the_next() -> None:
    seen = []

    def observe(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        seen.append(sql)
        return execute(sql, params, many, context)

    async def view() -> None:
        await sync_to_async(database_only(lambda: connection.execute_wrappers.append(observe)))()
        await apid()

    with override_settings(FULLDUPLEX={**settings.FULLDUPLEX, "CONNECTIONS_MAX_COUNT": 1}):
        await as_request(view())
        assert len(seen) == 1
        await as_request(apid())
    assert len(seen) == 1


async def case_what_a_request_without_its_hooks_has_left_is_gone() -> None:
    """Whatever would have undone it was skipped."""

    @database_only
    def leave() -> int:
        connection.tenant = "mine"  # type: ignore[attr-defined]
        return int(fetch("SELECT pg_backend_pid()"))

    async def spoiled() -> int:
        lease = enter_lease()
        assert lease is not None
        found = await sync_to_async(leave)()
        lease.spoil(True)
        lease.end()
        return found

    async def view() -> Any:
        tenant = await sync_to_async(database_only(lambda: getattr(connection, "tenant", None)))()
        return tenant, await apid()

    before = await asyncio.create_task(spoiled())
    tenant, after = await as_request(view())
    assert tenant is None
    assert after != before


async def case_a_loop_that_ends_closes_its_connections() -> None:
    def other_loop() -> None:
        asyncio.run(as_request(apid()))
        assert not connections.all(initialized_only=True)

    before = await watch("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'project'")
    await asyncio.to_thread(other_loop)
    await wait_until(f"SELECT count(*) <= {before} FROM pg_stat_activity WHERE application_name = 'project'")

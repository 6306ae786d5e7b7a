"""One request, one connection: with a thread, without one, and on the way from the one to the other."""

from __future__ import annotations

import asyncio
import threading
import unittest
from typing import Any

from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings
from django.db import connection, connections, transaction
from django.db.models.signals import post_save
from django.test import TestCase, override_settings

from fullduplex import arelease_thread
from fullduplex.db import database_only
from fullduplex.db.transactions import aatomic
from fullduplex.exceptions import ConnectionsExhausted
from fullduplex.threads.context import enter_lease, entered_lease
from tests.db.cases import apid, as_request, asleep, fetch, seats, thread_pid
from tests.db.project.models import Author


def where() -> tuple[int, bool]:
    return thread_pid(), threading.current_thread() is threading.main_thread()


async def case_a_thread_takes_the_connection_along() -> None:
    async def view() -> None:
        first = await apid()
        connection_of_thread = await sync_to_async(where)()
        assert connection_of_thread == (first, False)
        while seats().taken_count:  # the loop hears of it soon
            await asyncio.sleep(0.01)
        assert await sync_to_async(database_only(lambda: where()))() == (first, False)  # and stays there
        assert await Author.objects.filter(name="nobody").acount() == 0

    await asyncio.gather(*(as_request(view()) for _ in range(10)))


async def case_a_request_that_has_a_thread_uses_it() -> None:
    async def view() -> None:
        await sync_to_async(fetch)("SELECT set_config('app.tenant', 'mine', false)")
        tenant = sync_to_async(database_only(lambda: fetch("SELECT current_setting('app.tenant')")))
        assert await tenant() == "mine"
        assert seats().taken_count == 0

    await as_request(view())


async def case_a_thread_in_the_middle_of_a_transaction() -> None:
    async def view() -> None:
        async with aatomic():
            await Author.objects.acreate(name="moved")
            assert await sync_to_async(Author.objects.filter(name="moved").count)() == 1
            assert await Author.objects.filter(name="moved").acount() == 1
            await Author.objects.filter(name="moved").adelete()

    await as_request(view())


async def case_calls_for_the_thread_wait_for_the_loop() -> None:
    """Two tasks of one request: sync code of one does not run while the other's is on the way."""
    order = []

    async def view() -> None:
        @database_only
        def slow() -> None:
            fetch("SELECT true FROM pg_sleep(0.1)")
            order.append("loop")

        def in_thread() -> int:
            order.append("thread")
            return thread_pid()

        first = await apid()
        one = asyncio.create_task(sync_to_async(slow)())
        lease = entered_lease()
        assert lease is not None
        assert lease.session is not None
        while not lease.session.is_busy:
            await asyncio.sleep(0)
        two = asyncio.create_task(sync_to_async(in_thread)())
        three = asyncio.create_task(apid())
        await one
        assert await two == await three == first

    await as_request(view())
    assert order == ["loop", "thread"]


async def case_a_thread_inside_a_save() -> None:
    """A receiver waits for async code, which waits for a thread: all in one transaction."""
    found = []

    def receiver(instance: Author, **named: Any) -> None:
        async def count() -> int:
            within = await Author.objects.filter(pk=instance.pk).acount()
            return within + await sync_to_async(Author.objects.filter(pk=instance.pk).count)()

        found.append(async_to_sync(count)())

    @database_only
    def save() -> int:
        with transaction.atomic():
            author = Author.objects.create(name="inside")
            author.delete()
        return thread_pid()

    async def view() -> None:
        before = await apid()
        assert await sync_to_async(save)() == before
        assert await apid() == before

    post_save.connect(receiver, sender=Author)
    try:
        await as_request(view())
    finally:
        post_save.disconnect(receiver, sender=Author)
    assert found == [2]


async def case_connections_are_bounded_and_waited_for_in_order() -> None:
    counts = []
    begun = []

    async def view(number: int) -> None:
        await sync_to_async(database_only(lambda: begun.append(number)))()
        counts.append(seats().taken_count)
        await asleep(0.02)

    limits = {**settings.FULLDUPLEX, "CONNECTIONS_MAX_COUNT": 3}
    with override_settings(FULLDUPLEX=limits):
        await asyncio.gather(*(as_request(view(number)) for number in range(12)))
    assert max(counts) == 3
    assert begun == list(range(12))
    assert seats().waits.count >= 9


async def case_who_waits_too_long_is_told_so() -> None:
    with override_settings(FULLDUPLEX={**settings.FULLDUPLEX, "CONNECTIONS_MAX_COUNT": 1, "THREADS_WAIT_S": 0.05}):
        slow = asyncio.create_task(as_request(asleep(0.3)))
        await asyncio.sleep(0)
        try:
            await as_request(apid())
        except ConnectionsExhausted:
            await slow
            return
    raise AssertionError


async def case_a_connection_can_be_given_up() -> None:
    async def view() -> None:
        await apid()
        assert seats().taken_count == 1
        await arelease_thread()
        assert seats().taken_count == 0
        async with aatomic():
            try:
                await arelease_thread()
            except transaction.TransactionManagementError:
                return
        raise AssertionError

    await as_request(view())


async def case_sockets_keep_a_connection_only_while_something_is_open() -> None:
    async def socket() -> None:
        lease = enter_lease(tracks=True)
        assert lease is not None
        await apid()
        assert seats().taken_count == 1
        lease.loosen()
        assert seats().taken_count == 0
        await apid()
        assert seats().taken_count == 0
        async with aatomic():
            assert await apid() == await apid()
            assert seats().taken_count == 1
        rows = Author.objects.order_by("pk").aiterator(chunk_size=1)
        await anext(rows)
        await anext(rows)
        assert seats().taken_count == 1
        await rows.aclose()
        lease.end()

    await Author.objects.abulk_create([Author(name="row"), Author(name="row"), Author(name="row")])
    await asyncio.create_task(socket())


async def case_sockets_see_nothing_of_requests() -> None:
    async def view() -> None:
        await sync_to_async(database_only(lambda: fetch("SELECT set_config('app.tenant', 'mine', false)")))()

    async def task() -> str:
        tenant = sync_to_async(database_only(lambda: fetch("SELECT current_setting('app.tenant', true)")))
        return str(await tenant())

    async def socket() -> str:
        lease = enter_lease(is_bound=False)
        assert lease is not None
        try:
            return await task()
        finally:
            lease.end()

    for _ in range(5):
        await as_request(view())
        assert await asyncio.create_task(socket()) in ("", "None")


async def case_tests_in_transactions_use_the_connection_of_the_test() -> None:
    class InTransaction(TestCase):
        async def test(self) -> None:
            await Author.objects.acreate(name="test")
            assert await Author.objects.filter(name="test").acount() == 1

    def run() -> None:
        InTransaction("test")(result)
        connections.close_all()

    result = unittest.TestResult()
    await asyncio.to_thread(run)
    assert result.testsRun == 1
    assert result.wasSuccessful(), result.errors
    assert not await Author.objects.filter(name="test").aexists()


async def case_attributes_of_the_connection_go_along() -> None:
    async def view() -> None:
        @database_only
        def note() -> None:
            connection.tenant = "mine"  # type: ignore[attr-defined]

        await sync_to_async(note)()
        assert await sync_to_async(database_only(lambda: connection.tenant))() == "mine"  # type: ignore[attr-defined]
        assert await sync_to_async(lambda: connection.tenant)() == "mine"  # type: ignore[attr-defined]

    await as_request(view())

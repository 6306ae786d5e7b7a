"""Django's ORM as it is, without a thread."""

from __future__ import annotations

import asyncio
from typing import Any

from asgiref.sync import async_to_sync, sync_to_async
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connection, transaction
from django.db.models import Prefetch
from django.db.models.signals import post_save
from django.template import Context, Template

from fullduplex.db import database_only
from fullduplex.db.calls import adapt
from fullduplex.db.transactions import aatomic
from tests.db.cases import apid, as_request
from tests.db.project.models import Author, Book


async def case_managers_and_save_are_the_projects() -> None:
    async def view() -> None:
        author = await Author.objects.acreate(name="Ada")
        await author.books.acreate(title=" One ")
        await Book(author=author, title=" Two ", hidden=True).asave()
        assert [book.title async for book in Book.objects.filter(author=author)] == ["One"]
        assert [book.title async for book in Book.everything.filter(author=author).order_by("pk")] == ["One", "Two"]
        book = await Book.objects.aget(author=author)
        await book.readers.aadd(author)
        assert await author.read.acount() == 1
        found = await Author.objects.prefetch_related("books", Prefetch("read", to_attr="all")).aget(pk=author.pk)
        assert [book.title for book in found.books.all()] == ["One"]
        assert found.all == [book]
        await book.arefresh_from_db()
        await author.adelete()

    await as_request(view())


async def case_signals_are_sent() -> None:
    heard = []

    def receiver(sender: Any, instance: Author, **named: Any) -> None:
        heard.append(("sync", Author.objects.filter(pk=instance.pk).count()))
        async_to_sync(asyncio.sleep)(0)

    async def areceiver(sender: Any, instance: Author, **named: Any) -> None:
        heard.append(("async", await Author.objects.filter(pk=instance.pk).acount()))

    post_save.connect(receiver, sender=Author)
    post_save.connect(areceiver, sender=Author)
    try:
        await as_request(Author.objects.acreate(name="Ada"))
    finally:
        post_save.disconnect(receiver, sender=Author)
        post_save.disconnect(areceiver, sender=Author)
    assert heard == [("sync", 1), ("async", 1)]


async def case_what_waits_is_outside_of_the_loop() -> None:
    @database_only
    def sleep() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(0.2)")

    async def count() -> int:
        turns = 0
        while not sleeping.done():
            turns += 1
            await asyncio.sleep(0)
        return turns

    sleeping = asyncio.create_task(as_request(sync_to_async(sleep)()))
    assert await count() > 20


async def case_sync_code_on_the_loop_is_refused() -> None:
    async def view() -> None:
        for call in (Author.objects.first, connection.cursor, transaction.atomic().__enter__, connection.close):
            try:
                call()
            except SynchronousOnlyOperation:
                continue
            raise AssertionError(call)

    await as_request(view())


async def case_templates_follow_relations_in_marked_code() -> None:
    async def view() -> None:
        author = await Author.objects.acreate(name="Ada")
        await author.books.acreate(title="One")
        book = await Book.objects.filter(author=author).afirst()
        template = Template(
            "{{ book.author.name }}{% for other in book.author.books.all %} {{ other.title }}{% endfor %}"
        )
        render = sync_to_async(database_only(lambda: template.render(Context({"book": book}))))
        assert await render() == "Ada One"

    await as_request(view())


async def case_transactions_in_marked_code() -> None:
    @database_only
    def fail() -> None:
        with transaction.atomic():
            author = Author.objects.create(name="transaction")
            with transaction.atomic():
                Author.objects.select_for_update().get(pk=author.pk)
            raise ZeroDivisionError

    async def view() -> None:
        try:
            await sync_to_async(fail)()
        except ZeroDivisionError:
            pass
        assert not await Author.objects.filter(name="transaction").aexists()

    await as_request(view())


async def case_transactions_across_awaits() -> None:
    async def view() -> None:
        async def sibling() -> int:
            return await Author.objects.filter(name="across").acount()

        async with aatomic():
            await Author.objects.acreate(name="across")
            other = asyncio.create_task(sibling())  # started inside: part of it
            assert await other == 1
            try:
                async with aatomic():
                    await Author.objects.acreate(name="across")
                    raise ZeroDivisionError
            except ZeroDivisionError:
                pass
            assert await Author.objects.filter(name="across").acount() == 1
        try:
            async with aatomic():
                await Author.objects.filter(name="across").adelete()
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        assert await Author.objects.filter(name="across").acount() == 1
        await Author.objects.filter(name="across").adelete()

    await as_request(view())
    await view()  # outside of any request


async def case_other_tasks_wait_for_a_transaction() -> None:
    async def view() -> None:
        begun = asyncio.Event()

        async def sibling() -> int:
            await begun.wait()
            return await Author.objects.filter(name="others").acount()

        other = asyncio.create_task(sibling())
        async with aatomic():
            await Author.objects.acreate(name="others")
            begun.set()
            for _ in range(10):
                await asyncio.sleep(0)
            assert not other.done()
            await Author.objects.filter(name="others").aupdate(name="no others")
        assert await other == 0

    await as_request(view())


async def case_fields_may_have_any_name() -> None:
    def names(self: int, *, owner: int, function: int, args: int) -> int:
        return self + owner + function + args

    assert await as_request(adapt(names)(1, owner=2, function=3, args=4)) == 10


async def case_tasks_of_a_request_share_its_connection() -> None:
    async def view() -> set[int]:
        return set(await asyncio.gather(*(apid() for _ in range(20))))

    assert len(await as_request(view())) == 1


async def case_requests_at_once_have_connections_of_their_own() -> None:
    barrier = asyncio.Barrier(10)

    async def view() -> set[int]:
        found = {await apid()}
        for _ in range(3):
            await barrier.wait()
            found.add(await apid())
        return found

    answers = await asyncio.gather(*(as_request(view()) for _ in range(10)))
    assert all(len(answer) == 1 for answer in answers)
    assert len(set.union(*answers)) == 10


async def case_rows_come_in_chunks() -> None:
    await Author.objects.filter(name="chunk").adelete()
    await Author.objects.abulk_create(Author(name="chunk") for _ in range(30))

    async def view() -> int:
        seen = 0
        async for _ in Author.objects.filter(name="chunk").aiterator(chunk_size=7):
            seen += 1
            if seen == 10:
                await barrier.wait()
        return seen

    barrier = asyncio.Barrier(8)
    requests = [as_request(view()) for _ in range(4)]
    assert await asyncio.gather(*requests, *(asyncio.create_task(view()) for _ in range(4))) == [30] * 8

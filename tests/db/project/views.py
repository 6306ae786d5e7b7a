"""Views that use the async ORM in every way."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator

from asgiref.sync import sync_to_async
from django.db import Error, connection, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse

from fullduplex import WebSocket, websocket
from fullduplex.db import database_only
from fullduplex.db.seats import seats_of
from fullduplex.db.transactions import aatomic
from fullduplex.db.turns import Turn
from tests.db.project.models import Author, Book


async def one(request: HttpRequest) -> HttpResponse:
    author = await Author.objects.aget(name="Ada")
    return HttpResponse(author.name)


async def listed(request: HttpRequest) -> HttpResponse:
    authors = Author.objects.filter(name="Ada").prefetch_related("books")
    return HttpResponse(str([book.title async for author in authors for book in author.books.all()]))


@database_only
def move(seconds: float) -> None:
    with transaction.atomic():
        author = Author.objects.select_for_update(skip_locked=True).filter(name="Ada").first()
        Book.everything.create(author_id=author.pk if author else 1, title="moved", hidden=True)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(%s)", [seconds])
        Book.everything.filter(title="moved").delete()


async def transact(request: HttpRequest) -> HttpResponse:
    await sync_to_async(move)(float(request.GET.get("seconds", 0)))
    return HttpResponse("moved")


async def across(request: HttpRequest) -> HttpResponse:
    async with aatomic():
        author = await Author.objects.acreate(name="across")
        await asyncio.sleep(float(request.GET.get("seconds", 0)))
        await author.adelete()
    return HttpResponse("across")


async def thread(request: HttpRequest) -> HttpResponse:
    """Without a thread first, and then with one."""
    first = await Author.objects.aget(name="Ada")
    second = await sync_to_async(Author.objects.get)(name="Ada")
    return HttpResponse(str(first == second))


async def rows(request: HttpRequest) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[str]:
        async for author in Author.objects.order_by("pk").aiterator(chunk_size=1):
            yield author.name
            await asyncio.sleep(0.01)

    return StreamingHttpResponse(parts())


async def sleep(request: HttpRequest) -> HttpResponse:
    @database_only
    def wait() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(%s)", [float(request.GET.get("seconds", 0.05))])

    await asyncio.gather(Author.objects.filter(name="Ada").acount(), sync_to_async(wait)())
    return HttpResponse("slept")


@websocket
async def socket(socket: WebSocket) -> None:
    async for message in socket:
        try:
            await socket.send((await Author.objects.aget(name=message)).name)
        except Error as error:
            await socket.send(type(error).__name__)


async def state(request: HttpRequest) -> JsonResponse:
    """What there is in this process."""
    gc.collect()
    seats = seats_of(asyncio.get_running_loop())
    return JsonResponse(
        {
            "taken": seats.taken_count,
            "idle": seats.idle_count,
            "waiting": seats.waiting_count,
            "turns": sum(isinstance(each, Turn) for each in gc.get_objects()),
            "tasks": len(asyncio.all_tasks()),
            "threads": threading.active_count(),
        }
    )

"""Views that use the database in every way."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

from asgiref.sync import sync_to_async
from django.db import Error, connections
from django.db.models import TextField
from django.db.models.expressions import RawSQL
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse

from fullduplex import WebSocket, thread_stats, websocket
from tests.postgresql.site.models import Document, Number
from tests.postgresql.site.session import fetch
from tests.postgresql.site.steps import STEP_COUNT, meet

CHUNK_COUNT = 10  # rows
PART_COUNT = 50  # rows
EVENT_TIMEOUT_S = 30.0

counts: Counter[str] = Counter()
opened = asyncio.Event()
inner_meeting = asyncio.Barrier(4)


# State of a session of the database ------------------------------------------------------------


def role_step(request: HttpRequest, step: int) -> dict[str, Any]:
    return {"user": fetch("SELECT current_user FROM pg_sleep(0.002)"), "pid": fetch("SELECT pg_backend_pid()")}


async def role_orm(request: HttpRequest) -> HttpResponse:
    answers = []
    for step in range(STEP_COUNT):
        numbers = Number.objects.annotate(
            user=RawSQL("current_user", (), TextField()), pid=RawSQL("pg_backend_pid()", ())
        )
        number = await numbers.aget(number=step + 1)
        answers.append({"user": number.user, "pid": number.pid})
        await meet(request, step)
    return HttpResponse("\n".join(map(json.dumps, answers)))


def tenant_step(request: HttpRequest, step: int) -> dict[str, Any]:
    return {"tenants": list(Document.objects.values_list("tenant", flat=True))}


async def tenant_orm(request: HttpRequest) -> HttpResponse:
    answers = []
    for step in range(STEP_COUNT):
        answers.append({"tenants": [document.tenant async for document in Document.objects.all()]})
        await meet(request, step)
    return HttpResponse("\n".join(map(json.dumps, answers)))


def lock_step(request: HttpRequest, step: int) -> dict[str, Any]:
    """Lock first, unlock last. PostgreSQL says false where another session holds the lock."""
    key = int(request.GET["key"])
    if step == 0:
        fetch("SELECT true FROM (SELECT pg_advisory_lock(%s)) AS locked", key)
        return {"done": True}
    if step == STEP_COUNT - 1:
        return {"done": fetch("SELECT pg_advisory_unlock(%s)", key)}
    return {"done": fetch("SELECT count(*) = 1 FROM pg_locks WHERE pid = pg_backend_pid() AND objid = %s", key)}


# Cursors -----------------------------------------------------------------------------------------


def numbers_stream(request: HttpRequest) -> StreamingHttpResponse:
    def parts() -> Iterator[str]:
        rows = Number.objects.order_by("number").iterator(chunk_size=PART_COUNT)
        while part := list(itertools.islice(rows, PART_COUNT)):
            yield "".join(f"{row.number} {row.text}\n" for row in part)

    return StreamingHttpResponse(parts())


async def numbers_astream(request: HttpRequest) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[str]:
        part = []
        async for row in Number.objects.order_by("number").aiterator(chunk_size=PART_COUNT):
            part.append(f"{row.number} {row.text}\n")
            if len(part) == PART_COUNT:
                yield "".join(part)
                part = []

    return StreamingHttpResponse(parts())


@websocket
async def numbers_socket(socket: WebSocket) -> None:
    """Rows in chunks; the next one is for whoever says that it has the last."""
    await socket.accept()
    async for row in Number.objects.filter(number__lte=100).order_by("number").aiterator(chunk_size=CHUNK_COUNT):
        await socket.send(str(row.number))
        if row.number % CHUNK_COUNT == 0:
            await socket.receive()


# Queries -----------------------------------------------------------------------------------------


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse(Number.objects.get(number=int(request.GET.get("number", 1))).number)


@websocket
async def query_socket(socket: WebSocket) -> None:
    """Each message is a number to look up, or ``orm`` and a number; the answer is the number, or ``error``."""
    async for message in socket:
        assert isinstance(message, str)
        try:
            if message.startswith("orm "):
                number = (await Number.objects.aget(number=int(message[4:]))).number
            else:
                number = await sync_to_async(fetch)("SELECT number FROM numbers WHERE number = %s", int(message))
        except Error:
            await socket.send("error")
        else:
            await socket.send(str(number))


@websocket
async def role_socket(socket: WebSocket) -> None:
    async for _ in socket:
        await socket.send(await sync_to_async(fetch)("SELECT current_user"))


# Waiting -----------------------------------------------------------------------------------------


async def wait_for_event() -> None:
    async with asyncio.timeout(EVENT_TIMEOUT_S):
        await opened.wait()


async def open_event(request: HttpRequest) -> HttpResponse:
    opened.set()
    return HttpResponse("open")


async def stats(request: HttpRequest) -> JsonResponse:
    pool = connections["default"].pool
    return JsonResponse(
        {
            **dataclasses.asdict(thread_stats()),
            "counts": counts,
            "pool": pool.get_stats() if pool is not None and not pool.closed else {},
        }
    )


async def hold_connection(request: HttpRequest) -> JsonResponse:
    before = await sync_to_async(fetch)("SELECT pg_backend_pid()")
    counts["holding"] += 1
    await wait_for_event()
    return JsonResponse({"before": before, "after": await sync_to_async(fetch)("SELECT pg_backend_pid()")})


async def hold_lock(request: HttpRequest) -> JsonResponse:
    await sync_to_async(lock)()
    await wait_for_event()
    return JsonResponse({"unlocked": await sync_to_async(unlock)()})


def want_lock(request: HttpRequest) -> JsonResponse:
    lock()
    return JsonResponse({"unlocked": unlock()})


def lock() -> None:
    fetch("SELECT true FROM (SELECT pg_advisory_lock(1)) AS locked")


def unlock() -> bool:
    return bool(fetch("SELECT pg_advisory_unlock(1)"))


# A request inside a request ----------------------------------------------------------------------


def where() -> dict[str, int]:
    return {"pid": fetch("SELECT pg_backend_pid()"), "thread": threading.get_ident()}


def inner(request: HttpRequest) -> JsonResponse:
    return JsonResponse(where())


async def outer(request: HttpRequest) -> JsonResponse:
    """Asks for another page of the site while as many others as there may be threads do the same."""
    from tests.postgresql.site.asgi import application  # which must be whole before its views are loaded

    mine = await sync_to_async(where)() if "first" in request.GET else None
    if "meet" in request.GET:
        async with asyncio.timeout(EVENT_TIMEOUT_S):
            await inner_meeting.wait()
    scope: dict[str, Any] = {
        **request.scope,
        "extensions": {},
        "path": "/inner/",
        "raw_path": b"/inner/",
        "query_string": b"",
    }
    sent: list[dict[str, Any]] = []
    received = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        if received:
            return received.pop()
        await asyncio.Event().wait()  # the client stays
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await application(scope, receive, send)
    content = b"".join(message.get("body", b"") for message in sent)
    after = await sync_to_async(threading.get_ident)()
    return JsonResponse({"status": sent[0]["status"], "inner": json.loads(content), "mine": mine, "after": after})


# Clients that leave ------------------------------------------------------------------------------


def endless(request: HttpRequest) -> StreamingHttpResponse:
    """A stream that its client reads too slowly."""

    def parts() -> Iterator[bytes]:
        try:
            while True:
                for row in Number.objects.iterator(chunk_size=PART_COUNT):
                    counts["parts"] += 1
                    yield row.text.encode() * 300
        finally:
            print("the stream is closed")

    return StreamingHttpResponse(parts())


def blocked(request: HttpRequest) -> StreamingHttpResponse:
    """A stream whose generator waits for a lock, in the database."""

    def parts() -> Iterator[str]:
        try:
            yield "first\n"
            lock()
            unlock()
            yield "second\n"
        finally:
            print("the blocked stream is closed")

    return StreamingHttpResponse(parts())


async def waiting(request: HttpRequest) -> StreamingHttpResponse:
    """A stream whose generator waits after a query."""

    async def parts() -> AsyncIterator[str]:
        try:
            yield f"{await sync_to_async(fetch)('SELECT 1')}\n"
            await asyncio.Event().wait()
        finally:
            print("the waiting stream is closed")

    return StreamingHttpResponse(parts())

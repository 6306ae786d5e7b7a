"""Views with one piece of database work each, by ``BENCH_ORM``: Django's ORM, django-async-backend's, or asyncpg."""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, User
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse

from fullduplex import WebSocket, websocket
from fullduplex.db import database_only

LIST_COUNT = 100
SLEEP_S = float(os.environ.get("BENCH_SLEEP_S", "0.05"))
_numbers = itertools.count()
_prefix = f"{os.getpid()}-"


def _name() -> str:
    return f"{_prefix}{next(_numbers)}"


# Django's ORM ------------------------------------------------------------------------------------


async def _one() -> str:
    return str((await User.objects.aget(pk=1)).username)


async def _list() -> list[str]:
    return [group.name async for group in Group.objects.filter(pk__lte=LIST_COUNT)]


async def _insert() -> None:
    await Group.objects.acreate(name=_name())


@sync_to_async
@database_only
def _transact() -> None:
    with transaction.atomic():
        group = Group.objects.select_for_update().get(pk=next(_numbers) % LIST_COUNT + 1)
        group.save(force_update=True)


@sync_to_async
@database_only
def _sleep() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", [SLEEP_S])


# django-async-backend ----------------------------------------------------------------------------


async def _one_backend() -> str:
    return str((await User.async_objects.aget(pk=1)).username)  # type: ignore[attr-defined]  # it patches models


async def _list_backend() -> list[str]:
    groups = Group.async_objects.filter(pk__lte=LIST_COUNT)  # type: ignore[attr-defined]  # it patches models
    return [group.name async for group in groups]


async def _insert_backend() -> None:
    await Group.async_objects.acreate(name=_name())  # type: ignore[attr-defined]  # it patches models


async def _transact_backend() -> None:
    from django_async_backend.db.transaction import async_atomic

    async with async_atomic():
        groups = Group.async_objects.select_for_update()  # type: ignore[attr-defined]  # it patches models
        group = await groups.aget(pk=next(_numbers) % LIST_COUNT + 1)
        await group.async_save(force_update=True)


async def _sleep_backend() -> None:
    from django_async_backend.db import async_connections

    async with await async_connections["default"].cursor() as cursor:
        await cursor.execute("SELECT pg_sleep(%s)", [SLEEP_S])


# asyncpg, by hand --------------------------------------------------------------------------------


class _Pool:
    """One for the process, made with the first query."""

    def __init__(self) -> None:
        self._made: asyncio.Future[Any] | None = None

    async def __call__(self) -> Any:
        if self._made is None:
            import asyncpg

            host = os.environ["BENCH_POSTGRES_HOST"]
            pool = asyncpg.create_pool(host=host, user="postgres", database="postgres", min_size=1, max_size=100)
            self._made = asyncio.ensure_future(pool)
        return await self._made


_pool = _Pool()


async def _one_asyncpg() -> str:
    return str(await (await _pool()).fetchval("SELECT username FROM auth_user WHERE id = $1", 1))


async def _list_asyncpg() -> list[str]:
    rows = await (await _pool()).fetch("SELECT id, name FROM auth_group WHERE id <= $1", LIST_COUNT)
    return [row["name"] for row in rows]


async def _insert_asyncpg() -> None:
    await (await _pool()).fetchval("INSERT INTO auth_group (name) VALUES ($1) RETURNING id", _name())


async def _transact_asyncpg() -> None:
    async with (await _pool()).acquire() as own, own.transaction():
        number = next(_numbers) % LIST_COUNT + 1
        row = await own.fetchrow("SELECT id, name FROM auth_group WHERE id = $1 FOR UPDATE", number)
        await own.execute("UPDATE auth_group SET name = $1 WHERE id = $2", row["name"], row["id"])


async def _sleep_asyncpg() -> None:
    await (await _pool()).fetchval("SELECT pg_sleep($1)", SLEEP_S)


# The views ---------------------------------------------------------------------------------------

_WORK: dict[str, dict[str, Callable[[], Awaitable[Any]]]] = {
    "django": {"one": _one, "list": _list, "insert": _insert, "transact": _transact, "sleep": _sleep},
    "async_backend": {
        "one": _one_backend,
        "list": _list_backend,
        "insert": _insert_backend,
        "transact": _transact_backend,
        "sleep": _sleep_backend,
    },
    "asyncpg": {
        "one": _one_asyncpg,
        "list": _list_asyncpg,
        "insert": _insert_asyncpg,
        "transact": _transact_asyncpg,
        "sleep": _sleep_asyncpg,
    },
}
_work = _WORK[os.environ.get("BENCH_ORM", "django")]


def _view(work: Callable[[], Awaitable[Any]], answer: Callable[[Any], Any]) -> Any:
    @functools.wraps(work)
    async def view(request: HttpRequest) -> HttpResponse:
        return JsonResponse(answer(await work()))

    return view


one = _view(_work["one"], lambda username: {"username": username})
listed = _view(_work["list"], lambda names: {"count": len(names)})
insert = _view(_work["insert"], lambda _: {"done": True})
transact = _view(_work["transact"], lambda _: {"done": True})
sleep = _view(_work["sleep"], lambda _: {"threads": threading.active_count()})


@websocket
async def socket(socket: WebSocket) -> None:
    """An echo that asks the database first."""
    async for message in socket:
        await _work["one"]()
        await socket.send(message)

"""Views of every kind. Each says who asks (``?who=``), waits until others are inside it too, and makes a query.

``?together=`` is how many wait for each other: what an observer keeps for one of them must not reach another.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import threading
from collections.abc import AsyncIterator, Iterator

from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.views import View
from django.views.decorators.csrf import csrf_exempt

MEETING_TIMEOUT_S = 20.0

observer = importlib.import_module(f"tests.observers.with_{settings.OBSERVER}")

_sync_meetings: dict[tuple[str, int], threading.Barrier] = {}
_async_meetings: dict[tuple[str, int], asyncio.Barrier] = {}
_lock = threading.Lock()


def meet(request: HttpRequest) -> str:
    """Wait for the others, as often as they are complete; return who asks."""
    who, count = request.GET["who"], int(request.GET["together"])
    observer.mark(who)
    if count > 1:
        with _lock:
            barrier = _sync_meetings.setdefault((route(request), count), threading.Barrier(count))
        barrier.wait(MEETING_TIMEOUT_S)
    return who


async def ameet(request: HttpRequest) -> str:
    who, count = request.GET["who"], int(request.GET["together"])
    observer.mark(who)
    if count > 1:
        barrier = _async_meetings.setdefault((route(request), count), asyncio.Barrier(count))
        async with asyncio.timeout(MEETING_TIMEOUT_S):
            await barrier.wait()
    return who


def route(request: HttpRequest) -> str:
    assert request.resolver_match is not None
    return request.resolver_match.route


def count(who: str) -> int:
    """Queries of which this many are made for ``who``, and which name it."""
    queries_count = 1 + int(who.removeprefix("user")) % 3
    return sum(User.objects.filter(username=who).count() for _ in range(queries_count))


async def acount(who: str) -> int:
    queries_count = 1 + int(who.removeprefix("user")) % 3
    return sum([await User.objects.filter(username=who).acount() for _ in range(queries_count)])


def sync_view(request: HttpRequest) -> HttpResponse:
    who = meet(request)
    return page(who, request.user.get_username(), count(who))


async def async_view(request: HttpRequest, name: str = "") -> HttpResponse:
    who = await ameet(request)
    user = await request.auser()
    return page(who, user.get_username(), await acount(who))


class AsyncView(View):
    async def get(self, request: HttpRequest) -> HttpResponse:
        return await async_view(request)


def template(request: HttpRequest) -> HttpResponse:
    who = meet(request)
    return TemplateResponse(request, "page.html", {"who": f"{who} {request.user.get_username()} {count(who)}"})


def sync_stream(request: HttpRequest) -> StreamingHttpResponse:
    who = meet(request)

    def parts() -> Iterator[str]:
        yield f"{who} "
        observer.mark(who)
        yield str(count(who))

    return StreamingHttpResponse(parts())


async def async_stream(request: HttpRequest) -> StreamingHttpResponse:
    who = await ameet(request)

    async def parts() -> AsyncIterator[str]:
        yield f"{who} "
        await ameet(request)
        yield str(await acount(who))

    return StreamingHttpResponse(parts())


async def broken_stream(request: HttpRequest) -> StreamingHttpResponse:
    who = await ameet(request)

    async def parts() -> AsyncIterator[str]:
        yield f"{who} "
        await ameet(request)
        raise ValueError(f"{who} meets a broken stream")

    return StreamingHttpResponse(parts())


def sync_error(request: HttpRequest) -> HttpResponse:
    who = meet(request)
    count(who)
    raise ValueError(f"{who} meets an error")


async def async_error(request: HttpRequest) -> HttpResponse:
    who = await ameet(request)
    await acount(who)
    raise ValueError(f"{who} meets an error")


class AsyncErrorView(View):
    async def get(self, request: HttpRequest) -> HttpResponse:
        return await async_error(request)


@csrf_exempt
def sync_post(request: HttpRequest) -> HttpResponse:
    who = meet(request)
    return page(who, request.POST["text"], count(who))


@csrf_exempt
async def async_post(request: HttpRequest) -> HttpResponse:
    who = await ameet(request)
    return page(who, json.loads(request.body)["text"], await acount(who))


@csrf_exempt
async def async_post_error(request: HttpRequest) -> HttpResponse:
    who = await ameet(request)
    raise ValueError(f"{who} meets an error with {json.loads(request.body)['text']}")


def page(who: str, name: str, count: int) -> HttpResponse:
    return HttpResponse(f"<html><body>{who} {name} {count}</body></html>")


def report(request: HttpRequest) -> JsonResponse:
    return JsonResponse(observer.report(), safe=False)

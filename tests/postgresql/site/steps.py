"""One piece of sync code, done in three steps by views of every kind; the answer is one line of JSON for each step."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import URLPattern, path

Step = Callable[[HttpRequest, int], dict[str, Any]]
STEP_COUNT = 3
MEETING_TIMEOUT_S = 30.0

_meetings: dict[str, asyncio.Barrier] = {}


async def meet(request: HttpRequest, step: int) -> None:
    """``?meet=``: wait until so many requests to this path are here, so that each of them is between two calls."""
    count = int(request.GET.get("meet", 1))
    meeting = _meetings.setdefault(f"{request.path} {step} {count}", asyncio.Barrier(count))
    async with asyncio.timeout(MEETING_TIMEOUT_S):
        await meeting.wait()


def step_views(name: str, step: Step) -> list[URLPattern]:
    """Views that do ``step`` for 0, 1 and 2: ``name/sync/``, ``name/async/``, ``name/stream/``, ``name/astream/``."""

    def line(request: HttpRequest, number: int) -> str:
        return json.dumps(step(request, number)) + "\n"

    def lines(request: HttpRequest) -> Iterator[str]:
        for number in range(STEP_COUNT):
            yield line(request, number)

    async def alines(request: HttpRequest) -> AsyncIterator[str]:
        for number in range(STEP_COUNT):
            yield await sync_to_async(line)(request, number)
            await meet(request, number)

    def page(request: HttpRequest) -> HttpResponse:
        return HttpResponse("".join(lines(request)))

    async def apage(request: HttpRequest) -> HttpResponse:
        return HttpResponse("".join([text async for text in alines(request)]))

    def stream(request: HttpRequest) -> StreamingHttpResponse:
        return StreamingHttpResponse(lines(request))

    async def astream(request: HttpRequest) -> StreamingHttpResponse:
        return StreamingHttpResponse(alines(request))

    views = {"sync": page, "async": apage, "stream": stream, "astream": astream}
    return [path(f"{name}/{kind}/", view) for kind, view in views.items()]

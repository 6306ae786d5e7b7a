"""Views of every kind. Each meets others of its kind half-way, and records pieces of its own that bear its name."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.http import HttpRequest, JsonResponse, StreamingHttpResponse
from django.urls import URLPattern, path
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import View

from tests import recipes
from tests.agents.agent import agent

if TYPE_CHECKING:
    from fullduplex import WebSocket

MEET_TIMEOUT_S = 20.0  # only ever reached where requests cannot be under way together

pairs = defaultdict[str, threading.Barrier](lambda: threading.Barrier(2, timeout=MEET_TIMEOUT_S))
parties: dict[tuple[str, int], asyncio.Barrier] = {}


class Failure(Exception):
    """What the views that fail raise."""


def meet(request: HttpRequest) -> None:
    """Wait for another one, in a thread."""
    if "Meet" in request.headers:
        pairs[kind_of(request)].wait()


async def ameet(request: HttpRequest) -> None:
    """Wait for all others, on the loop."""
    if count := int(request.headers.get("Meet", 0)):
        barrier = parties.setdefault((kind_of(request), count), asyncio.Barrier(count))
        async with asyncio.timeout(MEET_TIMEOUT_S):
            await barrier.wait()


def kind_of(request: HttpRequest) -> str:
    return request.path.split("/")[1]


def work(name: str) -> None:
    with agent.span(f"work of {name}"):
        pass


def sync_view(request: HttpRequest, name: str) -> JsonResponse:
    with agent.span(f"all of {name}"):
        meet(request)
        work(name)
    return JsonResponse({"name": name})


async def async_view(request: HttpRequest, name: str) -> JsonResponse:
    with agent.span(f"all of {name}"):
        await ameet(request)
        await sync_to_async(work)(name)
    return JsonResponse({"name": name})


class ClassView(View):
    async def get(self, request: HttpRequest, name: str) -> JsonResponse:
        return await async_view(request, name)


async def stream(request: HttpRequest, name: str) -> StreamingHttpResponse:
    async def pieces() -> AsyncIterator[str]:
        yield name
        await ameet(request)
        yield name

    return StreamingHttpResponse(pieces())


def failing(request: HttpRequest, name: str) -> JsonResponse:
    meet(request)
    raise Failure(name)


async def async_failing(request: HttpRequest, name: str) -> JsonResponse:
    await ameet(request)
    work(name)
    raise Failure(name)


@csrf_exempt
def post(request: HttpRequest, name: str) -> JsonResponse:
    posted = request.POST["name"]
    meet(request)
    work(posted)
    return JsonResponse({"name": name})


urlpatterns: list[URLPattern] = [
    path("sync/<str:name>/", sync_view),
    path("async/<str:name>/", async_view, name="asynchronous"),
    path("class/<str:name>/", ClassView.as_view()),
    path("stream/<str:name>/", stream),
    path("failing/<str:name>/", failing),
    path("async-failing/<str:name>/", async_failing),
    path("post/<str:name>/", post),
    path("moved/<str:name>/", sync_view),  # asked for without the slash
]


def socket_patterns() -> list[Any]:
    from fullduplex import websocket

    @websocket
    async def socket(ws: WebSocket, name: str) -> None:
        await ws.accept()
        await ameet(ws.request)
        with agent.span(f"all of {name}"):
            await sync_to_async(work)(name)
        await ws.send(await ws.receive_text())

    @websocket
    async def socket_failing(ws: WebSocket, name: str) -> None:
        await ws.accept()
        await ameet(ws.request)
        await ws.receive_text()
        raise Failure(name)

    return [path("socket/<str:name>/", socket), path("socket-failing/<str:name>/", socket_failing)]


def patterns_of_recipe(titles: str) -> list[Any]:
    """The views of the document, and the same without what they are an example of."""
    modules = recipes.install(titles, "mysite/views.py")
    bare = recipes.install(titles, "mysite/views.py")
    for module in bare:
        module.zeal_context = nullcontext  # type: ignore[attr-defined]
    return [
        *(path("names/", module.names) for module in modules),
        *(path("names-of-one-request/", module.names) for module in bare),
    ]


if os.environ["HANDLER"] == "fullduplex":
    urlpatterns += socket_patterns()
    if "RECIPE" in os.environ:
        urlpatterns += patterns_of_recipe(os.environ["RECIPE"])

"""Views of every kind. Each writes notes for the client ``?me=`` and answers with the names that are under them.

``?after=`` is the name that a package knows when its middleware has returned, while the content is streamed.
``?steps=`` is the number of notes that are written one after another.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Iterator

from asgiref.sync import sync_to_async
from django.apps import apps
from django.conf import settings
from django.http import HttpRequest, JsonResponse, StreamingHttpResponse
from django.urls import path

from tests.packages.notes import BaseNote

QUERY_S = 0.002  # as long as a query takes: long enough for others to come between

Note = apps.get_model(settings.NOTES, "Note")


def step(owner: str, create: Callable[..., BaseNote] = Note.objects.create) -> str:
    """Write a note, and read the name under it."""
    time.sleep(QUERY_S)
    return create(owner=owner).signature


def sync_view(request: HttpRequest) -> JsonResponse:
    return JsonResponse([step(request.GET["me"])], safe=False)


async def async_view(request: HttpRequest) -> JsonResponse:
    names = [await sync_to_async(step)(request.GET["me"]) for _ in steps(request)]
    for _ in steps(request):
        note = await Note.objects.acreate(owner=request.GET["me"])
        names.append(await sync_to_async(lambda note=note: note.signature)())
    return JsonResponse(names, safe=False)


def sync_stream(request: HttpRequest) -> StreamingHttpResponse:
    def lines() -> Iterator[str]:
        yield line(step(request.GET["after"]))
        with Note.in_the_name_of(request) as create:
            for _ in steps(request):
                yield line(step(request.GET["me"], create))

    return StreamingHttpResponse(lines())


async def async_stream(request: HttpRequest) -> StreamingHttpResponse:
    def credited_step() -> str:
        with Note.in_the_name_of(request) as create:
            return step(request.GET["me"], create)

    async def lines() -> AsyncIterator[str]:
        yield line(await sync_to_async(step)(request.GET["after"]))
        for _ in steps(request):
            yield line(await sync_to_async(credited_step)())

    return StreamingHttpResponse(lines())


def steps(request: HttpRequest) -> range:
    return range(int(request.GET["steps"]))


def line(name: str) -> str:
    return json.dumps(name) + "\n"


def report(request: HttpRequest) -> JsonResponse:
    return JsonResponse(Note.signed(), safe=False)


urlpatterns = [
    path("sync/", sync_view),
    path("async/", async_view),
    path("sync-stream/", sync_stream),
    path("async-stream/", async_stream),
    path("report/", report),
]

"""Views that wait for something outside or work for a while, sync and async: an API, a file, a cache, a session."""

from __future__ import annotations

import asyncio
import functools
import os
import time

import httpx
from django.core.cache import cache
from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse

from bench.environment import STATE_DIR

FILE = STATE_DIR / "file.bin"  # made by bench/scenarios/django_waiting.py
WAIT_S = 0.05
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=None)


# One client per process, as httpx advises: connections to the API are kept.


@functools.cache
def _client() -> httpx.Client:
    return httpx.Client(base_url=os.environ["BENCH_API_URL"], limits=_LIMITS)


@functools.cache
def _async_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=os.environ["BENCH_API_URL"], limits=_LIMITS)


def api(request: HttpRequest) -> HttpResponse:
    return HttpResponse(_client().get("/").content, content_type="application/json")


async def api_async(request: HttpRequest) -> HttpResponse:
    return HttpResponse((await _async_client().get("/")).content, content_type="application/json")


def read(request: HttpRequest) -> HttpResponse:
    return HttpResponse(FILE.read_bytes(), content_type="application/octet-stream")


async def read_async(request: HttpRequest) -> HttpResponse:
    content = await asyncio.to_thread(FILE.read_bytes)
    return HttpResponse(content, content_type="application/octet-stream")


def file_response(request: HttpRequest) -> FileResponse:
    return FileResponse(FILE.open("rb"))


def cached(request: HttpRequest) -> HttpResponse:
    cache.set("bench", "x" * 100)
    return JsonResponse({"user": request.session.get("_auth_user_id"), "cached": len(cache.get("bench"))})


async def cached_async(request: HttpRequest) -> HttpResponse:
    await cache.aset("bench", "x" * 100)
    user = await request.session.aget("_auth_user_id")
    return JsonResponse({"user": user, "cached": len(await cache.aget("bench"))})


def _work() -> HttpResponse:
    """Pure Python, about half a millisecond."""
    return JsonResponse({"sum": sum(number * number % 7 for number in range(10_000))})


def cpu(request: HttpRequest) -> HttpResponse:
    return _work()


async def cpu_async(request: HttpRequest) -> HttpResponse:
    return _work()


def wait(request: HttpRequest) -> HttpResponse:
    time.sleep(WAIT_S)
    return HttpResponse(b"Hello, world!", content_type="text/plain")

"""Django views that wait for something outside: an API, a file, a cache and a session; and WSGI beside ASGI."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from bench import backends, peers
from bench.django_project.seed import SESSION_KEY
from bench.environment import STATE_DIR
from bench.load.http import Request
from bench.scenario import Scenario
from bench.scenarios import django_project
from bench.scenarios.django_http import DjangoHTTP
from bench.server import Peer, Server

FILE_BYTES = 256 * 1024
MANY_THREADS = 64


class API(DjangoHTTP):
    name = "django-api-sync"
    title = "Django, sync view that calls an external API"
    about = "One GET by httpx.Client to a server that answers after 50 ms; 32 connections."
    request = Request("/api/")
    expected = backends.API_ANSWER

    def prepare(self) -> None:
        super().prepare()
        backends.start_api()


class APIAsync(API):
    name = "django-api-async"
    title = "Django, async view that calls an external API"
    about = (
        "One GET by httpx.AsyncClient to a server that answers after 50 ms; 32 connections. No WSGI: it has no loop."
    )
    request = Request("/api-async/")

    def peers(self) -> list[Peer]:
        return [peer for peer in super().peers() if "WSGI" not in peer.name]


class File(DjangoHTTP):
    name = "django-file-sync"
    title = "Django, sync view that reads a file"
    about = "256 KiB by Path.read_bytes(), answered in one piece."
    request = Request("/file/")
    expected = bytes(range(256)) * (FILE_BYTES // 256)

    def prepare(self) -> None:
        super().prepare()
        (STATE_DIR / "file.bin").write_bytes(self.expected)


class FileAsync(File):
    name = "django-file-async"
    title = "Django, async view that reads a file"
    about = "256 KiB by Path.read_bytes() in asyncio.to_thread, answered in one piece."
    request = Request("/file-async/")


class FileResponse(File):
    name = "django-file-response"
    title = "Django, FileResponse"
    about = "256 KiB, from a sync view."
    request = Request("/file-response/")


class Cache(DjangoHTTP):
    name = "django-cache-sync"
    title = "Django, sync view with cache and session"
    about = "cache.set and cache.get of the default cache, and the session's user: one query of SQLite."
    request = Request("/cache/", headers={"Cookie": f"sessionid={SESSION_KEY}"})
    expected = b'{"user": "1", "cached": 100}'


class CacheAsync(Cache):
    name = "django-cache-async"
    title = "Django, async view with cache and session"
    about = "cache.aset, cache.aget and session.aget: the same by the async API."
    request = Request("/cache-async/", headers={"Cookie": f"sessionid={SESSION_KEY}"})


class WSGIOrASGI(DjangoHTTP):
    """Does moving from WSGI to ASGI make it faster? The same work in a sync view and in an async one."""

    sync_path: ClassVar[str]
    async_path: ClassVar[str]

    def peers(self) -> list[Peer]:
        return [
            replace(peers.fullduplex(django_project.OURS), name="fullduplex, async view"),
            peers.fullduplex(django_project.OURS, "fullduplex, sync view"),
            peers.gunicorn_threads(django_project.WSGI),
            peers.gunicorn_threads(
                django_project.WSGI, f"gunicorn gthread (WSGI), {MANY_THREADS} threads", threads=MANY_THREADS
            ),
        ]

    def request_for(self, server: Server) -> Request:
        return Request(self.async_path if server.name.endswith("async view") else self.sync_path)


class CPUBound(WSGIOrASGI):
    name = "wsgi-or-asgi-cpu"
    title = "From WSGI to ASGI: a view that computes"
    about = "About half a millisecond of pure Python, 32 connections."
    sync_path, async_path = "/cpu/", "/cpu-async/"


class IOBound(WSGIOrASGI):
    name = "wsgi-or-asgi-io"
    title = "From WSGI to ASGI: a view that waits"
    about = "time.sleep(0.05) or asyncio.sleep(0.05), 256 connections."
    sync_path, async_path = "/wait/", "/sleep/"
    connections = 256


DJANGO_WAITING: list[type[Scenario]] = [
    API,
    APIAsync,
    File,
    FileAsync,
    FileResponse,
    Cache,
    CacheAsync,
    CPUBound,
    IOBound,
]

"""HTTP/2, with prior knowledge and without TLS: the servers alone, and Django on them."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import uvloop

from bench import peers
from bench.load import h2load
from bench.load.idle_http2 import IdleConnections
from bench.scenario import Column, Failed, Measurement, Scenario, cpu_columns
from bench.scenarios import django_project
from bench.server import Peer, Server

WARM_UP_S = 1.0
RUN_COUNT = 30_000  # of one h2load over 8 connections: zttp ends a connection after 4,096 requests


class HTTP2Scenario(Scenario):
    """The same request over and over.

    Attributes:
        app: what is served.
        path: what is asked for.
        size_bytes: of the content of an answer.
        upload_bytes: of the content of a request.
        streams: requests at once on each of 8 connections.
        first_count: requests by which the pace of a server is found.
    """

    columns: ClassVar[Sequence[Column]] = (Column("per_s", "requests/s"), *cpu_columns("request"))
    app: ClassVar[str] = "bench.apps.plain:hello"
    path: ClassVar[str] = "/"
    size_bytes: ClassVar[int] = 13
    upload_bytes: ClassVar[int] = 0
    streams: ClassVar[int] = 32
    first_count: ClassVar[int] = 500

    def peers(self) -> list[Peer]:
        return [
            peers.fullduplex(self.app),
            peers.granian(self.app),
            peers.uvicorn_http2(self.app),
            peers.hypercorn(self.app),
        ]

    def measure(self, server: Server, seconds: float) -> Measurement:
        with tempfile.NamedTemporaryFile() as content:
            content.write(bytes(self.upload_bytes))
            content.flush()
            upload = Path(content.name) if self.upload_bytes else None
            load = self._run(server, self.first_count, upload)
            load = self._run(server, self._count_for(load, WARM_UP_S), upload)
            cpu, started_s = server.cpu(), time.perf_counter()
            load = self._run(server, self._count_for(load, seconds), upload)
            cpu, elapsed_s = server.cpu() - cpu, time.perf_counter() - started_s
        server.check_alive()
        figures = {
            "per_s": load.requests / load.seconds,
            "load_busy": load.cpu_s / elapsed_s,
            **cpu.figures(load.requests, elapsed_s),
        }
        return Measurement(figures, load.errors)

    def _count_for(self, load: h2load.Load, seconds: float) -> int:
        return max(self.first_count, int(load.requests / load.seconds * seconds))

    def _run(self, server: Server, count: int, upload: Path | None) -> h2load.Load:
        loads = []
        while count > 0:
            part = min(count, RUN_COUNT)
            loads.append(h2load.run(server.port, part, 8, self.streams, self.path, upload))
            count -= part
        load = h2load.together(loads)
        if not load.requests or load.data_bytes != load.requests * self.size_bytes:
            raise Failed(f"{load.data_bytes} bytes in {load.requests} answers, {load.errors} errors")
        return load


class Hello(HTTP2Scenario):
    name = "http2"
    title = "Raw ASGI hello over HTTP/2"
    about = "h2load: GET, 13 bytes of answer, 8 connections with 32 requests at once."
    goals: ClassVar = {"granian": 1.2, "uvicorn zttp": 3.0, "hypercorn": 14.0}


class Large(HTTP2Scenario):
    name = "http2-64k"
    title = "Raw ASGI, 64 KiB of answer over HTTP/2"
    about = "h2load: GET, 8 connections with 32 requests at once, windows of 1 GiB."
    app = "bench.apps.plain:large"
    size_bytes = 65_536
    goals: ClassVar = {"granian": 1.0}


class Upload(HTTP2Scenario):
    name = "http2-upload"
    title = "Raw ASGI, uploads of 1 MiB over HTTP/2"
    about = "h2load: POST, 7 bytes of answer, 8 connections with 4 requests at once."
    app = "bench.apps.plain:sink"
    size_bytes = 7
    upload_bytes = 1_048_576
    streams = 4
    first_count = 64
    goals: ClassVar = {"granian": 1.0}


class Django(HTTP2Scenario):
    name = "http2-django"
    title = "Django over HTTP/2, sync view"
    about = "h2load: 13 bytes, default middleware, 8 connections with 8 requests at once."
    app = django_project.DJANGO
    path = "/sync/"
    streams = 8
    goals: ClassVar = {"hypercorn, Django's handler": 10.0}

    def peers(self) -> list[Peer]:
        return [
            peers.fullduplex(django_project.OURS),
            peers.granian(self.app, "granian, Django's handler"),
            peers.hypercorn(self.app, "hypercorn, Django's handler"),
        ]

    def prepare(self) -> None:
        django_project.make_database()


class IdleMemory(Scenario):
    name = "http2-idle"
    title = "Memory of an idle HTTP/2 connection"
    about = "2,000 connections of a plain ASGI application after one request each, with the fields of a browser; PSS."
    columns = (Column("kib", "KiB/connection"),)
    less_is_better = True
    count: ClassVar[int] = 2000

    def peers(self) -> list[Peer]:
        app = "bench.apps.plain:hello"
        return [
            peers.fullduplex(app),
            peers.granian(app, connections=4096),
            peers.uvicorn_http2(app),
            peers.hypercorn(app),
        ]

    def measure(self, server: Server, seconds: float) -> Measurement:
        return uvloop.run(self._measure(server))

    async def _measure(self, server: Server) -> Measurement:
        first = IdleConnections(server.port, 1)  # makes what is made once: imports, caches, the first arena
        await first.open()
        before_kib = server.memory_kib()
        connections = IdleConnections(server.port, self.count)
        try:
            await connections.open()
            await asyncio.sleep(1)
            kib = (server.memory_kib() - before_kib) / self.count
        finally:
            connections.close()
            first.close()
        return Measurement({"kib": kib})


HTTP2: list[type[Scenario]] = [Hello, Large, Upload, Django, IdleMemory]

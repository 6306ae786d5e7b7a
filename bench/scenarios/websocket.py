"""Plain ASGI over WebSocket: the servers alone, without a framework."""

from __future__ import annotations

import asyncio
import time
from typing import ClassVar

import uvloop

from bench import peers
from bench.figures import percentile
from bench.load import handshakes
from bench.load.echo import EchoRun
from bench.load.idle import IdleSockets
from bench.scenario import Column, Measurement, Scenario, cpu_columns
from bench.server import Peer, Server

WARM_UP_S = 1.0
APP = "bench.apps.plain:echo"


class Echo(Scenario):
    name = "websocket-echo"
    title = "WebSocket echo"
    about = "100 clients, 64 bytes of text; each waits for its echo before the next. Nobody offers compression."
    columns = (
        Column("per_s", "echoes/s"),
        Column("p50_ms", "p50 ms"),
        Column("p99_ms", "p99 ms"),
        *cpu_columns("echo"),
    )
    goals: ClassVar = {"uvicorn websockets": 1.9, "uvicorn websockets-sansio": 1.9}
    batch: ClassVar[int] = 1
    path: ClassVar[str] = "/"

    def peers(self) -> list[Peer]:
        return [
            peers.fullduplex(APP),
            peers.uvicorn(APP, "uvicorn websockets", ws="websockets"),
            peers.uvicorn(APP, "uvicorn websockets-sansio", ws="websockets-sansio"),
            peers.granian(APP),
            peers.hypercorn(APP),
            peers.daphne(APP),
            peers.floor("echo", "floor: uvloop, C masking"),
        ]

    def measure(self, server: Server, seconds: float) -> Measurement:
        return uvloop.run(self._measure(server, seconds))

    async def _measure(self, server: Server, seconds: float) -> Measurement:
        run = EchoRun(server.port, clients=100, payload=b"x" * 64, batch=self.batch, path=self.path)
        await run.open()
        try:
            await run.run(WARM_UP_S)
            cpu, load_cpu_s, started_s = server.cpu(), time.process_time(), time.perf_counter()
            per_s = await run.run(seconds)
            elapsed_s = time.perf_counter() - started_s
            cpu, load_cpu_s = server.cpu() - cpu, time.process_time() - load_cpu_s
        finally:
            run.close()
        figures = {
            "per_s": per_s,
            "p50_ms": percentile(run.latencies_s, 50) * 1e3,
            "p99_ms": percentile(run.latencies_s, 99) * 1e3,
            "load_busy": load_cpu_s / elapsed_s,
            **cpu.figures(max(run.count, 1), elapsed_s),
        }
        return Measurement(figures, run.errors, "wrong or missing echoes" if run.errors else "")


class Handshakes(Scenario):
    name = "handshakes"
    title = "WebSocket handshakes"
    about = "Connect, upgrade, close properly; 32 at a time; a plain ASGI application."
    columns = (Column("per_s", "handshakes/s"), *cpu_columns("handshake"))
    goals: ClassVar = {"uvicorn websockets": 1.7, "uvicorn websockets-sansio": 1.7}
    path: ClassVar[str] = "/"

    def peers(self) -> list[Peer]:
        return [
            peers.fullduplex(APP),
            peers.uvicorn(APP, "uvicorn websockets", ws="websockets"),
            peers.uvicorn(APP, "uvicorn websockets-sansio", ws="websockets-sansio"),
            peers.granian(APP),
            peers.hypercorn(APP),
            peers.daphne(APP),
        ]

    def measure(self, server: Server, seconds: float) -> Measurement:
        return uvloop.run(self._measure(server, seconds))

    async def _measure(self, server: Server, seconds: float) -> Measurement:
        await handshakes.run(server.port, self.path, 32, WARM_UP_S)
        cpu, started_s = server.cpu(), time.perf_counter()
        per_s = await handshakes.run(server.port, self.path, 32, seconds)
        elapsed_s = time.perf_counter() - started_s
        return Measurement({"per_s": per_s, **(server.cpu() - cpu).figures(per_s * elapsed_s, elapsed_s)})


class IdleMemory(Scenario):
    name = "idle-memory"
    title = "Memory of an idle WebSocket, compression not offered"
    about = "2,000 sockets of a plain ASGI application after one echo of 2 KiB each; growth of the server's PSS."
    columns = (Column("kib", "KiB/socket"),)
    less_is_better = True
    own_goal = 5
    deflate: ClassVar[bool] = False
    count: ClassVar[int] = 2000

    def peers(self) -> list[Peer]:
        return [
            peers.fullduplex(APP),
            peers.uvicorn(APP, "uvicorn websockets", ws="websockets"),
            peers.uvicorn(APP, "uvicorn websockets-sansio", ws="websockets-sansio"),
            peers.granian(APP),
            peers.hypercorn(APP),
        ]

    def measure(self, server: Server, seconds: float) -> Measurement:
        return uvloop.run(self._measure(server))

    async def _measure(self, server: Server) -> Measurement:
        # A first socket makes what is made once: imports, caches, the first arena.
        first = IdleSockets(server.port, 1, deflate=self.deflate)
        await first.open()
        before_kib = server.memory_kib()
        sockets = IdleSockets(server.port, self.count, deflate=self.deflate)
        try:
            compressed = await sockets.open()
            await asyncio.sleep(1)
            kib = (server.memory_kib() - before_kib) / self.count
        finally:
            sockets.close()
            first.close()
        note = "" if not self.deflate or compressed else "answers without compression"
        return Measurement({"kib": kib}, note=note)


class IdleMemoryDeflate(IdleMemory):
    name = "idle-memory-deflate"
    title = "Memory of an idle WebSocket, compression offered"
    about = "The same, and the client offers permessage-deflate as browsers do."
    own_goal = None
    deflate = True

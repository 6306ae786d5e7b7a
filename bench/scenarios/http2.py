"""Plain ASGI over HTTP/2: the servers alone, with prior knowledge and without TLS."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

from bench import peers
from bench.load import h2load
from bench.scenario import Column, Measurement, Scenario, cpu_columns
from bench.server import Peer, Server

WARM_UP_COUNT = 2_000


class HTTP2Hello(Scenario):
    name = "http2"
    title = "Raw ASGI hello over HTTP/2"
    about = "h2load: GET, 13 bytes of answer, 8 connections with 32 requests at once."
    columns: ClassVar[Sequence[Column]] = (Column("per_s", "requests/s"), *cpu_columns("request"))
    goals: ClassVar = {"granian": 1.2, "hypercorn": 14.0}

    def peers(self) -> list[Peer]:
        app = "bench.apps.plain:hello"
        return [peers.fullduplex(app), peers.granian(app), peers.hypercorn(app)]

    def measure(self, server: Server, seconds: float) -> Measurement:
        first = h2load.run(server.port, WARM_UP_COUNT, 8, 32)
        count = max(WARM_UP_COUNT, int(first.requests / first.seconds * seconds))
        cpu, started_s = server.cpu(), time.perf_counter()
        load = h2load.run(server.port, count, 8, 32)
        cpu, elapsed_s = server.cpu() - cpu, time.perf_counter() - started_s
        server.check_alive()
        figures = {
            "per_s": load.requests / load.seconds,
            "load_busy": load.cpu_s / elapsed_s,
            **cpu.figures(load.requests, elapsed_s),
        }
        return Measurement(figures, load.errors)

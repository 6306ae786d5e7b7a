"""Plain ASGI over HTTP: the servers alone, without a framework."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from typing import ClassVar

from bench import peers
from bench.load import http
from bench.scenario import Column, Failed, Measurement, Scenario, cpu_columns
from bench.server import Peer, Server

WARM_UP_S = 1.0


class HTTPScenario(Scenario):
    """The same request over and over.

    Attributes:
        request: what is sent.
        expected: the content of the response; None takes any content with status 200.
        connections: clients, each waiting for its response before the next request.
    """

    columns: ClassVar[Sequence[Column]] = (
        Column("per_s", "requests/s"),
        Column("p50_ms", "p50 ms"),
        Column("p99_ms", "p99 ms"),
        *cpu_columns("request"),
    )
    request: ClassVar[http.Request] = http.Request()
    expected: ClassVar[bytes | None] = None
    connections: ClassVar[int] = 64

    def measure(self, server: Server, seconds: float) -> Measurement:
        request = self.request_for(server)
        response = http.exchange(server.port, request)
        if response.status != 200 or self.expected not in (None, response.body):
            raise Failed(f"status {response.status}, content {response.body[:100]!r}")
        with contextlib.suppress(Failed):  # a second may be too short for the first answers of a slow peer
            http.run(server.port, request, response.size_bytes, self.connections, WARM_UP_S)
        http.exchange(server.port, request)  # comes after what the warm-up left in the server's queue
        counted = self.counters(server)
        cpu, started_s = server.cpu(), time.perf_counter()
        load = http.run(server.port, request, response.size_bytes, self.connections, seconds)
        cpu, elapsed_s = server.cpu() - cpu, time.perf_counter() - started_s
        server.check_alive()
        grown = {key: value - counted[key] for key, value in self.counters(server).items()}
        figures = {
            "per_s": load.requests / load.seconds,
            "p50_ms": load.p50_s * 1e3,
            "p99_ms": load.p99_s * 1e3,
            "load_busy": load.cpu_s / elapsed_s,
            **cpu.figures(load.requests, elapsed_s),
            **{key: growth / load.requests * 1000 for key, growth in grown.items()},
        }
        return Measurement(figures, load.errors, load.explanation)

    def request_for(self, server: Server) -> http.Request:
        return self.request

    def counters(self, server: Server) -> dict[str, float]:
        """What the application counts, by key of a column, which then shows its growth per 1,000 requests."""
        return {}


class Hello(HTTPScenario):
    name = "hello"
    title = "Raw ASGI hello"
    about = "GET, 13 bytes of answer, 64 connections with keep-alive."
    expected = b"Hello, world!"
    goals: ClassVar = {"granian": 1.5, "uvicorn": 2.2}

    def peers(self) -> list[Peer]:
        app = "bench.apps.plain:hello"
        return [
            peers.fullduplex(app),
            peers.uvicorn(app),
            peers.granian(app),
            peers.hypercorn(app),
            peers.daphne(app),
            peers.floor("http", "floor: uvloop, no parsing"),
        ]


class Body(HTTPScenario):
    name = "body"
    title = "Raw ASGI, 1 KiB in and out"
    about = "POST of 1 KiB of JSON, answered with the same bytes, 64 connections."
    expected = json.dumps({"text": "x" * 1012}).encode()
    request = http.Request("/", "POST", expected, {"Content-Type": "application/json"})

    def peers(self) -> list[Peer]:
        app = "bench.apps.plain:body"
        return [
            peers.fullduplex(app),
            peers.uvicorn(app),
            peers.granian(app),
            peers.hypercorn(app),
            peers.daphne(app),
        ]

"""Clients that come back all at once after a deploy, and get what they missed."""

from __future__ import annotations

import time
from typing import ClassVar

import uvloop

from bench import peers
from bench.figures import percentile
from bench.load.resume import Herd
from bench.scenario import Column, Measurement, Scenario
from bench.scenarios import django_project
from bench.server import Peer, Server

_ENV = {"BENCH_URLCONF": f"{django_project.PROJECT}.urls_resume", "BENCH_HISTORY": "resume"}
PLAINLY = "the same bytes with socket.send"


class Resume(Scenario):
    name = "resume"
    title = "1,000 clients resume, of which each has missed 100 messages"
    about = (
        "Clients of an endpoint subscribe with a position, all in one moment; until the last of them has the last of "
        "its 100 messages (of 100 bytes). Beside it a view that has the same texts in a list, and sends them one by "
        "one."
    )
    columns = (
        Column("resume_s", "seconds"),
        Column("mib", "MiB"),
        Column("cpu_s", "server s"),
    )
    less_is_better = True
    goals: ClassVar = {PLAINLY: 2}

    def peers(self) -> list[Peer]:
        ours = peers.fullduplex(django_project.OURS, env=_ENV)
        return [ours, peers.fullduplex(django_project.OURS, PLAINLY, env={**_ENV, "BENCH_PLAINLY": "1"})]

    def prepare(self) -> None:
        django_project.make_database()

    def measure(self, server: Server, seconds: float) -> Measurement:
        return uvloop.run(self._measure(server, seconds))

    async def _measure(self, server: Server, seconds: float) -> Measurement:
        herd = Herd(1_000, 100, 60)
        elapsed_s, bytes_count, cpu_s = [], 0, []
        try:
            await herd.open(server.port, "/resume/")
            await herd.resume()
            herd.check()
            end_s = time.perf_counter() + seconds
            while not elapsed_s or time.perf_counter() < end_s:
                await herd.leave()
                before = server.cpu()
                took_s, bytes_count = await herd.resume()
                used = server.cpu() - before
                elapsed_s.append(took_s)
                cpu_s.append(used.user_s + used.system_s)
            herd.check()
        finally:
            herd.close()
        figures = {
            "resume_s": percentile(elapsed_s, 50),
            "mib": bytes_count / 2**20,
            "cpu_s": percentile(cpu_s, 50),
        }
        return Measurement(figures)

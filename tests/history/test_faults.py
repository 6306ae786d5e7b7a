"""Publishers, the outbox and the database are killed while messages flow; what each subscriber got is counted."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.test import override_settings

from fullduplex import Group
from fullduplex.exceptions import LayerError
from fullduplex.layers import close_layer
from fullduplex.layers.history import Position
from fullduplex.realtime.hub import Hub
from fullduplex.realtime.prepared import Prepared
from tests.e2e.process import ROOT, Process
from tests.history.databases import ALIAS, forget
from tests.history.test_live import Member
from tests.packages.postgresql import PostgreSQL

GROUP = "kept.faults"
GAP = "(gap)"
HISTORY = {"kept.*": {"STORE": "database", "COUNT": 1_000_000, "MAX_BYTES": 1_000_000_000}}
SETTINGS = {"HISTORY": HISTORY, "HISTORY_LOOK_S": 0.5, "GAP_POLICY": "continue", "GAP_MESSAGE": GAP}
DEADLINE_S = 900.0  # of the large case, on a machine that has other things to do


class World:
    """The processes, which have one database and one local layer.

    Args:
        database: of all.
        directory: where the local layer meets.
        life_s: how long a process lives, shortest and longest.
    """

    def __init__(self, database: dict[str, Any], directory: str, life_s: tuple[float, float]) -> None:
        self.layer = {"BACKEND": "fullduplex.layers.local.LocalLayer", "CONFIG": {"directory": directory}}
        self.killed: Counter[str] = Counter()
        self._database = database
        self._life_s = life_s

    def process(self, *arguments: str) -> Process:
        environment = {"HISTORY_DATABASE": self._database, "HISTORY_LAYER": self.layer, "HISTORY_SETTINGS": SETTINGS}
        return Process(
            *(sys.executable, "-m", "tests.history.working", *arguments),
            ready="",
            cwd=ROOT,
            env={name: json.dumps(value) for name, value in environment.items()} | {"HISTORY_LEASE_S": "1.5"},
        )

    async def send(self, role: str, who: str, count: int) -> None:
        """Send so many; whoever does it is killed again and again, and the next one goes on after what is known."""
        first = 0
        while first < count:
            with self.process(role, GROUP, who, str(first), str(count)) as process:
                await asyncio.to_thread(process.wait_for, "\n")  # what it sends first
                end_s = asyncio.get_running_loop().time() + self._next_life_s(role)
                while process._process.poll() is None and asyncio.get_running_loop().time() < end_s:
                    await asyncio.sleep(0.02)
                process.kill()
            self.killed[role] += process._process.returncode == -signal.SIGKILL
            numbers = process.output.splitlines(keepends=True)
            first = max([first, *(int(line) + 1 for line in numbers if line.endswith("\n") and line.strip().isdigit())])

    def _next_life_s(self, role: str) -> float:
        """Until one of each role has been killed, none lives longer than its first message."""
        return random.uniform(*self._life_s) if self.killed[role] else 0.0

    async def relay(self, is_over: asyncio.Event) -> None:
        while not is_over.is_set():
            with self.process("outbox") as process:
                await asyncio.to_thread(process.wait_for, "Sending")
                await _first(is_over.wait(), asyncio.sleep(self._next_life_s("outbox")))
                if not is_over.is_set():
                    process.kill()
                    self.killed["outbox"] += 1


async def _first(*waits: Any) -> None:
    tasks = [asyncio.ensure_future(one) for one in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


async def restart(postgresql: PostgreSQL, count: int, every_s: float, killed: Counter[str]) -> None:
    """Kill the server, and start it again."""
    for _ in range(count):
        await asyncio.sleep(every_s)
        await asyncio.to_thread(postgresql.process.kill)
        killed["database"] += 1
        await asyncio.to_thread(postgresql.start_again)


class Subscriber(Member):
    """Counts what it is given; what goes beyond a hole without a gap that was told is wrong.

    Attributes:
        last: offset of what it has seen last.
        gaps: that were told.
        missing: how many messages they cost.
    """

    def __init__(self) -> None:
        super().__init__()
        self.last = self.gaps = self.missing = 0
        self._may_jump = False

    def deliver(self, prepared: Prepared) -> None:
        if prepared.position is None:
            assert prepared.data == GAP
            self.gaps += 1
            self._may_jump = True
            return
        offset = prepared.position.offset
        self.seen.append(prepared.data)
        self.offsets.append(offset)
        if offset <= self.last or (offset > self.last + 1 and not self._may_jump):
            self.seen.append(f"wrong: {offset} after {self.last}")
        self.missing += offset - self.last - 1
        self.last = offset
        self._may_jump = False


class Comer(Subscriber):
    """A subscriber that is not there most of the time, and asks for what it missed when it comes."""

    def __init__(self, start: Position) -> None:
        super().__init__()
        self._position = start

    async def come(self) -> None:
        missed = await Group(GROUP).ahistory(self._position, max_count=500)
        if not missed.recovered:
            self.deliver(Prepared(GAP, GROUP))
        for kept in missed.messages:
            self.deliver(Prepared(kept.data, GROUP, kept.position))
        self._position = missed.messages[-1].position if missed.messages else missed.position


@asynccontextmanager
async def subscribers(count: int) -> AsyncIterator[list[Subscriber]]:
    hub = Hub()
    members = [Subscriber() for _ in range(count)]
    for member in members:
        await hub.join(GROUP, member)
    try:
        yield members
    finally:
        for member in members:
            await hub.leave(GROUP, member)
        await close_layer()
        await forget()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not holds():
            await asyncio.sleep(0.1)


def query(sql: str) -> list[Any]:
    """Run it in a thread of its own."""
    try:
        with connections[ALIAS].cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else []
    finally:
        connections[ALIAS].close()


@pytest.fixture
def directory() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="faults-") as path:
        Path(path).chmod(0o700)
        yield path


CASES = [
    pytest.param("sqlite", 120, (0.1, 0.3), 0),
    pytest.param("sqlite", 10_000, (1.0, 4.0), 0, marks=pytest.mark.slow),
    pytest.param("postgresql", 10_000, (1.0, 4.0), 4, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("database", "total", "life_s", "restarts"), CASES, indirect=["database"])
async def test_each_message_once_in_order_or_a_gap_that_is_told(
    database: Any,
    total: int,
    life_s: tuple[float, float],
    restarts: int,
    directory: str,
    request: pytest.FixtureRequest,
) -> None:
    world = World(database, directory, life_s)
    with override_settings(FULLDUPLEX=SETTINGS, CHANNEL_LAYERS={"default": world.layer}):
        await asyncio.to_thread(query, "CREATE TABLE changes (text varchar(50) PRIMARY KEY)")
        start = (await Group(GROUP).ahistory()).position
        comer = Comer(start)
        is_over = asyncio.Event()
        quarter = total // 4
        async with subscribers(3) as members, asyncio.TaskGroup() as tasks:
            relaying = tasks.create_task(world.relay(is_over))
            work = [world.send(role, f"{role}{number}", quarter) for role in ("publish", "write") for number in "12"]
            if restarts:
                postgresql = request.getfixturevalue("postgresql")
                work.append(restart(postgresql, restarts, 6.0, world.killed))
            sending = [tasks.create_task(one) for one in work]
            while not all(task.done() for task in sending):
                await asyncio.sleep(random.uniform(0.05, 0.5))
                with suppress(*([LayerError] if restarts else [])):
                    await comer.come()
            # What the database has forgotten of its commits (synchronous_commit is off) took its messages along.
            changes = {text for (text,) in await asyncio.to_thread(query, "SELECT text FROM changes")}
            count = 2 * quarter + len(changes)
            await until(lambda: all(member.last >= count for member in members))
            is_over.set()
            await relaying
            while comer.last < count:
                await comer.come()
        expected = {f"publish{number} {n}" for number in "12" for n in range(quarter)} | changes
        assert restarts or len(changes) == 2 * quarter
        for one in (*members, comer):
            assert len(one.seen) + one.missing == count == one.last
            assert len(one.seen) == len(set(one.seen))
            assert expected >= set(one.seen)
            assert restarts or one.gaps == 0
        assert set(comer.seen) == expected
        assert all(world.killed[role] for role in ("publish", "write", "outbox"))
        told = [(one.gaps, one.missing) for one in (*members, comer)]
        print(f"\n{count} messages to {len(told)}, killed: {dict(world.killed)}; gaps and what they cost: {told}")

"""Members and publishers of one room on several workers, and an account of what arrived where.

What a publisher has published is known by its answers. A member must get all that is published between its join and
its end, once, and in the order of each publisher; messages may be missing only where it was told of a gap.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage

from tests.e2e.process import ROOT, Process, environment

DEADLINE_S = 60.0  # only ever reached by a failure
LOST = (ConnectionClosed, InvalidHandshake, InvalidMessage, OSError)


@dataclass
class Visit:
    """One membership: from its join to its end, and the messages and gaps in it."""

    pid: int
    joined_s: float
    received: list[str] = field(default_factory=list)
    ended_s: float | None = None


class Audience:
    """Clients of a server.

    Args:
        process: serves ``rooms_asgi``.
        env: its variables, for the shell.

    Attributes:
        published: by publisher, for each number when publishing began and ended; None: it failed.
        visits: all memberships.
    """

    def __init__(self, process: Process, env: dict[str, str]) -> None:
        self.process = process
        self.env = env
        self.published: dict[str, list[tuple[float, float | None]]] = {}
        self.visits: list[Visit] = []
        self.went_wrong: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._arrived = asyncio.Condition()
        self._over = asyncio.Event()
        self._count = self._members_count = 0

    # Who is there ----------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def members(self, count: int, workers: int) -> AsyncIterator[None]:
        """So many, or more, until each worker has one; they come back when they are closed."""
        members: list[asyncio.Task[None]] = []
        try:
            async with asyncio.timeout(DEADLINE_S):
                while len(members) < count or len(self.pids) < workers:
                    joined = asyncio.Event()
                    members.append(asyncio.create_task(self._member(joined)))
                    self._members_count += 1
                    await joined.wait()
            yield
        finally:
            for task in members:
                task.cancel()
            await asyncio.gather(*members, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def publishers(self, *, sockets: int, views: int, shells: int) -> AsyncIterator[None]:
        """Publishing goes on all the time, each behind the answer to the last."""
        self._over.clear()
        makers = [self._by_socket] * sockets + [self._by_view] * views + [self._by_shell] * shells
        tasks = [asyncio.create_task(maker(self._name())) for maker in makers]
        try:
            yield
        finally:
            self._over.set()
            await asyncio.gather(*tasks)

    def _name(self) -> str:
        self._count += 1
        return f"p{self._count}"

    async def _member(self, joined: asyncio.Event) -> None:
        while True:
            try:
                async with self._connect("member") as socket:
                    early = []  # the room may be faster than the view
                    while not (message := str(await socket.recv())).startswith("joined "):
                        early.append(message)
                    visit = Visit(int(message.removeprefix("joined ")), time.monotonic(), early)
                    self.visits.append(visit)
                    joined.set()
                    async with self._arrived:
                        self._arrived.notify_all()
                    try:
                        async for message in socket:
                            visit.received.append(str(message))
                            async with self._arrived:
                                self._arrived.notify_all()
                    finally:
                        visit.ended_s = time.monotonic()
            except LOST:
                await asyncio.sleep(0.05)

    def _connect(self, name: str) -> connect:
        url = self.process.url.replace("http", "ws", 1).rstrip("/")
        return connect(f"{url}/{name}/", proxy=None, ping_interval=None, open_timeout=DEADLINE_S, compression=None)

    # Publishing ------------------------------------------------------------------------------

    async def _by_socket(self, who: str) -> None:
        while not self._over.is_set():
            try:
                async with self._connect("publisher") as socket:
                    while not self._over.is_set():
                        await self._publish(who, lambda text: _say(socket, text))
            except LOST:
                await asyncio.sleep(0.05)

    async def _by_view(self, who: str) -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=DEADLINE_S) as client:

            async def post(text: str) -> None:
                (await client.post(f"{self.process.url.rstrip('/')}/publish/", content=text)).raise_for_status()

            while not self._over.is_set():
                with contextlib.suppress(httpx.HTTPError):
                    await self._publish(who, post)

    async def _by_shell(self, who: str) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "from tests.e2e.rooms_asgi import shell; shell()"),
            cwd=ROOT,
            env=environment(self.env),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None

        async def say(text: str) -> None:
            stdin.write(text.encode() + b"\n")
            if await stdout.readline() != b"published\n":
                raise OSError("the shell has ended")

        try:
            while not self._over.is_set():
                await self._publish(who, say)
        except OSError:
            assert process.stderr is not None
            self.went_wrong.append((await process.stderr.read()).decode())
        finally:
            stdin.close()
            await process.wait()

    async def _publish(self, who: str, say) -> None:
        numbers = self.published.setdefault(who, [])
        number = len(numbers)
        began_s = time.monotonic()
        numbers.append((began_s, None))
        await say(f"{who} {number}")
        numbers[number] = (began_s, time.monotonic())
        await asyncio.sleep(0.002)

    # The account -----------------------------------------------------------------------------

    async def all_hear(self, count: int = 1) -> None:
        """Wait until all members are back, have somebody publish, and wait until each of them has it."""
        who = self._name()
        async with asyncio.timeout(DEADLINE_S), self._arrived:
            await self._arrived.wait_for(lambda: len(self._open_visits) == self._members_count)
        open_visits = self._open_visits
        done_count = 0
        while done_count < count:
            try:
                async with self._connect("publisher") as socket:
                    while done_count < count:
                        await self._publish(who, lambda text: _say(socket, text))
                        done_count += 1
            except LOST:
                await asyncio.sleep(0.05)
        last = f"{who} {len(self.published[who]) - 1}"
        async with asyncio.timeout(DEADLINE_S), self._arrived:
            await self._arrived.wait_for(
                lambda: all(last in visit.received or visit.ended_s is not None for visit in open_visits)
            )

    async def all_hear_of_a_gap(self) -> None:
        """Wait until each member that is there has been told of one gap; who comes back later has missed none."""
        open_visits = self._open_visits
        async with asyncio.timeout(DEADLINE_S), self._arrived:
            await self._arrived.wait_for(
                lambda: all(visit.received.count("gap") == 1 or visit.ended_s is not None for visit in open_visits)
            )

    @property
    def pids(self) -> set[int]:
        """The workers on which members are, now."""
        return {visit.pid for visit in self._open_visits}

    @property
    def _open_visits(self) -> list[Visit]:
        return [visit for visit in self.visits if visit.ended_s is None]

    def check(self) -> int:
        """Raise AssertionError where something is missing, comes twice or is out of order; return what arrived."""
        assert not self.went_wrong
        return sum(self._check(visit) for visit in self.visits)

    def _check(self, visit: Visit) -> int:
        last: dict[str, int] = {}
        gaps: set[str] = set()  # publishers of which something may be missing
        for message in visit.received:
            if message == "gap":
                gaps = {*self.published}
                continue
            who, _, text = message.partition(" ")
            number = int(text)
            assert number > last.get(who, -1), f"{message} behind {last[who]}, on {visit.pid}"
            for missing in range(last.get(who, -1) + 1, number):
                began_s, ended_s = self.published[who][missing]
                before = who not in last and began_s < visit.joined_s
                failed = ended_s is None
                assert before or failed or who in gaps, f"{who} {missing} is missing on {visit.pid}"
            last[who] = number
            gaps.discard(who)
        for who, numbers in self.published.items():
            for number, (began_s, ended_s) in enumerate(numbers[last.get(who, -1) + 1 :], last.get(who, -1) + 1):
                due = began_s > visit.joined_s and ended_s is not None and visit.ended_s is None
                assert not due or who in gaps, f"{who} {number} is missing at the end on {visit.pid}"
        return len(visit.received)


async def _say(socket: ClientConnection, text: str) -> None:
    await socket.send(text)
    await socket.recv()


def sequencer_of(process: Process) -> int:
    """The process of the sequencer that the workers of ``process`` use: a child of its supervisor, as an orphan is."""
    end_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < end_s:
        for name in os.listdir("/proc"):
            with contextlib.suppress(OSError, ValueError):
                if int(_stat(name)[1]) == process.pid and b"fullduplex.sequencer" in _read(f"/proc/{name}/cmdline"):
                    return int(name)
        time.sleep(0.01)
    raise AssertionError("there is no sequencer")


def _stat(pid: str) -> list[str]:
    return _read(f"/proc/{int(pid)}/stat").rpartition(b")")[2].decode().split()


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()

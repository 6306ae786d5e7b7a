"""Load on the project, with clients that leave and a database that restarts: nothing may be left behind.

    python -m tests.db.load --minutes 60

Ends with 1 where an answer was wrong for another reason than the restart, or where something is left.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import time
from collections import Counter
from typing import Any

import httpx
import psycopg
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tests.e2e.process import ROOT, Process, fullduplex
from tests.packages.postgresql import PostgreSQL, server

PATHS = (
    *("/one/", "/list/", "/transaction/", "/transaction/?seconds=0.05", "/across/?seconds=0.02", "/thread/"),
    *("/rows/", "/sleep/?seconds=0.05"),
)
CONNECTIONS_MAX_COUNT = 20
IDLE_MAX_COUNT = 16  # connections that a process keeps
RESTART_S = 30.0
SAMPLE_S = 10.0
SETTLE_TIMEOUT_S = 60.0


class Load:
    def __init__(self, process: Process, postgresql: PostgreSQL, seed: int) -> None:
        self.process = process
        self.postgresql = postgresql
        self.counts: Counter[str] = Counter()
        self.is_down = False
        self._random = random.Random(seed)
        self._ends_s = 0.0

    async def run(self, seconds: float, client_count: int) -> list[str]:
        """Load for so long; return what is wrong."""
        self._ends_s = time.monotonic() + seconds
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
        async with httpx.AsyncClient(base_url=self.process.url, timeout=60.0, limits=limits, trust_env=False) as http:
            faults = await self._settled(http)
            before = await self.state(http)
            async with asyncio.TaskGroup() as group:
                for _ in range(client_count):
                    group.create_task(self._client(http))
                for _ in range(max(1, client_count // 4)):
                    group.create_task(self._socket())
                group.create_task(self._restart(min(RESTART_S, seconds / 3)))
                group.create_task(self._sample(http))
            faults += await self._settled(http)
            after = await self.state(http)
        print(f"before {before}\nafter  {after}\n{dict(self.counts)}", flush=True)
        if after["tasks"] > before["tasks"] + 2:
            faults.append(f"{after['tasks']} tasks after {before['tasks']}")
        faults += [f"{count} times {what}" for what, count in self.counts.items() if what.startswith("wrong")]
        if not (self.counts["200"] and self.counts["left"] and self.counts["messages"]):
            faults.append(f"not everything happened: {dict(self.counts)}")
        return faults

    @property
    def _goes_on(self) -> bool:
        return time.monotonic() < self._ends_s

    async def _client(self, http: httpx.AsyncClient) -> None:
        while self._goes_on:
            path = self._random.choice(PATHS)
            request = asyncio.create_task(http.get(path))
            if self._random.random() < 0.2:  # it leaves
                await asyncio.wait({request}, timeout=self._random.random() * 0.3)
                if not request.done():
                    request.cancel()
                    self.counts["left"] += 1
                await asyncio.wait({request})
                continue
            was_down = self.is_down
            try:
                response = await request
            except httpx.TransportError as error:  # a stream whose database went
                self._note(type(error).__name__, was_down)
            else:
                self._note(str(response.status_code), was_down)

    async def _socket(self) -> None:
        url = self.process.url.replace("http", "ws") + "/socket/"
        while self._goes_on:
            try:
                async with connect(url, open_timeout=60.0, proxy=None) as socket:
                    for _ in range(20):
                        was_down = self.is_down
                        await socket.send("Ada")
                        answer = await socket.recv()
                        self._note("messages" if answer == "Ada" else str(answer), was_down)
            except (WebSocketException, OSError) as error:
                self._note(type(error).__name__, True)

    def _note(self, what: str, was_down: bool) -> None:
        if what in ("200", "messages"):
            self.counts[what] += 1
        elif was_down or self.is_down:
            self.counts[f"{what} at a restart"] += 1
        else:
            self.counts[f"wrong: {what}"] += 1

    async def _restart(self, every_s: float) -> None:
        while self._goes_on:
            await asyncio.sleep(min(every_s, max(0.0, self._ends_s - time.monotonic())))
            if not self._goes_on:
                break
            self.is_down = True
            await asyncio.to_thread(self.postgresql.restart)
            self.counts["restarts"] += 1
            await asyncio.sleep(3.0)  # connections that were kept are found dead when they are next used
            self.is_down = False

    async def _sample(self, http: httpx.AsyncClient) -> None:
        while self._goes_on:
            await asyncio.sleep(min(SAMPLE_S, max(0.0, self._ends_s - time.monotonic())))
            try:
                state = await self.state(http)
            except httpx.TransportError:
                continue
            print(
                f"{int(self._ends_s - time.monotonic()):5d} s left: {state} {memory_kib(self.process)} KiB", flush=True
            )
            if state["taken"] > CONNECTIONS_MAX_COUNT:
                self.counts["wrong: more connections than there may be"] += 1

    async def state(self, http: httpx.AsyncClient) -> dict[str, Any]:
        state: dict[str, Any] = (await http.get("/state/")).json()
        return state

    async def _settled(self, http: httpx.AsyncClient) -> list[str]:
        """Wait until nothing is left; return what stays."""
        deadline_s = time.monotonic() + SETTLE_TIMEOUT_S
        while True:
            state = await self.state(http)
            async with await psycopg.AsyncConnection.connect(self.postgresql.dsn) as connection:
                cursor = await connection.execute(
                    "SELECT count(*), count(*) FILTER (WHERE state <> 'idle') FROM pg_stat_activity "
                    "WHERE application_name = 'project'"
                )
                row = await cursor.fetchone()
            assert row is not None
            # Threads keep connections of their own, 16 at most when all is quiet.
            if not state["taken"] and not state["turns"] and not row[1] and row[0] <= 2 * IDLE_MAX_COUNT:
                return []
            if time.monotonic() > deadline_s:
                return [f"left behind: {state}, {row[0]} connections, {row[1]} of them not idle"]
            await asyncio.sleep(0.2)


def memory_kib(process: Process) -> int:
    with open(f"/proc/{process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def prepare(postgresql: PostgreSQL) -> dict[str, str]:
    """Make the tables and a few rows; return the environment of the project."""
    env = {"POSTGRESQL": postgresql.host, "DJANGO_SETTINGS_MODULE": "tests.db.project.settings"}
    code = (
        "import django; django.setup()\n"
        "from django.core.management import call_command\n"
        "call_command('migrate', run_syncdb=True, verbosity=0)\n"
        "from tests.db.project.models import Author\n"
        "for name in ('Ada', *'abcdefghij'): Author.objects.create(name=name).books.create(title='One')\n"
        "from django.db import connections; connections.close_all()\n"
    )
    with Process(sys.executable, "-c", code, ready="", cwd=ROOT, env=env) as process:
        assert process.wait() == 0, process.output
    return env


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.db.load")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with server(max_connections=100) as postgresql:
        env = prepare(postgresql)
        with fullduplex("tests.db.project.asgi:application", "--no-access-log", app_dir=ROOT, env=env) as process:
            faults = asyncio.run(Load(process, postgresql, options.seed).run(options.minutes * 60, options.clients))
        faults += [line for line in process.output.splitlines() if "Warning" in line or "never awaited" in line]
        if os.environ.get("LOAD_OUTPUT"):
            with open(os.environ["LOAD_OUTPUT"], "w") as file:
                file.write(process.output)
    print("\n".join(f"FAULT: {fault}" for fault in faults) or "No faults.")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())

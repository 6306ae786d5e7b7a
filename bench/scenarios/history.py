"""Messages that are kept in the project's database, beside django-eventstream with its own storage."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from typing import ClassVar

from bench import backends, peers
from bench.environment import ROOT
from bench.scenario import Column, Failed, Measurement, Scenario
from bench.scenarios import django_project
from bench.server import Peer, Server

APP = f"{django_project.PROJECT}.history:application"
EVENTSTREAM = "django-eventstream, DjangoModelStorage"
PUBLISHERS_COUNT = 64
MISSED_COUNT = 100  # as bench/django_project/history.py has it
TIMEOUT_S = 120.0


class HistoryScenario(Scenario):
    """Attributes: database: what makes it, and the environment that says which."""

    about = (
        "Messages of 100 characters, published by 64 publishers of one process (ours are tasks; theirs are threads, in "
        "the number that is best for them), and by one; clients that missed 100 messages, read by 16 at a time. No "
        "HTTP and no sockets: the process tells how long it took."
    )
    columns = (
        Column("per_s", "published/s"),
        Column("alone_per_s", "by one publisher"),
        Column("resumed_per_s", "clients resumed/s"),
        Column("resume_ms", "ms for one"),
    )
    goals: ClassVar = {EVENTSTREAM: 10}
    env: ClassVar[dict[str, str]]
    theirs_count: ClassVar[int]

    def peers(self) -> list[Peer]:
        return [
            peers.fullduplex(APP, env={**self.env, "BENCH_HISTORY": "fullduplex"}),
            peers.fullduplex(APP, EVENTSTREAM, env={**self.env, "BENCH_HISTORY": "eventstream"}),
        ]

    def measure(self, server: Server, seconds: float) -> Measurement:
        publishers = PUBLISHERS_COUNT if server.name == peers.OURS else self.theirs_count
        figures = {
            "per_s": _rate(server.port, "publish", publishers, seconds),
            "alone_per_s": _rate(server.port, "publish", 1, seconds / 2),
        }
        _seconds(server.port, f"/publish/{MISSED_COUNT + 1}/1/")
        figures |= {
            "resumed_per_s": _rate(server.port, "resume", 16, seconds / 2),
            "resume_ms": 1_000 / _rate(server.port, "resume", 1, seconds / 2),
        }
        return Measurement(figures)


class HistoryPostgreSQL(HistoryScenario):
    name = "history-postgresql"
    title = "Messages kept in PostgreSQL"
    env: ClassVar = {**django_project.POSTGRES, "BENCH_CONN_MAX_AGE": "60"}
    theirs_count = 16

    def prepare(self) -> None:
        backends.start_postgres()
        _migrate(self)


class HistorySQLite(HistoryScenario):
    name = "history-sqlite"
    title = "Messages kept in SQLite"
    env: ClassVar = {"BENCH_TRANSACTION_MODE": "IMMEDIATE", "BENCH_CONN_MAX_AGE": "60"}
    theirs_count = 1

    def prepare(self) -> None:
        _migrate(self)


def _migrate(scenario: HistoryScenario) -> None:
    for peer in scenario.peers():
        command = [sys.executable, "-m", "django", "migrate", "--verbosity", "0"]
        settings = {"DJANGO_SETTINGS_MODULE": f"{django_project.PROJECT}.settings"}
        subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, **settings, **peer.env})


def _rate(port: int, what: str, concurrency: int, seconds: float) -> float:
    """Operations per second, over about so many seconds."""
    count = max(2 * concurrency, 20)
    took_s = _seconds(port, f"/{what}/{count}/{concurrency}/")  # warms it up
    while took_s < seconds / 2:
        count = max(int(count * min(8.0, seconds / took_s)) // concurrency * concurrency, count + concurrency)
        took_s = _seconds(port, f"/{what}/{count}/{concurrency}/")
    return count // concurrency * concurrency / took_s


def _seconds(port: int, path: str) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise Failed(f"{path}: {response.status}")
    seconds: float = json.loads(content)["seconds"]
    return seconds


HISTORY: list[type[Scenario]] = [HistoryPostgreSQL, HistorySQLite]

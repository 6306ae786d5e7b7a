"""What databases do that a history of theirs must not: each test has the trap, and what ours makes of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connections, transaction
from django.test import override_settings

from fullduplex import Group
from fullduplex.exceptions import LayerError
from fullduplex.history import appending
from fullduplex.history.models import KeptGroup, OutboxMessage
from fullduplex.history.store import DatabaseHistory, close_writers
from fullduplex.layers.history import Keep
from tests.e2e.process import ROOT, Process
from tests.history import databases
from tests.history.databases import ALIAS
from tests.packages.postgresql import PostgreSQL, unprivileged

KEEP = Keep(count=1_000, age_s=3_600, max_bytes=10_000_000)
WRITER_COUNT, ROUND_COUNT = 4, 20
only_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
only_postgresql = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


def in_threads(work: Callable[[int], Any], count: int) -> list[Any]:
    """Run it in so many threads at once, each with a connection of its own; return what came of each."""
    start = threading.Barrier(count)

    def run(number: int) -> Any:
        try:
            start.wait(20)
            return work(number)
        except Exception as error:
            return error
        finally:
            connections[ALIAS].close()

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(run, range(count)))


def offsets(group: str) -> list[int]:
    history = DatabaseHistory()
    start = history.read(group, KEEP, after=None).position._replace(offset=0)
    return [kept.position.offset for kept in history.read(group, KEEP, after=start).messages]


@only_sqlite
def test_sqlite_fails_at_once_where_a_transaction_reads_before_it_writes(database: Any) -> None:
    KeptGroup.objects.create(name="naive")

    def naive(number: int) -> None:
        for _ in range(ROUND_COUNT):
            with transaction.atomic(ALIAS):
                group = KeptGroup.objects.get(name="naive")
                group.last += 1
                group.save()

    def ours(number: int) -> None:
        for _ in range(ROUND_COUNT):
            appending.append(ALIAS, [appending.Message("g", str(number), KEEP)])

    assert any(isinstance(outcome, OperationalError) for outcome in in_threads(naive, WRITER_COUNT))
    appending.append(ALIAS, [appending.Message("g", "first", KEEP)])  # makes the group
    appending.append(ALIAS, [appending.Message("g", "first", KEEP)])
    assert in_threads(ours, WRITER_COUNT) == [None] * WRITER_COUNT
    assert offsets("g") == [*range(1, WRITER_COUNT * ROUND_COUNT + 2)]


@only_sqlite
def test_sqlite_gives_an_id_of_a_rolled_back_row_again(database: Any) -> None:
    """So an id cannot be a key of the outbox, and a position that was rolled back was nobody's."""
    with override_settings(FULLDUPLEX={"HISTORY": {"g": {"STORE": "database"}}}):
        keys, ids = [], []
        for _ in range(2):
            with transaction.atomic(ALIAS):
                Group("g").send_in_transaction("x")
                row = OutboxMessage.objects.get()
                keys.append(row.key)
                ids.append(row.pk)
                transaction.set_rollback(True, using=ALIAS)
        assert ids[0] == ids[1]
        assert keys[0] != keys[1]


class Elsewhere:
    """A transaction in a thread of its own, in which the test says what is done and when it ends."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(1)
        self._atomic = transaction.atomic(ALIAS)
        self._threads.submit(self._atomic.__enter__).result(20)

    def begin(self, group: str) -> Future[Any]:
        return self._threads.submit(DatabaseHistory().append, group, "x", KEEP)

    def append(self, group: str) -> int:
        offset: int = self.begin(group).result(20).offset
        return offset

    def commit(self) -> None:
        self._threads.submit(self._atomic.__exit__, None, None, None).result(20)
        self._threads.submit(lambda: connections[ALIAS].close()).result(20)
        self._threads.shutdown()


@only_postgresql
def test_a_transaction_that_commits_late_is_skipped_by_nobody(database: Any) -> None:
    """Who follows ids misses the one that was taken first and commits last. An offset is taken by who has the lock."""
    history = DatabaseHistory()
    start = history.read("g", KEEP, after=None).position
    late = Elsewhere()
    assert late.append("g") == 1
    with ThreadPoolExecutor(1) as threads:
        second = threads.submit(history.append, "g", "second", KEEP)
        with pytest.raises(FutureTimeout):
            second.result(0.2)
        # Others do not wait behind it, though one thread of this process appends for all.
        assert history.append("other", "x", KEEP).offset == 1
        assert history.read("g", KEEP, after=start).messages == []
        late.commit()
        assert second.result(20).offset == 2
    assert offsets("g") == [1, 2]


@only_postgresql
def test_two_orders_are_a_deadlock_of_transactions_and_none_of_the_writer_and_the_outbox(database: Any) -> None:
    history = DatabaseHistory()
    for name in ("a", "b"):
        history.append(name, "first", KEEP)
    one, other = Elsewhere(), Elsewhere()
    one.append("a")
    other.append("b")
    waiting = {one.begin("b"): one, other.begin("a"): other}
    done, _ = wait(waiting, 20, return_when=FIRST_COMPLETED)  # PostgreSQL ends one of them, and not its transaction
    (loser,) = done
    assert isinstance(loser.exception(), LayerError)
    waiting.pop(loser).commit()
    ((winner, last),) = waiting.items()
    winner.result(20)
    last.commit()
    assert offsets("a") == [*range(1, len(offsets("a")) + 1)]
    assert len(offsets("a")) + len(offsets("b")) == 2 + 3

    def write(number: int) -> None:
        names = ("a", "b") if number % 2 else ("b", "a")
        for _ in range(ROUND_COUNT):
            with transaction.atomic(ALIAS):
                for name in names:
                    Group(name).send_in_transaction("x")

    assert in_threads(write, WRITER_COUNT) == [None] * WRITER_COUNT
    assert OutboxMessage.objects.count() == 2 * WRITER_COUNT * ROUND_COUNT


@only_postgresql
def test_a_hint_comes_once_for_many_and_not_in_a_transaction(database: Any) -> None:
    """Equal payloads of one transaction are one, and a listener in a transaction hears nothing: so it is a hint."""
    listener = connections.create_connection(ALIAS)
    try:
        with listener.cursor() as cursor:
            cursor.execute("LISTEN fullduplex_outbox")
        with transaction.atomic(ALIAS):
            for _ in range(3):
                Group("a").send_in_transaction("x")
        heard = listener.connection.notifies(timeout=20, stop_after=1)
        assert len([*heard]) == 1
        assert [*listener.connection.notifies(timeout=0.05)] == []
        assert OutboxMessage.objects.count() == 3
        listener.set_autocommit(False)
        with listener.cursor() as cursor:
            cursor.execute("SELECT 1")
        with transaction.atomic(ALIAS):
            Group("a").send_in_transaction("x")
        assert [*listener.connection.notifies(timeout=0.05)] == []
        listener.commit()
        assert len([*listener.connection.notifies(timeout=20, stop_after=1)]) == 1
    finally:
        listener.close()


@only_sqlite
def test_a_file_that_is_put_in_the_place_of_another_begins_another_epoch(database: Any, tmp_path: Path) -> None:
    history = DatabaseHistory()
    before = history.append("g", "x", KEEP)
    backup = tmp_path / "backup"
    shutil.copy(database["NAME"], backup)
    history.append("g", "lost", KEEP)
    close_writers()
    connections[ALIAS].close()
    os.replace(backup, database["NAME"])
    again = history.append("g", "another", KEEP)
    assert (again.offset, again.epoch == before.epoch) == (2, False)


@only_postgresql
def test_a_dump_that_is_put_back_begins_another_epoch(database: Any, postgresql: PostgreSQL, tmp_path: Path) -> None:
    history = DatabaseHistory()
    before = history.append("g", "x", KEEP)
    assert history.append("g", "y", KEEP).epoch == before.epoch
    place = ("--host", postgresql.host, "--username", postgresql.user)
    dumped = unprivileged("pg_dump", *place, "--format=plain", database["NAME"])
    dump = subprocess.run(dumped, cwd="/", check=True, stdout=subprocess.PIPE, timeout=60).stdout
    history.append("g", "lost", KEEP)
    close_writers()
    connections[ALIAS].close()
    name = f"restored_{uuid.uuid4().hex}"
    postgresql.database(name)
    psql = unprivileged("psql", *place, "--quiet", "--dbname", name)
    subprocess.run(psql, cwd="/", check=True, input=dump, stdout=subprocess.DEVNULL, timeout=60)
    with databases.connected(databases.postgresql(postgresql, name)):
        missed = history.read("g", KEEP, after=before)
        assert (missed.recovered, missed.position.offset) == (False, 2)
        assert history.append("g", "another", KEEP).offset == 3
        close_writers()


@only_postgresql
def test_on_the_loop(database: Any) -> None:
    """With ``fullduplex.db.postgresql``: in a transaction of the loop, and without one; no thread but the writer's."""
    config = {**database, "ENGINE": "fullduplex.db.postgresql", "CONN_MAX_AGE": 60}
    settings = {"HISTORY": {"kept.*": {"STORE": "database"}}}
    layer = {"BACKEND": "fullduplex.layers.memory.MemoryLayer"}
    environment = {"HISTORY_DATABASE": config, "HISTORY_LAYER": layer, "HISTORY_SETTINGS": settings}
    command = (sys.executable, "-m", "tests.history.on_the_loop")
    variables = {name: json.dumps(value) for name, value in environment.items()}
    with Process(*command, ready="", cwd=ROOT, env=variables) as process:
        assert process.wait() == 0, process.output

"""``manage.py outbox`` as a process that is killed, wherever it is, and ends when it is asked."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from django.db import connections, transaction
from django.test import override_settings

from fullduplex import Group
from fullduplex.history.models import OutboxMessage
from fullduplex.layers import close_layer
from fullduplex.realtime.hub import Hub
from tests.e2e.process import ROOT, Process
from tests.history.databases import ALIAS
from tests.history.layers import read
from tests.history.test_live import Member
from tests.history.working import POINTS

SETTINGS = {"HISTORY": {"kept.*": {"STORE": "database"}, "layered.*": {}}}
COUNT = 20


def process(database: dict[str, Any], path: Path, *arguments: str, ready: str = "") -> Process:
    """With a layer that writes to a file."""
    layer = {"BACKEND": "tests.history.layers.Filed", "CONFIG": {"path": str(path)}}
    return process_with(database, layer, *arguments, ready=ready)


def process_with(database: dict[str, Any], layer: dict[str, Any], *arguments: str, ready: str = "") -> Process:
    environment = {"HISTORY_DATABASE": database, "HISTORY_LAYER": layer, "HISTORY_SETTINGS": SETTINGS}
    return Process(
        *(sys.executable, "-m", "tests.history.working", *arguments),
        ready=ready,
        cwd=ROOT,
        env={name: json.dumps(value) for name, value in environment.items()} | {"HISTORY_LEASE_S": "1.5"},
    )


def until_empty(running: Process) -> None:
    running.wait_for("Sending from the outbox")
    while OutboxMessage.objects.exists():
        assert running._process.poll() is None


POINTS_OF_CI = [
    pytest.param("sqlite", "published"),
    pytest.param("postgresql", "deleted"),
    *(
        pytest.param(database, point, marks=pytest.mark.slow)
        for database in ("sqlite", "postgresql")
        for point in POINTS
    ),
]


@pytest.mark.parametrize(("database", "point"), POINTS_OF_CI, indirect=["database"])
def test_killed_at_every_point(database: Any, point: str, tmp_path: Path) -> None:
    with override_settings(
        FULLDUPLEX=SETTINGS, CHANNEL_LAYERS={"default": {"BACKEND": "tests.history.layers.Recording"}}
    ):
        with transaction.atomic(ALIAS):
            for number in range(COUNT):
                Group("kept.1").send_in_transaction(f"kept {number}")
                Group("plain").send_in_transaction(f"plain {number}")
        path = tmp_path / "published"
        with process(database, path, "outbox", point) as killed:
            assert killed.wait() == -signal.SIGKILL
        assert OutboxMessage.objects.exists() or point == "committed"
        with process(database, path, "outbox", ready="Sending from the outbox") as running:
            until_empty(running)
            assert running.stop() == 0
        start = Group("kept.1").history().position._replace(offset=0)
        kept = [str(message.data) for message in Group("kept.1").history(start).messages]
        assert kept == [f"kept {number}" for number in range(COUNT)]
        plain = [text for _, text in read(path)]
        assert [*dict.fromkeys(plain)] == [f"plain {number}" for number in range(COUNT)]
        assert len(plain) <= 2 * COUNT
        if point in ("claimed", "committed"):
            assert len(plain) == COUNT


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True)
def test_sigterm_ends_it_and_it_wakes_for_what_commits(database: Any, tmp_path: Path) -> None:
    with override_settings(FULLDUPLEX=SETTINGS), process(database, tmp_path / "published", "outbox") as running:
        running.wait_for("Sending from the outbox of the database 'default'")
        with transaction.atomic(ALIAS):
            Group("plain").send_in_transaction("1")
        until_empty(running)
        assert running.stop() == 0
        assert "Stopped: what is left in the outbox is sent later." in running.output
    assert read(tmp_path / "published") == [("plain", "1")]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_what_a_layer_keeps_is_kept_once_however_often_it_was_sent(database: Any) -> None:
    """Killed when all is published and nothing deleted: the next one sends all of it again, with the same keys."""
    group = Group("layered.1")

    def write() -> None:
        with transaction.atomic(ALIAS):
            for number in range(COUNT):
                group.send_in_transaction(str(number))
        connections[ALIAS].close()

    def send() -> None:
        write()
        with process_with(database, layer, "outbox", "published") as killed:
            assert killed.wait() == -signal.SIGKILL
        assert OutboxMessage.objects.count() == COUNT
        with process_with(database, layer, "outbox", ready="Sending from the outbox") as running:
            until_empty(running)
        connections[ALIAS].close()

    with tempfile.TemporaryDirectory(prefix="killed-") as directory:
        layer = {"BACKEND": "fullduplex.layers.local.LocalLayer", "CONFIG": {"directory": directory}}
        with override_settings(FULLDUPLEX=SETTINGS, CHANNEL_LAYERS={"default": layer}):
            hub, member = Hub(), Member()
            await hub.join(group.name, member)
            start = (await group.ahistory()).position
            await asyncio.to_thread(send)
            kept = (await group.ahistory(start)).messages
            assert [message.data for message in kept] == [str(number) for number in range(COUNT)]
            await member.until(COUNT)
            assert member.offsets == [message.position.offset for message in kept]
            await hub.leave(group.name, member)
            await close_layer()

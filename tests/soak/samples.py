"""The figures of the served process, every few seconds, and whether they stay flat."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.clients import resident_bytes
from tests.e2e.process import Process
from tests.layers.servers import Server
from tests.soak.requests import get

WARM_UP = 0.2  # of the run
FIGURES = (
    *("threads", "busy", "resting", "waiting", "connections"),
    *("tasks", "groups", "subscriptions", "files", "sockets", "rss_mb"),
)
FIGURES_OF_SYSTEM = ("rss_mb", "files", "sockets", "system_threads")  # what there is of any process
# How much higher than in the first third after the warm-up the last may be: a share, and so much beside it.
_GROWTH = {"rss_mb": (1.05, 4.0)}
_GROWTH_OF_COUNTS = (1.25, 8.0)


@dataclass(slots=True)
class Samples:
    """Rows of figures; ``files`` are open descriptors, ``sockets`` those of them that are one; -1 where the system does
    not tell."""

    rows: list[dict[str, float]] = field(default_factory=list)

    async def take(self, process: Process, broker: Server | None = None) -> dict[str, float]:
        row: dict[str, float] = json.loads((await get(process.port, "/figures/")).body)
        if broker is not None:
            row["subscriptions"] = len(await asyncio.to_thread(_channels, broker))
        row.pop("pid")
        row.update(of_system(process.pid))
        self.rows.append(row)
        return row

    def thirds(self) -> list[dict[str, float]]:
        """Return the medians of the first, second and last third after the warm-up."""
        rows = self.rows[int(len(self.rows) * WARM_UP) :]
        size = max(1, len(rows) // 3)
        parts = [rows[:size], rows[size : 2 * size], rows[2 * size :]]
        return [{name: statistics.median(row[name] for row in part) for name in rows[0]} for part in parts if part]

    def most(self, name: str) -> float:
        return max(row[name] for row in self.rows)

    def growing(self) -> list[str]:
        """Return the names of the figures that are not flat."""
        first, *_, last = self.thirds()
        names = []
        for name in first:
            share, beside = _GROWTH.get(name, _GROWTH_OF_COUNTS)
            if last[name] > first[name] * share + beside:
                names.append(name)
        return names


def of_system(pid: int) -> dict[str, float]:
    """What the system says of a process."""
    files_count, sockets_count = _files_counts(pid)
    tasks = Path(f"/proc/{pid}/task")
    return {
        "files": files_count,
        "sockets": sockets_count,
        "rss_mb": resident_bytes(pid) / 1e6,
        "system_threads": len(os.listdir(tasks)) if tasks.is_dir() else -1,
    }


def _channels(broker: Server) -> list[Any]:
    with broker.client() as client:
        channels: list[Any] = client.execute_command("PUBSUB", "CHANNELS")
    return channels


def _files_counts(pid: int) -> tuple[int, int]:
    folder = Path(f"/proc/{pid}/fd")
    if not folder.is_dir():
        return -1, -1
    names = []
    for number in os.listdir(folder):
        try:
            names.append(os.readlink(folder / number))
        except FileNotFoundError:
            pass  # closed meanwhile
    return len(names), sum(name.startswith("socket:") for name in names)

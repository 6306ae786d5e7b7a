"""The processes of a service of many workers: the figures of each, and whether they stay flat."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

from tests.e2e.process import Process
from tests.soak.requests import get
from tests.soak.samples import FIGURES_OF_SYSTEM, Samples, of_system

ASKED_COUNT = 200  # at most: which worker answers is chance


class Members:
    """Rows of figures by process: the supervisor, what it has started beside workers, and each worker by its number.

    Args:
        process: the supervisor.
        count: of workers.
    """

    def __init__(self, process: Process, count: int) -> None:
        self._process = process
        self._count = count
        self._names: dict[int, str] = {}
        self.samples: dict[str, Samples] = {}

    async def take(self) -> dict[str, dict[str, float]]:
        """Ask until each worker has answered; look at the others from outside.

        Raises:
            RuntimeError: a worker does not answer, or is another one than before.
        """
        rows: dict[int, dict[str, float]] = {}
        for _ in range(ASKED_COUNT):
            row = json.loads((await get(self._process.port, "/figures/")).body)
            rows[row.pop("pid")] = row
            if len(rows) == self._count:
                break
            await asyncio.sleep(0.01)
        if len(rows) < self._count or (self._names and not {*rows} <= {*self._names}):
            raise RuntimeError(f"workers {sorted(rows)} have answered, and there were {self._names}")
        for pid in sorted(_descendants(self._process.pid)):
            worker_count = sum(name.startswith("worker") for name in self._names.values())
            is_supervisor = pid == self._process.pid
            name = f"worker {worker_count + 1}" if pid in rows else "supervisor" if is_supervisor else _what(pid)
            self._names.setdefault(pid, name)
        taken = {}
        for pid, name in self._names.items():
            taken[name] = {**rows.get(pid, {}), **of_system(pid)}
            self.samples.setdefault(name, Samples()).rows.append(taken[name])
        return taken

    def growing(self) -> list[str]:
        return [f"{figure} of {name}" for name, samples in self.samples.items() for figure in samples.growing()]

    def print(self, quiet: dict[str, dict[str, float]]) -> None:
        """A row for each process: start / middle / end, most; quiet at the end."""
        print(f"\n| process | {' | '.join(FIGURES_OF_SYSTEM)} |\n|---|{'---|' * len(FIGURES_OF_SYSTEM)}")
        for name, samples in self.samples.items():
            cells = []
            for figure in FIGURES_OF_SYSTEM:
                thirds = " / ".join(f"{third[figure]:.1f}".removesuffix(".0") for third in samples.thirds())
                most, last = (
                    f"{value:.1f}".removesuffix(".0") for value in (samples.most(figure), quiet[name][figure])
                )
                cells.append(f"{thirds}, {most}; {last}")
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


def _descendants(pid: int) -> set[int]:
    """A process and what has come of it, as far as it lives (proc_pid_stat(5))."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parents[int(entry)] = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # it has just ended
    found = {pid}
    while new := {child for child, parent in parents.items() if parent in found} - found:
        found |= new
    return found


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _what(pid: int) -> str:
    """Neither the supervisor nor a worker."""
    command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    known = {"server.template": "template", "sequencer": "sequencer of the local layer"}
    return next((name for word, name in known.items() if word in command), f"process {pid}")

"""Tables: as text for the terminal, as Markdown for the documentation."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from bench import cores
from bench.environment import COMPILED, ROOT
from bench.figures import Spread, human, ratios
from bench.load.http import generator_name
from bench.scenario import Measurement, Scenario
from bench.server import Peer

_PACKAGES = (
    *("Django", "asgiref", "uvloop", "httptools", "websockets", "uvicorn", "granian", "hypercorn", "daphne"),
    *("gunicorn", "django-bolt", "channels", "channels_redis", "psycopg", "asyncpg", "django-async-backend"),
)
BUSY = 0.85  # below this share of its core a server was waiting for something


@dataclass
class Table:
    """A scenario and what was measured: for each peer, by name, one measurement per round."""

    scenario: Scenario
    peers: list[Peer]
    measurements: dict[str, list[Measurement]]

    def values(self, peer: Peer, key: str) -> list[float | None]:
        """A figure, round by round; None where the peer failed or lacks it."""
        return [None if one.failed else one.figures.get(key) for one in self.measurements[peer.name]]

    def spread(self, peer: Peer, key: str) -> Spread | None:
        """A figure over all rounds; None when any of them failed: then it is no figure."""
        values = [value for value in self.values(peer, key) if value is not None]
        return Spread.of(values) if values and self.good(peer) else None

    def good(self, peer: Peer) -> bool:
        return not any(one.failed for one in self.measurements[peer.name])

    def ratio(self, peer: Peer) -> Spread | None:
        """Ours / theirs in the first column."""
        ours = next((other for other in self.peers if other.ours), None)
        if ours is None or peer.ours or not self.good(ours) or not self.good(peer):
            return None
        key = self.scenario.columns[0].key
        return ratios(self.values(ours, key), self.values(peer, key))

    def errors(self, peer: Peer) -> int:
        return sum(one.errors for one in self.measurements[peer.name])

    def notes(self, peer: Peer) -> list[str]:
        """What must be known of this row."""
        notes = list(dict.fromkeys(one.note for one in self.measurements[peer.name] if one.note))
        load, server = self.spread(peer, "load_busy"), self.spread(peer, "server_busy")
        if server is not None and server.median < BUSY:
            limit = "the load generator was the limit" if load and load.median > BUSY else "it waited, or was disturbed"
            notes.append(f"used {server.median:.0%} of its core: {limit}")
        return notes


def rows(table: Table) -> tuple[list[str], list[list[str]]]:
    """The headings, and the cells of each peer."""
    first, *others = table.scenario.columns
    goals = table.scenario.goals or table.scenario.own_goal
    headings = ["", first.heading, "min - max", "ours / theirs", *(["goal"] if goals else [])]
    headings += [*(column.heading for column in others), "errors"]
    lines = []
    for peer in table.peers:
        spread = table.spread(peer, first.key)
        cells = [peer.name]
        cells += [human(spread.median), f"{human(spread.low)} - {human(spread.high)}"] if spread else ["failed", ""]
        cells.append(_ratio(table.ratio(peer)))
        if goals:
            cells.append(_goal(table, peer))
        for column in others:
            other = table.spread(peer, column.key)
            cells.append(human(other.median) if other else "")
        lines.append([*cells, str(table.errors(peer))])
    return headings, lines


def _ratio(ratio: Spread | None) -> str:
    return f"{ratio.median:.2f} ({ratio.low:.2f} - {ratio.high:.2f})" if ratio else ""


def _goal(table: Table, peer: Peer) -> str:
    scenario = table.scenario
    if peer.ours:
        goal, figure = scenario.own_goal, table.spread(peer, scenario.columns[0].key)
    else:
        goal, figure = scenario.goals.get(peer.name), table.ratio(peer)
    if goal is None:
        return ""
    if figure is None:
        return f"{goal:g}: not measured"
    reached = figure.median <= goal if scenario.less_is_better else figure.median >= goal
    return f"{goal:g}: {'reached' if reached else 'missed'}"


def text(table: Table) -> str:
    headings, lines = rows(table)
    widths = [max(len(line[column]) for line in [headings, *lines]) for column in range(len(headings))]
    shown = [f"{table.scenario.name}: {table.scenario.title}", table.scenario.about]
    for line in [headings, *lines]:
        cells = [
            cell.ljust(width) if not index else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        shown.append("  ".join(cells).rstrip())
    return "\n".join([*shown, *_notes(table)])


def markdown(table: Table) -> str:
    headings, lines = rows(table)
    shown = [f"## {table.scenario.title}", "", f"`make bench ARGS={table.scenario.name}`: {table.scenario.about}", ""]
    shown.append(f"| {' | '.join(headings)} |")
    shown.append(f"|---|{'---:|' * (len(headings) - 1)}")
    shown += [f"| {' | '.join(line)} |" for line in lines]
    notes = _notes(table)
    return "\n".join([*shown, *([""] if notes else []), *(f"- {note}" for note in notes)])


def _notes(table: Table) -> list[str]:
    return [f"{peer.name}: {note}" for peer in table.peers for note in table.notes(peer)]


def page(machine: Mapping[str, str], tables: Sequence[Table]) -> str:
    """The page of the documentation."""
    return "\n".join(
        [
            "# Benchmarks",
            "",
            "Written by `python -m bench --write-docs`; `make bench` repeats it on your machine, and",
            "`make bench ARGS=hello` one table of it.",
            "",
            "All servers run with one worker on one core, the load generator on another. They are measured in turn,",
            "round after round, each time in a fresh process and after a warm-up. Access logs are off everywhere.",
            "Figures are medians of the rounds. *ours / theirs* compares neighbours in time: the median of the ratios",
            "of each round. Absolute figures say something about this machine on that day; ratios travel better.",
            "Every answer is checked; a server with a wrong or missing answer has no figures. A *floor* is no server,",
            "but a bare loop on uvloop that shows what the machine and the load generator allow at most.",
            "",
            *(f"- {key}: {value}" for key, value in machine.items()),
            "",
            "\n\n".join(markdown(table) for table in tables),
            "",
        ]
    )


def machine(*, seconds: float, rounds: int) -> dict[str, str]:
    """Where and when, with which versions."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in _PACKAGES)
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "fullduplex": f"{metadata.version('fullduplex')}{', compiled' if COMPILED else ''}, commit {commit()}",
        "machine": f"{cpu()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "cores": "server and load generator on one each" if cores.SEPARATE else "shared by server and load generator",
        "load before": ", ".join(f"{load:.2f}" for load in os.getloadavg()),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "versions": versions,
        "HTTP load": generator_name(),
        "rounds": f"{rounds} of {seconds:g} s",
    }


def cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip() or "unknown"

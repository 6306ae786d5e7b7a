"""Four workers beside four of others: ``python -m bench.workers``. How soon they are ready, what they hold, and how
soon one that was killed has a successor.

The same Django project with an admin, each server in turn, round after round, each time in fresh processes.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import random
import re
import signal
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from importlib import metadata

from bench import environment
from bench.environment import ROOT
from bench.figures import human
from bench.server import Peer, Server

COUNT = 4
CLIENTS_COUNT = 16
REPLACED_COUNT = 3  # in each round
SETTLE_S = 1.0
REPLACEMENT_TIMEOUT_S = 60.0
DOCS_FILE = ROOT / "docs" / "reference" / "workers.md"
MARK = "<!-- From here on made by `python -m bench.workers --write-docs`. -->\n\n"
_PACKAGES = ("Django", "uvloop", "uvicorn", "gunicorn", "granian")


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of one server in one round.

    Attributes:
        ready_s: from its start to its fourth worker that says so.
        private_mib: of all its processes, after the requests: what no two of them share.
        pss_mib: the same with what they share, each page once.
        replaced_s: from a worker's end by SIGKILL to the first answer of its successor.
    """

    ready_s: float
    private_mib: float
    pss_mib: float
    replaced_s: float


FIGURES = {
    "ready_s": "ready, s",
    "private_mib": "private memory, MiB",
    "pss_mib": "PSS, MiB",
    "replaced_s": "replaced, s",
}
# Ours divided by theirs, at most.
GOALS: Mapping[str, Mapping[str, float]] = {
    "uvicorn": {"ready_s": 0.5, "private_mib": 0.35, "replaced_s": 0.15},
    "gunicorn gthread --preload (WSGI)": {"private_mib": 1.0},
}
OURS = "fullduplex"


def servers() -> list[tuple[Peer, str]]:
    """Each with what it says in its log of each worker that is ready."""
    django, wsgi = "bench.django_project.asgi_django:application", "bench.django_project.wsgi:application"
    ours = "bench.django_project.asgi_ours:application"
    env = {"BENCH_URLCONF": "bench.django_project.urls_admin"}
    gunicorn = ["gunicorn", wsgi, "--worker-class", "gthread", "--threads", "8", "--config", "bench/gunicorn_ready.py"]

    def peer(name: str, *command: str, address: str = "--port {}") -> Peer:
        return Peer(name, lambda port: [*command, "--workers", str(COUNT), *address.format(port).split()], env=env)

    bind = "--bind 127.0.0.1:{}"
    return [
        (peer(OURS, "fullduplex", ours, "--no-access-log"), r"Worker \d+ \(process \d+\) is ready"),
        (peer("uvicorn", "uvicorn", django, "--no-access-log"), "Application startup complete"),
        (peer("gunicorn gthread (WSGI)", *gunicorn, address=bind), "is ready"),
        (peer("gunicorn gthread --preload (WSGI)", *gunicorn, "--preload", address=bind), "is ready"),
        (
            peer("granian", "granian", django, "--interface", "asgi", "--respawn-failed-workers"),
            r"(?m)Started worker-\d+\s*$",
        ),
    ]


def main() -> int:
    options = _parser().parse_args()
    environment.enter("bench.workers")
    from bench.scenarios.django_project import make_database  # what follows needs the packages of the environment

    make_database()
    chosen = [
        (peer, told) for peer, told in servers() if not options.peer or any(text in peer.name for text in options.peer)
    ]
    rows: dict[str, list[Row]] = {peer.name: [] for peer, _ in chosen}
    for number in range(options.rounds):
        for peer, told in chosen:
            rows[peer.name].append(measure(peer, told, options.requests))
            said = f"bench: round {number + 1} of {options.rounds}: {peer.name}: {rows[peer.name][-1]}"
            print(said, file=sys.stderr, flush=True)
    lines = table(rows)
    print("\n".join(lines))
    if options.write_docs:
        before, _, _ = DOCS_FILE.read_text().partition(MARK)
        DOCS_FILE.write_text(before + MARK + "\n".join([*about(options.rounds, options.requests), "", *lines, ""]))
    return int(any("missed" in line for line in lines))


def measure(peer: Peer, told: str, requests_count: int) -> Row:
    from bench.load import pages

    began_s = time.perf_counter()
    with Server(peer, re.sub(r"\W+", "-", f"workers {peer.name}"), pins=False) as server:
        server.wait_for_lines(told, COUNT)
        ready_s = time.perf_counter() - began_s
        pages.ask_for_pages(server.port, requests_count, CLIENTS_COUNT)
        time.sleep(SETTLE_S)
        private_mib, pss_mib = server.private_kib() / 1024, server.memory_kib() / 1024
        workers = pages.processes(server.port, COUNT)
        replaced_s = []
        # Each once: who dies again and again is started later and later, or never.
        for pid in random.sample(sorted(workers), REPLACED_COUNT):
            os.kill(pid, signal.SIGKILL)
            replaced_s.append(pages.seconds_until_another(server.port, workers, REPLACEMENT_TIMEOUT_S))
            time.sleep(SETTLE_S)
            workers = pages.processes(server.port, COUNT)
        server.check_alive()
    return Row(ready_s, private_mib, pss_mib, statistics.median(replaced_s))


def table(rows: Mapping[str, Sequence[Row]]) -> list[str]:
    """Medians; beside each figure of another its goal, and what it is: ours divided by theirs, round by round."""
    lines = [_line(["", *FIGURES.values()]), _line(["---", *(["---:"] * len(FIGURES))])]
    for name, measured in rows.items():
        cells = [name]
        for figure in (field.name for field in fields(Row)):
            values = [getattr(row, figure) for row in measured]
            cell = f"{human(statistics.median(values))} ({human(min(values))} - {human(max(values))})"
            if name != OURS and OURS in rows:
                pairs = zip((getattr(row, figure) for row in rows[OURS]), values, strict=True)
                ratio = statistics.median(mine / theirs for mine, theirs in pairs)
                goal = GOALS.get(name, {}).get(figure)
                verdict = "" if goal is None else f" of {goal:g}: {'reached' if ratio <= goal else 'missed'}"
                cell += f"; ours is {ratio:.2f}{verdict}"
            cells.append(cell)
        lines.append(_line(cells))
    return lines


def about(rounds: int, requests_count: int) -> list[str]:
    from bench.report import commit, cpu

    versions = [f"Python {platform.python_version()}", *(f"{name} {metadata.version(name)}" for name in _PACKAGES)]
    return [
        f"- date: {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
        f"- fullduplex: {metadata.version('fullduplex')}, commit {commit()}",
        f"- machine: {cpu()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        f"- load before: {', '.join(f'{load:.2f}' for load in os.getloadavg())}",
        f"- versions: {', '.join(versions)}",
        f"- rounds: {rounds}, with {requests_count:,} requests each",
    ]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.workers", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="each server in turn; default 5")
    parser.add_argument("--requests", type=int, default=10_000, metavar="N", help="before memory is measured")
    parser.add_argument("--peer", action="append", metavar="TEXT", help="only servers whose name contains this")
    parser.add_argument("--write-docs", action="store_true", help="write the table to docs/reference/workers.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""What clients can make our server hold: ``python -m bench.worst [KIND ...]``; ``--list`` names the kinds.

For each kind a server of its own, as a process, with the default bounds; only its deadlines are longer, so that all
clients are there at once. Measured is the resident memory of that process, before they come and while they stay, and
how long somebody else waits for a page.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from bench import cores
from bench.environment import ROOT
from bench.figures import human, percentile
from bench.load.patient import KINDS, Clients, Kind
from bench.report import commit, cpu
from bench.server import Peer, Server

PAGE = "/page/"
OPEN_TIMEOUT_S = 120.0
SETTLE_S = 1.0
SETTLE_TIMEOUT_S = 20.0  # who sends without end never settles
GOAL_BYTES = 256 * 1024
GOAL_ALL_BYTES = 400 * 1024 * 1024
GOAL_RATIO = 2.0
WARM_UP_COUNT = 8
# Longer than a measurement takes.
DEADLINES = (
    *("--timeout-keep-alive", "600", "--http1-head-timeout-s", "600", "--http1-first-byte-timeout-s", "600"),
    *(
        "--ws-message-timeout-s",
        "600",
        "--ws-handshake-timeout-s",
        "600",
        "--connection-stalled-write-timeout-s",
        "600",
    ),
    *("--connection-body-grace-s", "600", "--timeout-graceful-shutdown", "0.2"),
)
DOCS_FILE = ROOT / "docs" / "reference" / "memory.md"


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of one kind.

    Attributes:
        received_bytes: taken by the server from all of them.
        held_bytes: how much more memory the server has with them.
        most_bytes: the most memory that the server ever had.
        left_bytes: how much more it has when they are gone.
        quiet_ms, meanwhile_ms, arriving_ms: what a page takes, p99.
        open_count: how many the server has not dropped.
    """

    kind: Kind
    count: int
    received_bytes: int
    held_bytes: int
    most_bytes: int
    left_bytes: int
    quiet_ms: float
    arriving_ms: float
    meanwhile_ms: float
    open_count: int

    @property
    def beside_bytes(self) -> float | None:
        """For each, beside what was received; None where some were dropped, who have left something behind."""
        if self.open_count < self.count:
            return None
        received = self.received_bytes if self.kind.keeps else 0
        return max(0.0, self.held_bytes - received) / self.count

    @property
    def misses(self) -> list[str]:
        misses = []
        if self.beside_bytes is not None and self.beside_bytes > GOAL_BYTES:
            misses.append("memory of each")
        if self.most_bytes > GOAL_ALL_BYTES:
            misses.append("memory of all")
        if self.meanwhile_ms > GOAL_RATIO * self.quiet_ms:
            misses.append("p99")
        return misses

    def cells(self) -> list[str]:
        per = 1024 * self.count
        return [
            self.kind.name,
            self.kind.does,
            f"{self.count:,}" + (f", {self.open_count:,} stay" if self.open_count < self.count else ""),
            f"{human(self.received_bytes / per)}",
            f"{human(self.held_bytes / per)}",
            "-" if self.beside_bytes is None else human(self.beside_bytes / 1024),
            f"{human(self.most_bytes / 2**20)}",
            f"{self.quiet_ms:.1f} / {self.arriving_ms:.1f} / {self.meanwhile_ms:.1f}",
            ", ".join(self.misses) or "reached",
        ]


HEADINGS = [
    *("kind", "each client", "clients", "received of each, KiB", "held for each, KiB", "beside what was received, KiB"),
    *("server at most, MiB", "another's p99, ms: quiet / while they come / while they stay", "goal"),
]


ALIGNMENT = ["---"] * 2 + ["---:"] * 6 + ["---"]
MARK = "<!-- From here on made by `python -m bench.worst --write-docs`. -->\n\n"
_PACKAGES = ("Django", "uvloop", "httptools", "websockets")

Ask = Callable[[], list[float]]


def main() -> int:
    options = _parser().parse_args()
    if options.list:
        print("\n".join(f"{kind.name}: {kind.does}" for kind in KINDS))
        return 0
    kinds = [kind for kind in KINDS if not options.kinds or kind.name.startswith(tuple(options.kinds))]
    cores.pin_load()
    rows = []
    print(_line(HEADINGS), _line(ALIGNMENT), sep="\n", flush=True)
    for kind in kinds:
        rows.append(measure(kind, kind.count or options.count, options.loop, options.seconds))
        print(_line(rows[-1].cells()), flush=True)
    if options.write_docs:
        before, _, _ = DOCS_FILE.read_text().partition(MARK)
        DOCS_FILE.write_text(before + MARK + page(rows, options.loop, options.seconds))
    return int(any(row.misses for row in rows))


def measure(kind: Kind, count: int, loop: str, seconds: float) -> Row:
    command = ["python", "-m", "fullduplex", "bench.apps.patient:application", "--no-access-log", "--loop", loop]
    peer = Peer(
        "fullduplex",
        lambda port: [*command, "--port", str(port), *DEADLINES],
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", "BENCH_HANDSHAKE_TIMEOUT_S": "600"},
    )
    with Server(peer, "worst") as server, _probe(server.port) as ask:
        warm_up = Clients(kind, server.port, WARM_UP_COUNT)
        warm_up.open(5.0)
        warm_up.close()
        time.sleep(SETTLE_S)
        ask()
        time.sleep(seconds)
        quiet_ms = percentile(ask(), 99)
        before_bytes, _ = _memory(server.pid)
        clients = Clients(kind, server.port, count)
        clients.open(OPEN_TIMEOUT_S)
        _settle(clients, server.port)
        arriving_ms = percentile(ask(), 99)
        clients.push(seconds)
        meanwhile_ms = percentile(ask(), 99)
        held_bytes, most_bytes = _memory(server.pid)
        received_bytes = max(0, clients.sent_bytes - _queued_bytes(server.port))
        open_count = clients.open_count()
        clients.close()
        time.sleep(SETTLE_S)
        ask()
        left_bytes, _ = _memory(server.pid)
        server.check_alive()
    return Row(
        kind,
        count,
        received_bytes,
        held_bytes - before_bytes,
        most_bytes,
        left_bytes - before_bytes,
        quiet_ms,
        arriving_ms,
        meanwhile_ms,
        open_count,
    )


def _settle(clients: Clients, port: int) -> None:
    """Wait until the server has taken all that it takes: what a client has sent may wait in the kernel for a while."""
    deadline_s = time.monotonic() + SETTLE_TIMEOUT_S
    before_bytes = -1
    while (queued_bytes := _queued_bytes(port)) != before_bytes and time.monotonic() < deadline_s:
        before_bytes = queued_bytes
        clients.push(SETTLE_S)


@contextmanager
def _probe(port: int) -> Iterator[Ask]:
    """Somebody who asks for a page all the time; the function returns how long each answer has taken since it was
    called last."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.load.probe", str(port), PAGE],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def ask() -> list[float]:
        stdin.write("\n")
        stdin.flush()
        return [float(word) for word in stdout.readline().split()]

    try:
        yield ask
    finally:
        stdin.close()
        process.wait()
        stdout.close()


def _memory(pid: int) -> tuple[int, int]:
    """Resident memory of a process, now and at most."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(lines["VmRSS"].split()[0]) * 1024, int(lines["VmHWM"].split()[0]) * 1024


def _queued_bytes(port: int) -> int:
    """What the kernel holds between the clients and the server's process."""
    total = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, queues, *_ = line.split()
        to_peer, from_peer = (int(size, 16) for size in queues.split(":"))
        if int(local.split(":")[1], 16) == port:
            total += from_peer
        elif int(remote.split(":")[1], 16) == port:
            total += to_peer
    return total


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def page(rows: list[Row], loop: str, seconds: float) -> str:
    """The page of the documentation, from the mark on; what stands before it stays."""
    about = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "fullduplex": f"{metadata.version('fullduplex')}, commit {commit()}",
        "machine": f"{cpu()}, {platform.system()} {platform.release()}",
        "load before": ", ".join(f"{load:.2f}" for load in os.getloadavg()),
        "versions": ", ".join(
            [f"Python {platform.python_version()}", *(f"{name} {metadata.version(name)}" for name in _PACKAGES)]
        ),
        "event loop": loop,
        "p99": f"of {seconds:g} s each",
    }
    lines = [_line(HEADINGS), _line(ALIGNMENT), *(_line(row.cells()) for row in rows)]
    return "\n".join([*(f"- {key}: {value}" for key, value in about.items()), "", *lines, ""])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.worst", description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="beginnings of their names; default: all")
    parser.add_argument("--list", action="store_true", help="print the kinds, and stop")
    parser.add_argument("--count", type=int, default=1_000, metavar="N", help="clients of each kind; default 1,000")
    parser.add_argument("--seconds", type=float, default=3.0, metavar="S", help="of looking at the page; default 3")
    parser.add_argument("--loop", default="auto", choices=["auto", "uvloop", "asyncio"])
    parser.add_argument("--write-docs", action="store_true", help="write the table to docs/reference/memory.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())

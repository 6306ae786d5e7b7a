"""A herd of idle WebSockets, and a restart under it: ``python -m bench.herd``. What each holds, whether all are told of
the restart, and how they come back.

The listening socket is held by this program, as systemd holds it: the service is told to stop (SIGTERM), and when it
has ended, the next one gets the same socket. Clients connect from several addresses of the loopback, in several
processes, since each process has a limited number of descriptors.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from bench import environment
from bench.environment import ROOT
from bench.figures import human
from bench.load.herd import BUCKET_S
from bench.server import Peer, Server

WORKERS_COUNT = 2
PER_CLIENT_COUNT = 9_000  # sockets of one client process
MOST_PER_WORKER_COUNT = 18_500  # of 20,000 descriptors, with those that chance adds
OPEN_TIMEOUT_S = 600.0
BACK_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 120.0
SETTLE_S = 3.0
IDLE_S = 30.0  # longer than from ping to ping
POLL_S = 0.25
GOAL_BACK_S = 30.0
DOCS_FILE = ROOT / "docs" / "reference" / "herd.md"
MARK = "<!-- From here on made by `python -m bench.herd --write-docs`. -->\n\n"
_PACKAGES = ("Django", "channels", "uvloop", "httptools", "websockets", "uvicorn")


@dataclass(slots=True)
class Row:
    """What was measured of one server.

    Attributes:
        kib_per_socket: of all its processes (PSS), with all sockets beside without.
        idle_cpu: what they use of a core while nothing happens but pings.
        opened_per_s: the most handshakes in any second of the first opening, which waits for nothing: what it takes.
        ends: close codes that clients heard; 1006 for none.
        noted: codes that ``disconnect()`` was called with.
        stopped_s, back_s: from SIGTERM to the end of the last process, and until all sockets are there again.
        peak_per_s: the most handshakes in any second of the return.
        failures: of handshakes meanwhile.
    """

    name: str
    count: int
    kib_per_socket: float = 0.0
    idle_cpu: float = 0.0
    opened_per_s: float = 0.0
    ends: Counter[str] = field(default_factory=Counter)
    noted: Counter[str] = field(default_factory=Counter)
    stopped_s: float = 0.0
    back_s: float | None = None
    peak_per_s: float = 0.0
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def misses(self) -> list[str]:
        misses = []
        if self.ends["1012"] < self.count:
            misses.append("not all told 1012")
        if self.noted.total() < self.count:
            misses.append("disconnect() missing")
        if self.back_s is None or self.back_s > GOAL_BACK_S:
            misses.append("not back in 30 s")
        if self.peak_per_s >= self.opened_per_s:
            misses.append("peak")
        return misses

    def cells(self) -> list[str]:
        codes = ", ".join(f"{code}: {count:,}" for code, count in self.ends.most_common())
        failures = ", ".join(f"{why}: {count:,}" for why, count in self.failures.most_common(3))
        return [
            self.name,
            f"{self.count:,}",
            human(self.kib_per_socket),
            f"{self.idle_cpu:.0%}",
            human(self.opened_per_s),
            codes or "none",
            f"{self.noted.total():,}",
            human(self.stopped_s),
            "not all" if self.back_s is None else human(self.back_s),
            human(self.peak_per_s),
            failures or "none",
            ", ".join(self.misses) or "reached",
        ]


HEADINGS = (
    *("", "sockets", "KiB of each", "of a core, idle", "takes, /s", "close codes heard", "disconnect() run"),
    *("stopped after, s", "all back after, s", "peak of the return, /s", "failed attempts meanwhile", "goals"),
)


class Clients:
    """The client processes."""

    def __init__(self, stack: ExitStack, port: int, path: str, count: int) -> None:
        self._processes = []
        for number, left in enumerate(range(count, 0, -PER_CLIENT_COUNT)):
            arguments = [str(port), path, str(min(left, PER_CLIENT_COUNT)), f"127.0.1.{number + 1}"]
            process = subprocess.Popen(
                [sys.executable, "-m", "bench.load.herd", *arguments],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.callback(_end, process)
            self._processes.append(process)
        self.opened: Counter[int] = Counter()
        self.ends: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()

    def look(self) -> int:
        """Take in what has happened; return how many sockets are open."""
        open_count = 0
        for process in self._processes:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            told = json.loads(process.stdout.readline())
            open_count += told["open"]
            self.opened.update({int(bucket): count for bucket, count in told["opened"].items()})
            self.ends.update(told["ends"])
            self.failures.update(told["failures"])
        return open_count

    def wait_for(self, count: int, timeout_s: float) -> bool:
        """Wait until so many are open."""
        deadline_s = time.monotonic() + timeout_s
        while self.look() < count:
            if time.monotonic() > deadline_s:
                return False
            time.sleep(POLL_S)
        return True

    def forget(self) -> None:
        self.opened, self.ends, self.failures = Counter(), Counter(), Counter()

    def most_in_a_second(self) -> float:
        size = round(1 / BUCKET_S)
        return max((sum(self.opened[at + n] for n in range(size)) for at in self.opened), default=0.0)

    def opened_after_s(self, began_s: float) -> float:
        """From then until the last handshake."""
        return (max(self.opened) + 1) * BUCKET_S - began_s


def peers(listener: socket.socket, notes: str) -> dict[str, Peer]:
    fd, common = listener.fileno(), ["--workers", str(WORKERS_COUNT), "--no-access-log", "--log-level", "warning"]
    ours = ["fullduplex", "bench.django_project.asgi_ours:application", "--fd", str(fd)]
    theirs = ["uvicorn", "bench.django_project.asgi_channels:application", "--fd", str(fd), "--ws", "websockets-sansio"]
    env = {"BENCH_HERD_NOTES": notes}
    in_memory = {"BENCH_CHANNEL_LAYER": "channels.layers.InMemoryChannelLayer"}

    def command(words: Sequence[str]) -> Callable[[int], list[str]]:
        return lambda port: [*words, *common]

    return {
        "fullduplex": Peer("fullduplex", command(ours), {**env, "BENCH_URLCONF": "bench.django_project.urls_herd"}),
        "uvicorn": Peer("uvicorn, Channels", command(theirs), {**env, **in_memory}),
    }


def main() -> int:
    options = _parser().parse_args()
    environment.enter("bench.herd")
    from bench.scenarios.django_project import make_database

    make_database()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    rows = []
    for name, count in (("fullduplex", options.count), ("uvicorn", options.uvicorn_count)):
        if count and (not options.peer or options.peer in name):
            rows.append(measure(name, count))
            print(" | ".join(rows[-1].cells()), file=sys.stderr, flush=True)
    lines = [_line(HEADINGS), _line(["---", *(["---:"] * 4), "---", *(["---:"] * 4), "---", "---"])]
    lines += [_line(row.cells()) for row in rows]
    print("\n".join(lines))
    if options.write_docs:
        before, _, _ = DOCS_FILE.read_text().partition(MARK)
        DOCS_FILE.write_text(before + MARK + "\n".join([*about(), "", *lines, ""]))
    return int(any(row.misses for row in rows))


def measure(name: str, count: int) -> Row:
    """One server: all sockets are opened, it is restarted, and all come back."""
    with ExitStack() as stack:
        notes = stack.enter_context(tempfile.NamedTemporaryFile("w+"))
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=4_096))
        listener.set_inheritable(True)
        peer, port = peers(listener, notes.name)[name], listener.getsockname()[1]
        row = Row(peer.name, count)
        before = _start(stack, peer, port)
        warm = stack.enter_context(ExitStack())
        Clients(warm, port, "/idle/", 20).wait_for(20, OPEN_TIMEOUT_S)
        warm.close()
        time.sleep(SETTLE_S)
        os.truncate(notes.name, 0)
        empty_kib = before.memory_kib()
        clients = Clients(stack, port, "/idle/", count)
        if not clients.wait_for(count, OPEN_TIMEOUT_S):
            raise SystemExit(f"bench: {peer.name}: not all sockets open; failures: {clients.failures}")
        row.opened_per_s = clients.most_in_a_second()
        time.sleep(SETTLE_S)
        row.kib_per_socket = (before.memory_kib() - empty_kib) / count
        began_s, used = time.monotonic(), before.cpu()
        time.sleep(IDLE_S)
        row.idle_cpu = (before.cpu() - used).figures(1, time.monotonic() - began_s)["server_busy"]
        clients.look()
        clients.forget()
        stopping_s = time.monotonic()
        os.kill(before.pid, signal.SIGTERM)
        while before.pids() and time.monotonic() < stopping_s + STOP_TIMEOUT_S:
            before.is_running()
            time.sleep(0.02)
        row.stopped_s = time.monotonic() - stopping_s
        _start(stack, peer, port)
        left_s = BACK_TIMEOUT_S - (time.monotonic() - stopping_s)
        if clients.wait_for(count, left_s):
            row.back_s = clients.opened_after_s(stopping_s)
        row.ends, row.failures, row.peak_per_s = clients.ends, clients.failures, clients.most_in_a_second()
        row.noted = Counter(Path(notes.name).read_text().split())
    return row


def _start(stack: ExitStack, peer: Peer, port: int) -> Server:
    return stack.enter_context(Server(peer, f"herd-{peer.name[:7]}", pins=False, port=port))


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def about() -> list[str]:
    from bench.report import commit, cpu

    versions = [f"Python {platform.python_version()}", *(f"{name} {metadata.version(name)}" for name in _PACKAGES)]
    return [
        f"- date: {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
        f"- fullduplex: {metadata.version('fullduplex')}, commit {commit()}",
        f"- machine: {cpu()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, "
        "which has the clients, too",
        f"- load before: {', '.join(f'{load:.2f}' for load in os.getloadavg())}",
        f"- versions: {', '.join(versions)}",
        f"- workers: {WORKERS_COUNT}",
    ]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.herd", description=__doc__.splitlines()[0])
    most = WORKERS_COUNT * MOST_PER_WORKER_COUNT
    parser.add_argument("--count", type=int, default=36_000, metavar="N", help=f"our sockets; here at most {most:,}")
    parser.add_argument("--uvicorn-count", type=int, default=10_000, metavar="N", help="Uvicorn's; 0: leave it out")
    parser.add_argument("--peer", choices=["fullduplex", "uvicorn"], help="only this one")
    parser.add_argument("--write-docs", action="store_true", help="write the table to docs/reference/herd.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())

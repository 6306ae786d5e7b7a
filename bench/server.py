"""A server process under test: start, wait until it answers, what it costs, stop."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from bench import cores
from bench.environment import ROOT, STATE_DIR

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 5.0
LAST_WORDS_COUNT = 300  # characters of its log in an error
MARK = "BENCH_SERVER"
# With the bytecode of our modules, which stand in the work tree, kept as that of installed ones is.
_ENV = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": ""}
_TICKS_PER_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


class ServerFailed(Exception):
    """The server did not start, or died; the message ends with its last words."""


@dataclass(frozen=True)
class Peer:
    """A server with an application: a row of a table.

    Args:
        name: as it stands in the table.
        command: makes the command line for a port; the first word is a program of the environment.
        env: further environment variables.
        ours: this is the row that the others are compared with.
        cores_count: that it is pinned to, where there are more; else the system chooses.
        floor: no peer, but a bare loop that shows what the machine and the load generator can do.
    """

    name: str
    command: Callable[[int], list[str]]
    env: Mapping[str, str] = field(default_factory=dict)
    ours: bool = False
    cores_count: int = 1
    floor: bool = False


@dataclass(frozen=True)
class CPU:
    """Processor time: in the program, and in the kernel on its behalf."""

    user_s: float
    system_s: float

    def __sub__(self, earlier: CPU) -> CPU:
        return CPU(self.user_s - earlier.user_s, self.system_s - earlier.system_s)

    def figures(self, operations: float, elapsed_s: float) -> dict[str, float]:
        """What one operation cost, and how busy the server was."""
        total_s = self.user_s + self.system_s
        return {
            "cpu_us": total_s / operations * 1e6,
            "user_us": self.user_s / operations * 1e6,
            "server_busy": total_s / elapsed_s,
        }


class Server:
    """The running process group of a peer, as a context manager.

    Args:
        peer: to be started.
        log_name: of the file with what it says.
        pins: to one core; else the system chooses.
        port: to wait for; 0 for a free one.
    """

    def __init__(self, peer: Peer, log_name: str, *, pins: bool = True, port: int = 0) -> None:
        self._peer = peer
        self._pin = cores.server_pin(peer.cores_count) if pins else None
        self._mark = f"{MARK}={uuid.uuid4().hex}"
        self._log_file = STATE_DIR / "logs" / f"{log_name}.log"
        self._process: subprocess.Popen[bytes]
        self.port = port

    def __enter__(self) -> Server:
        self.port = self.port or free_port()
        program, *arguments = self._peer.command(self.port)
        path = Path(sys.executable).parent / program
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        with self._log_file.open("wb") as log:
            self._process = subprocess.Popen(
                [str(path), *arguments],
                cwd=ROOT,
                env={**os.environ, **_ENV, **self._peer.env, **self._marked},
                stdin=subprocess.DEVNULL,
                close_fds=False,  # but for those that are to be inherited, ours are closed: PEP 446
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # its workers share its process group, and end with it
                preexec_fn=self._pin,
            )
        try:
            self._wait_for_port()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()

    @property
    def _marked(self) -> dict[str, str]:
        """In the environment of all its processes, also of those in a group of their own: the sequencer."""
        return dict([self._mark.split("=")])

    @property
    def name(self) -> str:
        return self._peer.name

    @property
    def pid(self) -> int:
        return self._process.pid

    def cpu(self) -> CPU:
        """Processor time that the server's processes have used so far."""
        stats = list(self._stats())
        user, system = (sum(int(stat[index]) for stat in stats) for index in (11, 12))  # utime, stime: proc(5)
        return CPU(user / _TICKS_PER_S, system / _TICKS_PER_S)

    def memory_kib(self) -> float:
        """Memory of the server's processes in KiB: PSS, where pages shared by n processes count 1/n."""
        return sum(_rollup_kib(int(stat[-1]), "Pss:") for stat in self._stats())

    def private_kib(self) -> float:
        """Memory of the server's processes that each has for itself."""
        return sum(_rollup_kib(int(stat[-1]), "Private_Clean:", "Private_Dirty:") for stat in self._stats())

    def pids(self) -> set[int]:
        """Its processes."""
        return {int(stat[-1]) for stat in self._stats()}

    def wait_for_lines(self, pattern: str, count: int) -> None:
        """Wait until so many lines of its log match.

        Raises:
            ServerFailed: they do not come.
        """
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while len(re.findall(pattern, self._log_file.read_text(errors="replace"))) < count:
            self.check_alive()
            if time.monotonic() > deadline_s:
                raise ServerFailed(f"does not say {pattern} {count} times: {self.last_words()}")
            time.sleep(0.002)

    def is_running(self) -> bool:
        """Whether its first process runs; one that has ended is buried."""
        return self._process.poll() is None

    def check_alive(self) -> None:
        """Raises ServerFailed when the process has ended."""
        if self._process.poll() is not None:
            raise ServerFailed(f"ended with status {self._process.returncode}: {self.last_words()}")

    def last_words(self) -> str:
        lines = self._log_file.read_text(errors="replace").strip().splitlines()
        return " | ".join(line.strip() for line in lines[-3:])[-LAST_WORDS_COUNT:] or "it said nothing"

    def _wait_for_port(self) -> None:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline_s:
            self.check_alive()
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise ServerFailed(f"does not listen after {START_TIMEOUT_S:.0f} s: {self.last_words()}")

    def _stats(self) -> Iterator[list[str]]:
        """For each process of the server: the fields of /proc/PID/stat from the third on, and the PID."""
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has just ended
            if int(fields[2]) == self._process.pid or _holds(entry / "environ", self._mark):
                yield [*fields, entry.name]


def _holds(file: Path, text: str) -> bool:
    try:
        return text.encode() in file.read_bytes().split(b"\0")
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _rollup_kib(pid: int, *names: str) -> float:
    """The sum of some lines of proc_pid_smaps_rollup(5)."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    return sum(float(line.split()[1]) for line in rollup.splitlines() if line.startswith(names))

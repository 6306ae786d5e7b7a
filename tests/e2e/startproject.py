"""An ordinary `django-admin startproject` project, and real processes that serve it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType

import httpx
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

BIN = Path(sys.executable).parent
START_TIMEOUT_S = 30.0
WAIT_TIMEOUT_S = 10.0

# Warnings are errors in the processes, too; but subprocess.run, with which Django's reloader waits, leaves a
# child behind that has not ended 0.25 s after Ctrl-C.
WARNINGS = "error,ignore:subprocess:ResourceWarning"

_ADDRESS = re.compile(r"http://(?:127\.0\.0\.1|\[::1\]):(\d+)")


class Project:
    """The directory of a project called ``mysite``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path) -> Project:
        """What a newcomer types, the line in INSTALLED_APPS, and the database."""
        path.mkdir()
        run([BIN / "django-admin", "startproject", "mysite", "."], path)
        project = cls(path)
        project.replace("settings.py", "INSTALLED_APPS = [\n", 'INSTALLED_APPS = [\n    "fullduplex",\n')
        run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], path)
        return project

    def copy(self, path: Path) -> Project:
        shutil.copytree(self.path, path)
        return Project(path)

    def write(self, name: str, text: str) -> None:
        (self.path / "mysite" / name).write_text(text)

    def replace(self, name: str, old: str, new: str) -> None:
        file = self.path / "mysite" / name
        text = file.read_text()
        assert old in text, f"{name} no longer has {old!r}"
        file.write_text(text.replace(old, new))

    def setting(self, line: str) -> None:
        with (self.path / "mysite" / "settings.py").open("a") as settings:
            settings.write(f"\n{line}\n")

    def runserver(self, *arguments: str, reload: bool = False, env: dict[str, str] | None = None) -> Server:
        """``manage.py runserver``; without another address on a free port."""
        address = () if any(argument[0] != "-" for argument in arguments) else ("0",)
        noreload = () if reload else ("--noreload",)
        return self.manage("runserver", *address, *arguments, *noreload, env=env)

    def manage(self, *arguments: str, env: dict[str, str] | None = None) -> Server:
        return Server([sys.executable, "manage.py", *arguments], self.path, env)

    def fullduplex(self, *arguments: str, env: dict[str, str] | None = None) -> Server:
        """The ``fullduplex`` command, as it is installed."""
        return Server([str(BIN / "fullduplex"), *arguments], self.path, env)


class Server:
    """A process in a process group of its own, as a terminal starts it, with its output.

    Leaving the context kills the whole group.
    """

    def __init__(self, command: list[str], directory: Path, env: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            command,
            cwd=directory,
            env=environment(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._chunks: list[bytes] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self._reader.join()
        assert self.process.stdin is not None
        self.process.stdin.close()
        if error is not None:
            error.add_note(f"The output of {self.process.args!r}:\n{self.output}")

    @property
    def output(self) -> str:
        return b"".join(self._chunks).decode()

    @property
    def port(self) -> int:
        """The port it listens on, from its start-up lines."""
        return int(self.wait_for(_ADDRESS, START_TIMEOUT_S).group(1))

    def get(self, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", headers=headers, timeout=WAIT_TIMEOUT_S)

    def websocket(self, path: str) -> ClientConnection:
        """What ``new WebSocket(...)`` does, with the Origin that a page of this server has."""
        host = f"127.0.0.1:{self.port}"
        return connect(f"ws://{host}{path}", origin=Origin(f"http://{host}"), open_timeout=WAIT_TIMEOUT_S, proxy=None)

    def wait_for(self, text: str | re.Pattern[str], timeout_s: float = WAIT_TIMEOUT_S, after: int = 0) -> re.Match[str]:
        """Wait for output, from the character ``after`` on, in which a text or a pattern is found."""
        pattern = re.compile(re.escape(text)) if isinstance(text, str) else text
        deadline_s = time.monotonic() + timeout_s
        while True:
            ended = self.process.poll() is not None and not self._reader.is_alive()
            if match := pattern.search(self.output, after):
                return match
            assert not ended, f"it ended with {self.process.returncode}, without {pattern.pattern!r}"
            assert time.monotonic() < deadline_s, f"no {pattern.pattern!r} within {timeout_s} s"
            time.sleep(0.02)

    def interrupt(self) -> None:
        """Ctrl-C: the terminal signals the whole group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def wait(self, timeout_s: float = WAIT_TIMEOUT_S) -> int:
        """Wait for the end and return the exit status."""
        status = self.process.wait(timeout_s)
        self._reader.join(timeout_s)
        return status

    def type(self, text: str) -> None:
        """Type on its terminal."""
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stdout:
            while chunk := os.read(stdout.fileno(), 65_536):
                self._chunks.append(chunk)


def run(command: list[object], directory: Path) -> None:
    subprocess.run([str(part) for part in command], cwd=directory, env=environment(), check=True, timeout=60)


def environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """Ours without what pytest-django put there."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "FULLDUPLEX_"))}
    return {**inherited, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": WARNINGS, "NO_PROXY": "*", **(extra or {})}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def listens_on_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False

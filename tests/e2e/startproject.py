"""An ordinary `django-admin startproject` project, and real processes that serve it."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import httpx
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from tests.e2e.process import START_TIMEOUT_S, WAIT_TIMEOUT_S, Process, environment

BIN = Path(sys.executable).parent

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


class Server(Process):
    """The server of a project. Leaving its context kills the whole group: a reloader has a child."""

    def __init__(self, command: list[str], directory: Path, env: dict[str, str] | None = None) -> None:
        super().__init__(*command, ready="", cwd=directory, env={"PYTHONWARNINGS": WARNINGS, **(env or {})})

    def __enter__(self) -> Server:
        super().__enter__()
        return self

    def end(self) -> None:
        self.kill()

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


def run(command: list[object], directory: Path) -> None:
    env = environment({"PYTHONWARNINGS": WARNINGS})
    subprocess.run([str(part) for part in command], cwd=directory, env=env, check=True, timeout=120)


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

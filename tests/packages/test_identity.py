"""Public packages that rely on what Django promises a request: one thread, and so one connection to each database.

Django's handler enters a ``ThreadSensitiveContext`` for each request. A thread-local, or an attribute of a connection,
that a middleware sets is what the view finds, and nobody else does, however many requests are answered at once.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from tests.e2e.process import ROOT, WAIT_TIMEOUT_S, Process, environment, fullduplex
from tests.packages.postgresql import PostgreSQL, server

pytestmark = pytest.mark.e2e

CLIENTS_COUNT = 64
ROUNDS_COUNT = 2
STEPS_COUNT = 2
NOTES_COUNT = 1 + 2 * STEPS_COUNT + 2 * (1 + STEPS_COUNT)  # of the four views together
STYLE = "p { color: blue }"
APP = "tests.packages.asgi:application"

Wrong = tuple[str, str, int, object]  # what was asked, by whom, the status and the text or the names


@dataclass(frozen=True)
class Package:
    """A package, and how long its middleware's work lasts."""

    name: str
    until_response: bool = False  # what is streamed after it must be signed by hand
    static: bool = False


PACKAGES = [
    Package("threadlocals"),
    Package("crum", until_response=True),
    Package("multidb"),
    Package("auditlog", until_response=True),
    Package("simple_history", until_response=True),
    Package("tenants"),
    Package("servestatic", static=True),
    Package("whitenoise", static=True),
]


@dataclass(frozen=True)
class Stack:
    """What the project runs on. With Django's own handler the tests show that they ask for no more than it gives."""

    server: str
    handler: str
    fast: bool = True

    def __str__(self) -> str:
        return f"{self.handler}{'' if self.fast else '_slow'}_on_{self.server}"


STACKS = [
    Stack("fullduplex", "fullduplex"),
    *(
        pytest.param(stack, marks=pytest.mark.slow)
        for stack in (
            Stack("fullduplex", "fullduplex", fast=False),
            Stack("uvicorn", "fullduplex"),
            Stack("uvicorn", "fullduplex", fast=False),
            Stack("uvicorn", "django"),
        )
    ),
]


@dataclass(frozen=True)
class Client:
    """Somebody whom the package can tell from others, by the fields of the request."""

    name: str
    headers: dict[str, str]


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    with server(max_connections=3 * CLIENTS_COUNT) as postgresql:
        yield postgresql


@pytest.mark.parametrize("stack", STACKS, ids=str)
@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_everybody_is_taken_for_themselves(
    package: Package, stack: Stack, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    env = {
        "DJANGO_SETTINGS_MODULE": "tests.packages.settings",
        "PACKAGE": package.name,
        "HANDLER": stack.handler,
        "FAST": "yes" if stack.fast else "no",
        "FOLDER": str(tmp_path),
    }
    if package.name == "tenants":
        postgresql: PostgreSQL = request.getfixturevalue("postgresql")
        database = f"tenants_{stack}"
        postgresql.database(database)
        env |= {"POSTGRESQL": postgresql.host, "DATABASE": database}
    if package.static:
        (tmp_path / "static").mkdir()
        (tmp_path / "static" / "page.css").write_text(STYLE)
    clients = prepare(env)
    with serve(stack, env) as process:
        barrier = threading.Barrier(CLIENTS_COUNT, timeout=WAIT_TIMEOUT_S)
        with ThreadPoolExecutor(CLIENTS_COUNT) as pool:
            visits = [pool.submit(visit, process.port, package, client, barrier) for client in clients]
        wrong = [answer for found in visits for answer in found.result()]
        counts = Counter(kind for kind, *_ in wrong)
        assert not wrong, f"{dict(counts)} of {CLIENTS_COUNT * ROUNDS_COUNT} each; the first: {wrong[:5]}"
        with connect(process.port) as connection:
            status, text = get(connection, "/report/", clients[0])
        assert status == 200
        notes = json.loads(text)
        assert len(notes) == CLIENTS_COUNT * ROUNDS_COUNT * NOTES_COUNT
        assert [note for note in notes if note[0] != note[1]] == []


def prepare(env: dict[str, str]) -> list[Client]:
    """Make the project's database."""
    command = [sys.executable, "-m", "tests.packages.prepare", str(CLIENTS_COUNT)]
    run = subprocess.run(command, cwd=ROOT, env=environment(env), check=True, stdout=subprocess.PIPE, timeout=120)
    return [Client(*fields) for fields in json.loads(run.stdout)]


def serve(stack: Stack, env: dict[str, str]) -> Process:
    if stack.server == "fullduplex":
        return fullduplex(APP, "--no-access-log", app_dir=ROOT, env=env)
    command = (sys.executable, "-m", stack.server, APP, "--port", "0", "--no-access-log")
    return Process(*command, ready=r"running on (http://\S+)", cwd=ROOT, env=env)


def visit(port: int, package: Package, client: Client, barrier: threading.Barrier) -> list[Wrong]:
    """Ask for everything, at the same time as everybody else; return what was wrong."""
    me = client.name
    after = "" if package.until_response else me
    streamed = [after, *[me] * STEPS_COUNT]
    asked = {
        "sync": [me],
        "async": [me] * 2 * STEPS_COUNT,
        "sync-stream": streamed,
        "async-stream": streamed,
    }
    wrong: list[Wrong] = []
    with connect(port) as connection:
        for _ in range(ROUNDS_COUNT):
            barrier.wait()
            for kind, names in asked.items():
                status, text = get(connection, f"/{kind}/?me={me}&after={after}&steps={STEPS_COUNT}", client)
                found = parse(text) if status == 200 else text
                if found != names:
                    wrong.append((kind, me, status, found))
            if package.static:
                status, text = get(connection, "/static/page.css", client)
                if (status, text) != (200, STYLE):
                    wrong.append(("static", me, status, text))
    return wrong


def parse(text: str) -> object:
    """The names of an answer: a list in JSON, or a string in each line; what is neither, as it is."""
    try:
        values = [json.loads(line) for line in text.splitlines()]
    except ValueError:
        return text
    return values[0] if values and isinstance(values[0], list) else values


def connect(port: int) -> closing[HTTPConnection]:
    return closing(HTTPConnection("127.0.0.1", port, timeout=WAIT_TIMEOUT_S))


def get(connection: HTTPConnection, path: str, client: Client) -> tuple[int, str]:
    """Status and text; 0 where there was no answer."""
    try:
        connection.request("GET", path, headers=client.headers)
        response = connection.getresponse()
        return response.status, response.read().decode()
    except (OSError, HTTPException) as error:
        connection.close()
        return 0, repr(error)

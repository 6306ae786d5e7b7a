"""What error trackers, toolbars and log contexts record under our handler is what they record under Django's own.

The same requests are made to two servers: Uvicorn with Django's handler is the reference. Each request says who makes
it; its records must be those of the reference, and name nobody else.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection, IncompleteRead
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect as open_socket

from tests.e2e.process import ROOT, WAIT_TIMEOUT_S, Process, environment, fullduplex
from tests.observers import journal
from tests.observers.records import Records, differences, recorded, strangers

pytestmark = pytest.mark.e2e

APP = "tests.observers.asgi:application"
SOCKETS_COUNT = 20
TOOLBAR = re.compile(r"<(link|div|script|template).*", re.DOTALL)


@dataclass(frozen=True)
class Kind:
    """A kind of request.

    Attributes:
        path: with ``{who}`` where the route has a parameter.
        waits_in_thread: the view is sync: only so many wait for each other as threads run at once.
    """

    path: str
    waits_in_thread: bool = False
    method: str = "GET"
    content_type: str = ""
    body: str = ""


FORM, JSON = "application/x-www-form-urlencoded", "application/json"
KINDS = [
    Kind("/sync/", True),
    Kind("/async/{who}/"),
    Kind("/class/"),
    Kind("/template/", True),
    Kind("/sync-stream/", True),
    Kind("/async-stream/"),
    Kind("/broken-stream/"),
    Kind("/sync-error/", True),
    Kind("/async-error/"),
    Kind("/class-error/"),
    Kind("/sync-post/", True, "POST", FORM, "text=of+{who}"),
    Kind("/async-post/", False, "POST", JSON, '{{"text": "of {who}"}}'),
    Kind("/async-post-error/", False, "POST", JSON, '{{"text": "of {who}"}}'),
    Kind("/missing/"),
]
IN_THREAD_COUNT = 10  # at most; FULLDUPLEX["THREADS_COUNT"] is 16


@dataclass(frozen=True)
class Observer:
    """A package.

    Attributes:
        name: that of its module here, without ``with_``.
        module: its own.
        env: what the site's environment has beside the usual.
        has_report: the site shows what it has recorded; the others write to the journal.
        clients_count: how many ask at once.
    """

    name: str
    module: str
    clients_count: int = 50
    has_report: bool = False
    env: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return "_".join([self.name, str(self.clients_count), *self.env])


OBSERVERS = [
    Observer("sentry", "sentry_sdk", clients_count=20),
    pytest.param(Observer("sentry", "sentry_sdk"), marks=pytest.mark.slow),
    pytest.param(Observer("sentry", "sentry_sdk", env={"SPANS": "yes"}), marks=pytest.mark.slow),
    Observer("toolbar", "debug_toolbar", clients_count=16, has_report=True),
    Observer("silk", "silk", clients_count=10, has_report=True),
    pytest.param(Observer("silk", "silk", has_report=True), marks=pytest.mark.slow),
    Observer("structlog", "django_structlog"),
    Observer("guid", "django_guid"),
]


@dataclass(frozen=True)
class Stack:
    """What the site runs on."""

    server: str
    handler: str
    fast: bool = True

    def __str__(self) -> str:
        return f"{self.handler}{'' if self.fast else '_slow'}_on_{self.server}"


REFERENCE = Stack("uvicorn", "django")
STACKS = [
    Stack("fullduplex", "fullduplex"),
    *(
        pytest.param(stack, marks=pytest.mark.slow)
        for stack in (
            Stack("fullduplex", "fullduplex", fast=False),
            Stack("uvicorn", "fullduplex"),
            Stack("uvicorn", "fullduplex", fast=False),
        )
    ),
]


@pytest.mark.parametrize("stack", STACKS, ids=str)
@pytest.mark.parametrize("observer", OBSERVERS, ids=str)
def test_the_records_are_those_of_djangos_handler(observer: Observer, stack: Stack, tmp_path: Path) -> None:
    if find_spec(observer.module) is None:
        pytest.skip(f"{observer.module} cannot be installed beside this Django")
    folders = tmp_path / "reference", tmp_path / "ours"
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(run, observer, *where) for where in zip((REFERENCE, stack), folders, strict=True)]
    (expected_answers, expected), (answers, records) = (run.result() for run in runs)
    assert expected, "the reference has recorded nothing"
    assert strangers(expected) == {}, "the package itself mixes requests up, or the test does"
    assert differences(expected_answers, answers) == {}
    assert strangers(records) == {}
    assert differences(expected, records) == {}


@pytest.mark.parametrize("stack", [STACKS[0]], ids=str)
def test_each_error_of_a_socket_is_told_once_and_by_its_own_name(stack: Stack, tmp_path: Path) -> None:
    observer = Observer("sentry", "sentry_sdk")
    cookies = prepare(observer, stack, tmp_path)
    users = list(cookies)[:SOCKETS_COUNT]
    barrier = threading.Barrier(SOCKETS_COUNT, timeout=WAIT_TIMEOUT_S)
    with serve(observer, stack, tmp_path) as process:

        def talk(who: str) -> str:
            place = f"127.0.0.1:{process.port}"
            url = f"ws://{place}/socket/{who}/?who={who}&together={SOCKETS_COUNT}"
            headers = {"Cookie": cookies[who], "Origin": f"http://{place}"}
            barrier.wait()
            with open_socket(url, additional_headers=headers, proxy=None) as socket:
                return str(socket.recv(WAIT_TIMEOUT_S))

        with ThreadPoolExecutor(SOCKETS_COUNT) as pool:
            assert list(pool.map(talk, users)) == users
        port = process.port
    records = recorded("sentry", journal.read(tmp_path), port)
    assert strangers(records) == {}
    assert {who for _, who in records} >= set(users)
    for who in users:
        lines = records[f"/socket/{who}/", who]
        assert len([line for line in lines if f"{who} meets an error" in line]) == 1, lines
        for expected in (f'tag who = \\"{who}', f'username\\": \\"{who}', 'transaction = \\"/socket/{name}/'):
            assert any(expected in line for line in lines), (expected, lines)


def run(observer: Observer, stack: Stack, folder: Path) -> tuple[Records, Records]:
    """Serve the site, and make each request alone and then with others at the same time."""
    folder.mkdir()
    cookies = prepare(observer, stack, folder)
    answers: Records = {}
    with serve(observer, stack, folder) as process:
        port = process.port
        alone, *others = cookies
        answers |= ask(port, alone, cookies[alone], None)
        barrier = threading.Barrier(len(others), timeout=WAIT_TIMEOUT_S)
        with ThreadPoolExecutor(len(others)) as pool:
            for found in pool.map(lambda who: ask(port, who, cookies[who], barrier), others):
                answers |= found
        records = report(port) if observer.has_report else []
    return answers, recorded(observer.name, records or journal.read(folder), port)


def prepare(observer: Observer, stack: Stack, folder: Path) -> dict[str, str]:
    """Make the site's database; return the cookie of each user: one asks alone, the others at once."""
    command = [sys.executable, "-m", "tests.observers.prepare", str(1 + observer.clients_count)]
    env = environment(variables(observer, stack, folder))
    run = subprocess.run(command, cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE, timeout=120)
    return dict(json.loads(run.stdout))


def variables(observer: Observer, stack: Stack, folder: Path) -> dict[str, str]:
    return {
        "DJANGO_SETTINGS_MODULE": "tests.observers.settings",
        "OBSERVER": observer.name,
        "HANDLER": stack.handler,
        "FAST": "yes" if stack.fast else "no",
        "FOLDER": str(folder),
        **observer.env,
    }


def serve(observer: Observer, stack: Stack, folder: Path) -> Process:
    env = variables(observer, stack, folder)
    if stack.server == "fullduplex":
        return fullduplex(APP, "--no-access-log", app_dir=ROOT, env=env)
    command = (sys.executable, "-m", stack.server, APP, "--port", "0", "--no-access-log")
    return Process(*command, ready=r"running on (http://\S+)", cwd=ROOT, env=env)


def ask(port: int, who: str, cookie: str, barrier: threading.Barrier | None) -> Records:
    """Make a request of each kind, each at the same time as everybody else."""
    answers: Records = {}
    with connect(port) as connection:
        for kind in KINDS:
            together = 1
            if barrier is not None:
                barrier.wait()
                together = in_thread_count(barrier.parties) if kind.waits_in_thread else barrier.parties
            path = kind.path.format(who=who)
            headers = {"Cookie": cookie, "X-Request-ID": f"{path}|{who}", "User-Agent": who}
            if kind.content_type:
                headers["Content-Type"] = kind.content_type
            body = kind.body.format(who=who) or None
            connection.request(kind.method, f"{path}?who={who}&together={together}", body, headers)
            answers[path, who] = answer(connection)
    return answers


def in_thread_count(parties: int) -> int:
    """How many sync views wait for each other, so that nobody is left over."""
    return next(count for count in range(IN_THREAD_COUNT, 0, -1) if parties % count == 0)


def answer(connection: HTTPConnection) -> list[str]:
    """Status, the field that a package has added, and the text without the toolbar, as far as it came."""
    response = connection.getresponse()
    try:
        text = response.read().decode()
    except IncompleteRead as error:
        text = f"{error.partial.decode()} cut off"
        connection.close()
    return [str(response.status), response.getheader("X-Request-ID", ""), TOOLBAR.sub("", text)]


def report(port: int) -> list[dict[str, Any]]:
    with connect(port) as connection:
        connection.request("GET", "/report/")
        response = connection.getresponse()
        text = response.read()
    assert response.status == 200, text
    return list(json.loads(text))


def connect(port: int) -> closing[HTTPConnection]:
    return closing(HTTPConnection("127.0.0.1", port, timeout=WAIT_TIMEOUT_S))

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
from contextlib import closing, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, IncompleteRead
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect as open_socket

from tests.e2e.process import ROOT, WAIT_TIMEOUT_S, Process, environment, fullduplex
from tests.observers import journal
from tests.observers.records import Records, differences, recorded, strangers

pytestmark = pytest.mark.e2e

APP = "tests.observers.asgi:application"
MESSAGES = ["first", "second"]
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
    skip_without(observer)
    folders = tmp_path / "reference", tmp_path / "ours"
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(run, observer, *where) for where in zip((REFERENCE, stack), folders, strict=True)]
    (expected_answers, expected), (answers, records) = (run.result() for run in runs)
    assert expected, "the reference has recorded nothing"
    assert strangers(expected) == {}, "the package itself mixes requests up, or the test does"
    assert differences(expected_answers, answers) == {}
    assert strangers(records) == {}
    assert differences(expected, records) == {}


# What is recorded of a socket whose view fails after its accept: texts, and how many lines have them.
SOCKETS = [
    (
        Observer("sentry", "sentry_sdk", env={"RECIPE": "sentry-sdk"}),
        {
            'error: exception ["ValueError", "NAME meets an error"': 1,
            'error: transaction = "socket/<str:name>/"': 1,
            'error: request url = "/socket/NAME/"': 1,
            'error: user = {"email": "", "id": "NUMBER", "username": "NAME"}': 1,
            'error: tag who = "NAME"': 1,
            'transaction: transaction = "socket/<str:name>/"': 1,
            'transaction: trace op = "websocket.server"': 1,
            'transaction: trace status = "internal_error"': 1,
            'transaction: user = {"email": "", "id": "NUMBER", "username": "NAME"}': 1,
            'transaction: span ["mark", "NAME"': 1,
        },
    ),
    (Observer("toolbar", "debug_toolbar", has_report=True), {"status_code = 101": 1, "query = ": 0}),
    (
        Observer("silk", "silk", has_report=True),
        {"status = 101": 1, "view = tests.observers.sockets.broken": 1, "queries_count = 0": 1},
    ),
    (
        Observer("structlog", "django_structlog"),
        {
            '"event": "request_started"': 1,
            '"code": 101, "event": "request_finished"': 1,
            '"event": "marked"': 1,
            '"event": "request_failed", "exception": [["ValueError", "NAME meets an error"]]': 1,
            '"user_id": NUMBER': 4,
        },
    ),
    (
        Observer("guid", "django_guid"),
        {'"logger": "site", "message": "NAME is marked"': 1, "ValueError('NAME meets an error')": 1},
    ),
]


@pytest.mark.parametrize("stack", STACKS, ids=str)
@pytest.mark.parametrize(("observer", "told"), SOCKETS, ids=[observer.name for observer, _ in SOCKETS])
def test_each_socket_is_recorded_by_itself(
    observer: Observer, told: dict[str, int], stack: Stack, tmp_path: Path
) -> None:
    """As ``docs/howto/observe.md`` says: what it tells a project to do is done here."""
    skip_without(observer)
    records = records_of_sockets(observer, stack, tmp_path, "socket/{who}/")
    alone = records[0]
    assert {text: sum(text in line for line in alone) for text in told} == told, "\n".join(alone)
    for number, lines in enumerate(records):
        assert lines == alone, number


def test_each_message_is_a_transaction(tmp_path: Path) -> None:
    observer = Observer("sentry", "sentry_sdk", env={"RECIPE": "sentry-sdk, A transaction for each message"})
    told = {
        'transaction: transaction = "room/<str:name>/"': len(MESSAGES),
        'transaction: trace op = "websocket.message"': len(MESSAGES),
        'transaction: user = {"id": "NUMBER"}': len(MESSAGES),
        "error: ": 0,
    }
    records = records_of_sockets(observer, STACKS[0], tmp_path, "room/{who}/")
    assert {text: sum(text in line for line in records[0]) for text in told} == told, "\n".join(records[0])
    for number, lines in enumerate(records):
        assert lines == records[0], number


def records_of_sockets(observer: Observer, stack: Stack, folder: Path, path: str) -> list[list[str]]:
    """Open one socket, then many at once, and return what is recorded of each, without names and numbers.

    Nor what the server itself says of its connections, which Sentry shows as breadcrumbs.
    """
    cookies = prepare(observer, stack, folder)
    alone, *others = cookies
    barrier = threading.Barrier(len(others), timeout=WAIT_TIMEOUT_S)
    with serve(observer, stack, folder) as process:
        port = process.port
        talk(port, path, alone, cookies[alone], 1)
        with ThreadPoolExecutor(len(others)) as pool:
            list(pool.map(lambda who: talk(port, path, who, cookies[who], len(others), barrier), others))
        shown = report(port) if observer.has_report else []
    records = recorded(observer.name, shown or journal.read(folder), port)
    assert strangers(records) == {}
    return [
        sorted(
            anonymous(line, who, number)
            for line in records[f"/{path.format(who=who)}", who]
            if "breadcrumb uvicorn." not in line
        )
        for number, who in enumerate(cookies, 1)
    ]


def talk(port: int, path: str, who: str, cookie: str, together: int, barrier: threading.Barrier | None = None) -> None:
    """Open a socket, say something twice, and listen to the end of the view; a view that echoes is left."""
    place, path = f"127.0.0.1:{port}", path.format(who=who)
    headers = {"Cookie": cookie, "Origin": f"http://{place}", "X-Request-ID": f"/{path}|{who}"}
    url = f"ws://{place}/{path}?who={who}&together={together}"
    if barrier is not None:
        barrier.wait()
    with (
        open_socket(url, additional_headers=headers, proxy=None, open_timeout=WAIT_TIMEOUT_S) as socket,
        suppress(ConnectionClosedError),
    ):
        for message in MESSAGES:
            socket.send(message)
            assert socket.recv(WAIT_TIMEOUT_S) in (message, who)


def anonymous(line: str, who: str, number: int) -> str:
    """The line without what tells one socket from another; an id of somebody else stays."""
    line = line.replace('\\"', '"').replace(who, "NAME")
    line = re.sub(rf'(id": "?){number}\b', r"\1NUMBER", line)
    return re.sub(r'together=\d+|"together": "\d+"|"Sec-Websocket-Key": "[^"]+"', "", line)


def skip_without(observer: Observer) -> None:
    if find_spec(observer.module) is None:
        pytest.skip(f"{observer.module} cannot be installed beside this Django")


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

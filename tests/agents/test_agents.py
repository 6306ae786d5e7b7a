"""Tracers and APM agents record under our handler what they record under Django's own.

The same site is served by Uvicorn with Django's handler and by ours, and both are asked for the same: pages of every
kind, alone and many at once, each with its own name, user and trace. The two must have recorded the same of each
request: name, route, status, user, parents, errors, and nothing of another one. Django's handler has no sockets:
of many at once each must be recorded as the one that was alone.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from tests.agents.people import session_of
from tests.e2e.process import ROOT, WAIT_TIMEOUT_S, Process

pytestmark = pytest.mark.e2e

APP = "tests.agents.asgi:application"
SOCKETS_COUNT = 50

Record = dict[str, Any]
Found = Counter[str]  # of records, as JSON


@dataclass(frozen=True)
class Agent:
    """A package, and the environment in which it keeps to itself.

    Attributes:
        socket: a text in the one record that is a socket's, with its view; empty: it has no eyes for sockets.
        errors: a text in the record of an error that it sees in a socket; empty: it sees none after the handshake.
        knows_requests: it tells them from each other, and not only how many there were.
    """

    name: str
    environment: dict[str, str] = field(default_factory=dict)
    socket: str = ""
    errors: str = ""
    knows_requests: bool = True


NOWHERE = "http://127.0.0.1:9"
AGENTS = [
    Agent(
        "newrelic",
        {
            "NEW_RELIC_DEVELOPER_MODE": "true",
            "NEW_RELIC_LICENSE_KEY": "0" * 40,
            "NEW_RELIC_APP_NAME": "site",
            "NEW_RELIC_LOG": "/dev/null",
            "NEW_RELIC_DISTRIBUTED_TRACING_ENABLED": "true",
            "NEW_RELIC_ATTRIBUTES_INCLUDE": "request.parameters.*",
        },
    ),
    Agent(
        "ddtrace",
        {
            "DD_TRACE_AGENT_URL": NOWHERE,
            "DD_SERVICE": "site",
            "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
            "DD_REMOTE_CONFIGURATION_ENABLED": "false",
            "DD_CRASHTRACKING_ENABLED": "false",
            "DD_TRACE_STARTUP_LOGS": "false",
        },
        socket='"http.route": "{view}/<str:name>/"',
    ),
    Agent("opentelemetry", socket='"http.route": "{view}/<str:name>/"'),
    Agent("logfire", {"LOGFIRE_SEND_TO_LOGFIRE": "false"}, socket='"http.route": "{view}/<str:name>/"'),
    Agent("scout", socket='"path": "/{view}/NAME/?q=NAME"'),
    Agent("elastic", socket='"event": "transaction", "name": "GET {view}/<str:name>/"', errors='"event": "error"'),
    Agent("prometheus", knows_requests=False),
    Agent("zeal"),
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
OURS = Stack("fullduplex", "fullduplex")
STACKS = [
    OURS,
    *(
        pytest.param(stack, marks=pytest.mark.slow)
        for stack in (
            Stack("uvicorn", "fullduplex"),
            Stack("fullduplex", "fullduplex", fast=False),
            Stack("uvicorn", "fullduplex", fast=False),
        )
    ),
]


@dataclass(frozen=True)
class Kind:
    """A kind of page, and the status that it answers with.

    Attributes:
        is_async: it waits for all of its kind that are asked at once; else for one other, since each holds a thread.
    """

    name: str
    status: int = 200
    is_async: bool = True
    method: str = "GET"
    end: str = "/"


KINDS = [
    Kind("sync", is_async=False),
    Kind("async"),
    Kind("class"),
    Kind("stream"),
    Kind("failing", 500, is_async=False),
    Kind("async-failing", 500),
    Kind("missing", 404),
    Kind("post", is_async=False, method="POST"),
    Kind("early", 202),
    Kind("moved", 301, end=""),
]
MIXED_COUNTS = [8, 6, 6, 6, 6, 6, 4, 4, 2, 2]  # of each kind, 50 in all
CROWD_COUNT = 50


@dataclass(frozen=True)
class Visit:
    """One request, told from all others by its name, user and trace, which is the caller's."""

    kind: Kind
    name: str
    number: int
    meets_count: int = 0

    @property
    def path(self) -> str:
        return f"/{self.kind.name}/{self.name}{self.kind.end}?q={self.name}"

    @property
    def fields(self) -> dict[str, str]:
        digest = hashlib.md5(self.name.encode(), usedforsecurity=False).hexdigest()
        fields = {
            "Host": "site.example",
            "Cookie": f"sessionid={session_of(self.number)}",
            "traceparent": f"00-{digest}-{digest[:16]}-01",
        }
        return fields | ({"Meet": str(self.meets_count)} if self.meets_count else {})


@dataclass(frozen=True)
class Sockets:
    """What it has recorded of one socket alone, of each of many, without their names, and of nobody in particular."""

    alone: Found
    together: list[Found]
    nobodys: list[str]


@dataclass(frozen=True)
class Observed:
    """What an agent has recorded."""

    pages: Found
    sockets: dict[str, Sockets]  # by the name of their view


_observed: dict[tuple[str, Stack, bool], Observed] = {}


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.slow)], ids=["mixed", "crowds"])
def crowds(request: pytest.FixtureRequest) -> bool:
    """Whether fifty of each kind come at once; else fifty in all."""
    return bool(request.param)


@pytest.mark.parametrize("stack", STACKS, ids=str)
@pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: agent.name)
def test_requests_are_recorded_as_with_djangos_handler(
    agent: Agent, stack: Stack, crowds: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    expected = observe(agent, REFERENCE, crowds, tmp_path_factory).pages
    found = observe(agent, stack, crowds, tmp_path_factory).pages
    assert expected
    assert found == expected, difference(expected, found)


@pytest.mark.parametrize("stack", STACKS, ids=str)
@pytest.mark.parametrize("agent", [agent for agent in AGENTS if agent.knows_requests], ids=lambda agent: agent.name)
def test_sockets_are_recorded_each_by_itself(
    agent: Agent, stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for view, sockets in observe(agent, stack, False, tmp_path_factory).sockets.items():
        assert not sockets.nobodys, view
        own = agent.socket.format(view=view)
        assert sum(own in record for record in sockets.alone.elements() if own) == bool(own), sockets.alone
        if agent.errors:
            fails = view == "socket-failing"
            assert sum(agent.errors in record for record in sockets.alone.elements()) == fails, sockets.alone
        for number, found in enumerate(sockets.together):
            assert found == sockets.alone, f"{view}, number {number}:\n" + difference(sockets.alone, found)


def observe(agent: Agent, stack: Stack, crowds: bool, tmp_path_factory: pytest.TempPathFactory) -> Observed:
    """Serve the site, ask for all there is, and return the records; once for each question."""
    key = agent.name, stack, crowds
    if key not in _observed:
        with serve(agent, stack, tmp_path_factory.mktemp("site")) as process:
            pages = Counter[str]()
            for visits in plan(crowds):
                pages += visit_all(process.port, visits)
            ours = stack.handler == "fullduplex" and agent.knows_requests and not crowds
            sockets = {view: sockets_of(process.port, view) for view in ("socket", "socket-failing")} if ours else {}
        _observed[key] = Observed(pages, sockets)
    return _observed[key]


def serve(agent: Agent, stack: Stack, folder: Path, **environment: str) -> Process:
    if agent.name == "ddtrace" and sys.version_info >= (3, 15):
        pytest.importorskip("ddtrace", reason="ddtrace has no release for this Python")
    options = [APP, "--port", "0", "--no-access-log"]
    options += ["--app-dir", str(ROOT)] if stack.server == "fullduplex" else ["--log-level", "info"]
    return Process(
        *(sys.executable, "-m", "tests.agents.run", stack.server, *options),
        ready=r"Listening on (\S+)" if stack.server == "fullduplex" else r"running on (http://\S+)",
        cwd=ROOT,
        env={
            "DJANGO_SETTINGS_MODULE": "tests.agents.settings",
            "AGENT": agent.name,
            "HANDLER": stack.handler,
            "FAST": "yes" if stack.fast else "no",
            "FOLDER": str(folder),
            **agent.environment,
            **environment,
        },
    )


def plan(crowds: bool) -> Iterator[list[Visit]]:
    """Requests that are made at once, list after list."""
    numbers = count(1)
    for kind in KINDS:
        yield [Visit(kind, f"{kind.name}-alone", next(numbers))]
    counts = [CROWD_COUNT] * len(KINDS) if crowds else MIXED_COUNTS
    lists = [
        [Visit(kind, f"{kind.name}-{number}", next(numbers), many if kind.is_async else 2) for number in range(many)]
        for kind, many in zip(KINDS, counts, strict=True)
    ]
    yield from lists if crowds else [[visit for visits in lists for visit in visits]]


def visit_all(port: int, visits: list[Visit]) -> Found:
    """Make the requests together, and return the records when all of it is over."""
    barrier = threading.Barrier(len(visits), timeout=WAIT_TIMEOUT_S)
    with ThreadPoolExecutor(len(visits)) as pool:
        statuses = list(pool.map(lambda visit: ask(port, visit, barrier), visits))
    assert statuses == [visit.kind.status for visit in visits], statuses
    return take_records(port)


def ask(port: int, visit: Visit, barrier: threading.Barrier) -> int:
    with connected(port) as connection:
        barrier.wait()
        fields, body = visit.fields, None
        if visit.kind.method == "POST":
            body = f"name={visit.name}"
            fields |= {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request(visit.kind.method, visit.path, body, fields)
        response = connection.getresponse()
        response.read()
        return response.status


def take_records(port: int) -> Found:
    with connected(port) as connection:
        connection.request("GET", "/records/")
        response = connection.getresponse()
        text = response.read()
        assert response.status == 200, text
    return Counter(json.dumps(record, sort_keys=True) for record in json.loads(text))


@contextmanager
def connected(port: int) -> Iterator[HTTPConnection]:
    connection = HTTPConnection("127.0.0.1", port, timeout=WAIT_TIMEOUT_S)
    try:
        yield connection
    finally:
        connection.close()


# Sockets -------------------------------------------------------------------------------------


def sockets_of(port: int, view: str) -> Sockets:
    """Open a socket alone, then many at once."""
    kind = Kind(view)
    alone = Visit(kind, "Name0", 1000)
    many = [Visit(kind, f"Name{number}", 1000 + number, SOCKETS_COUNT) for number in range(1, SOCKETS_COUNT + 1)]
    records = [record for visits in ([alone], many) for record in talk_all(port, visits).elements()]
    found = []
    for visit in [alone, *many]:
        own = [record for record in records if belongs(record, visit)]
        found.append(Counter(anonymous(record, visit) for record in own))
        records = [record for record in records if not belongs(record, visit)]
    return Sockets(found[0], found[1:], records)


def talk_all(port: int, visits: list[Visit]) -> Found:
    with ThreadPoolExecutor(len(visits)) as pool:
        list(pool.map(lambda visit: talk(port, visit), visits))
    return take_records(port)


def talk(port: int, visit: Visit) -> None:
    with open_socket(port, visit.path, visit.fields) as ws:
        ws.send(visit.name)
        with suppress(ConnectionClosedError):
            for _ in ws:  # to its end
                pass


def open_socket(port: int, path: str, fields: dict[str, str]) -> ClientConnection:
    place = f"127.0.0.1:{port}"
    return connect(
        f"ws://{place}{path}",
        origin=Origin(f"http://{place}"),
        additional_headers={name: value for name, value in fields.items() if name != "Host"},
        proxy=None,
        open_timeout=WAIT_TIMEOUT_S,
    )


def belongs(record: str, visit: Visit) -> bool:
    """Whether anything of ``visit`` is in the record; so what two have a part in is missing from one of them."""
    trace = visit.fields["traceparent"].split("-")
    return trace[1] in record or trace[2] in record or f'{visit.name}"' in record or f"{visit.name}/" in record


def anonymous(record: str, visit: Visit) -> str:
    trace = visit.fields["traceparent"].split("-")
    changes = {trace[1]: "TRACE", trace[2]: "SPAN", visit.name: "NAME", session_of(visit.number): "SESSION"}
    changes[str(visit.number)] = "NUMBER"
    for own, name in changes.items():
        record = record.replace(own, name)
    return record


# What is different ---------------------------------------------------------------------------


def difference(expected: Found, found: Found) -> str:
    """The records that only one of the two has, and how many there are."""
    lines = []
    for title, records in (("missing", expected - found), ("unexpected", found - expected)):
        lines.append(f"{records.total()} {title} of {expected.total()}:")
        lines += [f"  {record}" for record in sorted(records)[:6]]
    return "\n".join(lines)

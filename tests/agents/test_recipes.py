"""What ``docs/howto/observe.md`` tells a project to do for sockets is done here, and comes out as it says there."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosedError

from tests import recipes
from tests.agents.test_agents import (
    AGENTS,
    OURS,
    SOCKETS_COUNT,
    STACKS,
    Agent,
    Kind,
    Stack,
    Visit,
    difference,
    open_socket,
    serve,
    sockets_of,
    talk_all,
)
from tests.e2e.process import WAIT_TIMEOUT_S

pytestmark = pytest.mark.e2e


@dataclass(frozen=True)
class Recipe:
    """What comes of it: texts in the records of one socket. ``{view}`` stands for the name of its view.

    Attributes:
        agent: the module here that knows the package, without ``with_``.
        title: of its section in the document.
        view: in the one record of the view.
        user: there, too.
        inside: in one record, of a piece that the view itself records.
        failure: in one record, where the view fails.
    """

    agent: str
    title: str
    view: str
    user: str
    inside: str
    failure: str

    def __str__(self) -> str:
        return self.agent


RECIPES = [
    Recipe(
        "newrelic",
        "newrelic",
        view='"name": "OtherTransaction/WebSocket/{view}/<str:name>/", "parent": "SPAN"',
        user='"enduser.id": "NUMBER"',
        inside='["WebSocket/{view}/<str:name>/", ["all of NAME", ["work of NAME"]]]',
        failure='"errors": [["tests.agents.urls:Failure", "NAME"]]',
    ),
    Recipe(
        "ddtrace",
        "ddtrace",
        view='"resource": "WEBSOCKET {view}/<str:name>/"',
        user='"usr.id": "NUMBER"',
        inside='"name": "all of NAME", "parent": "websocket.view WEBSOCKET {view}/<str:name>/"',
        failure='"error.type": "tests.agents.urls.Failure"',
    ),
    Recipe(
        "opentelemetry",
        "OpenTelemetry",
        view='"name": "WEBSOCKET {view}/<str:name>/", "parent": "GET {view}/<str:name>/"',
        user='"user.id": "NUMBER"',
        inside='"name": "all of NAME", "parent": "WEBSOCKET {view}/<str:name>/"',
        failure='"events": [["exception", "tests.agents.urls.Failure", "NAME"]]',
    ),
    Recipe(
        "logfire",
        "Logfire",
        view='"logfire.msg": "WEBSOCKET {view}/<str:name>/"',
        user='"user_id": NUMBER',
        inside='"name": "all of NAME", "parent": "WEBSOCKET {{route}}"',
        failure='"events": [["exception", "tests.agents.urls.Failure", "NAME"]]',
    ),
    Recipe(
        "scout",
        "scout-apm",
        view='"spans": [["Job/WEBSOCKET {view}/<str:name>/"]',
        user='"username": "person-NUMBER"',
        inside='["Job/WEBSOCKET {view}/<str:name>/", "Custom/all of NAME", "Custom/work of NAME"]',
        failure='"exception_class": "Failure"',
    ),
    Recipe(
        "elastic",
        "elastic-apm",
        view='"event": "transaction", "name": "WEBSOCKET {view}/<str:name>/"',
        user='"user": {{"id": NUMBER, "username": "person-NUMBER"}}',
        inside='"outcome": "success", "parent_id": "transaction WEBSOCKET {view}/<str:name>/"',
        failure='"type": "websocket"}}, "transaction_id": "transaction WEBSOCKET {view}/<str:name>/"}}',
    ),
]


def test_all_recipes_are_tested() -> None:
    here = {recipe.title for recipe in RECIPES} | {"Package by package", "zeal"}
    elsewhere = {"sentry-sdk", "A transaction for each message"}  # tests/observers
    assert {title for title in recipes.titles() if recipes.files_of(title)} == here | elsewhere


@pytest.mark.parametrize("stack", STACKS, ids=str)
@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_the_view_of_each_socket_is_recorded_once(recipe: Recipe, stack: Stack, tmp_path: Path) -> None:
    """By its route, with its user, with what it records itself, with its failure, and the same among many."""
    with serve(agent_of(recipe.agent), stack, tmp_path, RECIPE=f"Package by package, {recipe.title}") as process:
        found = {view: sockets_of(process.port, view) for view in ("socket", "socket-failing")}
    for view, sockets in found.items():
        records = list(sockets.alone.elements())

        def having(text: str, view: str = view, records: list[str] = records) -> list[str]:
            return [record for record in records if text.format(view=view) in record]

        fails = view == "socket-failing"
        (own,) = having(recipe.view)
        assert recipe.user.format() in own
        assert len(having(recipe.inside)) == (not fails), records
        assert having(recipe.failure) == having("Failure"), records
        assert len(having("Failure")) == fails, records
        assert not sockets.nobodys
        for name in re.findall(r"fullduplex\.[\w.]+", "".join(records)):
            assert f"`{name}`" in recipes.PAGE.read_text(), "the document says which names of ours are seen"
        for number, others in enumerate(sockets.together):
            assert others == sockets.alone, f"{view}, number {number}:\n" + difference(sockets.alone, others)


def test_zeal_counts_the_queries_of_each_message(tmp_path: Path) -> None:
    def ask(path: str) -> list[str]:
        """Ask for the same three times."""
        answers = []
        with open_socket(process.port, path, {}) as ws:
            for _ in range(3):
                ws.send("1")
                answers.append(str(ws.recv(WAIT_TIMEOUT_S)))
        return answers

    with serve(agent_of("zeal"), OURS, tmp_path, RECIPE="zeal") as process:
        with ThreadPoolExecutor(SOCKETS_COUNT) as pool:
            assert list(pool.map(ask, ["/names/"] * SOCKETS_COUNT)) == [["somebody"] * 3] * SOCKETS_COUNT
        with pytest.raises(ConnectionClosedError):  # without the context of each message
            ask("/names-of-one-request/")


def test_prometheus_counts_each_handshake_as_a_request(tmp_path: Path) -> None:
    kind = Kind("socket-failing")
    visits = [Visit(kind, f"Name{number}", number, SOCKETS_COUNT) for number in range(1, SOCKETS_COUNT + 1)]
    with serve(agent_of("prometheus"), OURS, tmp_path) as process:
        samples = [json.loads(record) for record in talk_all(process.port, visits)]
    values = {sample["name"]: sample["value"] for sample in samples if sample["labels"].get("status") == "101"}
    assert values == {
        "django_http_responses_total_by_status_total": SOCKETS_COUNT,
        "django_http_responses_total_by_status_view_method_total": SOCKETS_COUNT,
    }


def agent_of(name: str) -> Agent:
    (agent,) = [agent for agent in AGENTS if agent.name == name]
    return agent

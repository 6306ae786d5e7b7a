"""Public packages that import ``channels`` run unchanged, with ``FULLDUPLEX = {"CHANNELS_ALIAS": True}``.

Each case does over real sockets what the package is for. The same cases run on Channels itself, so that they ask for
no more than that gives. ``pyproject.toml`` pins the packages.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from tests.e2e.browser import chromium
from tests.e2e.process import ROOT, WAIT_TIMEOUT_S, Process, environment
from tests.layers.servers import Server

pytestmark = pytest.mark.e2e

APP = "tests.channels.unchanged.asgi:application"
FULLDUPLEX = (sys.executable, "-m", "fullduplex", APP, "--port", "0", "--no-access-log")
DAPHNE = (sys.executable, "-m", "daphne", "-b", "127.0.0.1", "-p", "0", APP)
GRAPHQL = Subprotocol("graphql-transport-ws")


@dataclass(frozen=True)
class Stack:
    """What the project runs on."""

    modules: str
    command: tuple[str, ...]
    has_redis: bool = False


STACKS = {
    "ours": Stack("fullduplex", FULLDUPLEX),
    "ours in two workers": Stack("fullduplex", (*FULLDUPLEX, "--workers", "2"), has_redis=True),
    "channels on our server": Stack("channels", FULLDUPLEX),
    "channels on daphne": Stack("channels", DAPHNE),
}


class Site:
    """The project, served.

    Attributes:
        is_ours: whether the names of Channels are an alias of ours.
    """

    def __init__(self, port: str, stack: Stack) -> None:
        self.host = f"127.0.0.1:{port}"
        self.is_ours = stack.modules == "fullduplex"

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"http://{self.host}{path}", timeout=WAIT_TIMEOUT_S, trust_env=False).raise_for_status()

    @contextmanager
    def socket(self, path: str, *subprotocols: Subprotocol) -> Iterator[Socket]:
        origin = Origin(f"http://{self.host}")
        options = {"subprotocols": subprotocols or None, "open_timeout": WAIT_TIMEOUT_S, "proxy": None}
        with connect(f"ws://{self.host}{path}", origin=origin, **options) as connection:
            yield Socket(connection)


class Socket:
    """A client that speaks JSON."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def send(self, content: Any) -> None:
        self.connection.send(json.dumps(content))

    def receive(self) -> Any:
        return json.loads(self.connection.recv(WAIT_TIMEOUT_S))

    def ask(self, content: Any) -> Any:
        self.send(content)
        return self.receive()


@pytest.fixture(
    scope="module", params=["ours", *(pytest.param(name, marks=pytest.mark.slow) for name in STACKS if name != "ours")]
)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    stack = STACKS[request.param]
    env = {
        "DJANGO_SETTINGS_MODULE": "tests.channels.unchanged.settings",
        "STACK": stack.modules,
        "FOLDER": str(tmp_path_factory.mktemp("site")),
    }
    ready = r"Listening on \S*?(?:TCP address )?(?:http://)?127.0.0.1:(\d+)"
    with ExitStack() as running:
        if stack.has_redis:
            server = Server(tmp_path_factory.mktemp("redis"))
            running.callback(server.kill)
            env["REDIS_PORT"] = str(server.start().port)
        migrate = [sys.executable, "-m", "django", "migrate", "--verbosity", "0"]
        subprocess.run(migrate, cwd=ROOT, env=environment(env | {"PYTHONPATH": str(ROOT)}), check=True, timeout=120)
        process = running.enter_context(Process(*stack.command, ready=ready, cwd=ROOT, env=env))
        yield Site(process.url, stack)


def test_the_modules_are_ours_under_both_names(site: Site) -> None:
    names = {"channels": "fullduplex.channels", "channels.layers": "fullduplex.channels.layers"}
    ours = {**names, "one layer": True, "one class": True}
    assert site.get("/worlds/").json() == (ours if site.is_ours else dict.fromkeys(names) | {n: n for n in names})


def test_consumers_and_socket_views_are_in_one_group(site: Site) -> None:
    with site.socket("/ws/news/") as one, site.socket("/ws/sync-news/") as other:
        one.send("from a consumer")
        assert one.receive() == {"async": "from a consumer"}
        assert other.receive() == {"sync": "from a consumer"}
        if not site.is_ours:
            return
        with site.socket("/ws/socket/") as view:
            one.send("again")
            assert (one.receive(), other.receive()) == ({"async": "again"}, {"sync": "again"})
            assert view.receive() == {"type": "news.item", "text": "again"}
            site.get("/announce/?text=from+a+view")
            assert (one.receive(), other.receive()) == ({"async": "from a view"}, {"sync": "from a view"})
            assert view.receive() == {"type": "news.item", "text": "from a view"}
            site.get("/announce/?text=to+the+group&how=group")
            assert [socket.receive() for socket in (one, other, view)] == [{"text": "to the group"}] * 3


def test_djangochannelsrestframework(site: Site) -> None:
    with site.socket("/ws/rest/") as reader, site.socket("/ws/rest/") as writer:
        assert reader.ask({"action": "subscribe_all", "request_id": 1})["response_status"] == 201
        created = writer.ask({"action": "create", "data": {"name": "editors"}, "request_id": 2})
        assert created["data"]["name"] == "editors"
        assert reader.receive() == {"news": "create", "name": "editors"}
        pk = created["data"]["id"]
        assert writer.ask({"action": "subscribe_instance", "pk": pk, "request_id": 3})["response_status"] == 201
        site.get("/rename/?old=editors&new=authors")
        assert reader.receive() == {"news": "update", "name": "authors"}
        update = writer.receive()
        assert (update["action"], update["data"], update["request_id"]) == ("update", {"id": pk, "name": "authors"}, 3)


def test_chanx(site: Site) -> None:
    with site.socket("/ws/typed/tea/") as one, site.socket("/ws/typed/tea/") as other:
        one.send({"action": "say", "payload": {"text": "hello"}})
        said = {"action": "said", "payload": {"text": "hello"}}
        assert [socket.receive() for socket in (one, other)] == [said] * 2
        assert one.ask({"action": "say", "payload": {"words": "hello"}})["action"] == "error"
        site.get("/announce/?text=news&how=typed")
        said["payload"]["text"] = "news"
        assert [socket.receive() for socket in (one, other)] == [said] * 2


def test_channels_graphql_ws(site: Site) -> None:
    pytest.importorskip("channels_graphql_ws", reason="django-channels-graphql-ws-next asks for Django below 6")
    with site.socket("/ws/graphene/", GRAPHQL) as listener, site.socket("/ws/graphene/", GRAPHQL) as speaker:
        for socket in (listener, speaker):
            assert socket.ask({"type": "connection_init", "payload": {}})["type"] == "connection_ack"
        query = 'subscription { onSaid(room: "tea") { text } }'
        assert listener.ask({"id": "1", "type": "subscribe", "payload": {"query": query}})["payload"]["data"] is None
        query = 'mutation { say(room: "tea", text: "hello") { ok } }'
        answer = speaker.ask({"id": "1", "type": "subscribe", "payload": {"query": query}})
        assert answer["payload"]["data"] == {"say": {"ok": True}}
        assert listener.receive()["payload"]["data"] == {"onSaid": {"text": "hello"}}


def test_reactpy_django(site: Site) -> None:
    page = site.get("/counter/").text
    found = re.search(r'"(tests\.channels\.unchanged\.components\.counter/[^"]+)"', page)
    assert found
    with site.socket(f"/reactpy/{found[1]}?http_pathname=/counter/&http_search=") as browser:
        button, target = _button(browser.receive())
        assert button == "pressed 5 times"
        button, _ = _button(browser.ask({"type": "layout-event", "target": target, "data": [{}]}))
        assert button == "pressed 6 times"


def _button(update: Any) -> tuple[str, str]:
    """What stands on the button of an update, and the name of its event handler."""
    assert update["type"] == "layout-update"
    node = update["model"]
    while node.get("tagName") != "button":
        node = node["children"][-1]
    return node["children"][0], node["eventHandlers"]["on_click"]["target"]


@pytest.mark.slow
def test_reactpy_django_in_a_browser(site: Site) -> None:
    with chromium() as browser:
        page = browser.new_page()
        page.goto(f"http://{site.host}/counter/")
        button = page.locator("#counter")
        button.filter(has_text="pressed 5 times").click()
        button.filter(has_text="pressed 6 times").click()
        button.filter(has_text="pressed 7 times").wait_for()


def test_django_eventstream(site: Site) -> None:
    url = f"http://{site.host}/events/"
    with httpx.stream("GET", url, timeout=WAIT_TIMEOUT_S, trust_env=False) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        assert "event: stream-open" in lines  # up to there
        site.get("/events/send/?text=hello")
        assert 'data: {"text": "hello"}' in lines


def test_strawberry(site: Site) -> None:
    with site.socket("/ws/strawberry/", GRAPHQL) as listener, site.socket("/ws/strawberry/", GRAPHQL) as speaker:
        for socket in (listener, speaker):
            assert socket.ask({"type": "connection_init"})["type"] == "connection_ack"
        asked = {"id": "1", "type": "subscribe", "payload": {"query": "subscription { said }"}}
        assert listener.ask(asked)["payload"]["data"] == {"said": "listening"}
        answer = speaker.ask({"id": "1", "type": "subscribe", "payload": {"query": 'mutation { say(text: "hello") }'}})
        assert answer["payload"]["data"] == {"say": True}
        assert listener.receive()["payload"]["data"] == {"said": "hello"}


def test_channelsmultiplexer(site: Site) -> None:
    with site.socket("/ws/multiplexed/") as socket:
        assert socket.ask({"stream": "upper", "payload": "hello"}) == {"stream": "upper", "payload": "HELLO"}
        assert socket.ask({"stream": "reverse", "payload": "hello"}) == {"stream": "reverse", "payload": "olleh"}

"""The JavaScript client in a real Chromium, over networks and servers that fail: counted, not sampled."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.e2e.browser import TIMEOUT_MS, chromium
from tests.e2e.devtools import tabs
from tests.e2e.faulty_network import FaultyNetwork
from tests.e2e.process import WAIT_TIMEOUT_S
from tests.e2e.startproject import Project, Server, free_port, run

pytestmark = pytest.mark.e2e

SETTINGS = """
INSTALLED_APPS += ["fullduplex.history"]
DATABASES["default"]["OPTIONS"] = {"transaction_mode": "IMMEDIATE", "timeout": 20}
KEPT = {"COUNT": 20_000, "AGE_S": 3_600, "MAX_BYTES": 10_000_000}
FULLDUPLEX = {"HISTORY": {"kept.*": KEPT, "stored.*": {**KEPT, "STORE": "database"}}}
import os
if "FORGETFUL" in os.environ:
    CHANNEL_LAYERS = {"default": {"BACKEND": "fullduplex.layers.memory.MemoryLayer"}}
"""


class Site:
    """The server, the network before it, and who sends numbers past that network."""

    def __init__(self, project: Project, *options: str, env: dict[str, str] | None = None) -> None:
        self.port = free_port()
        self._env = env
        self._command = ("mysite.asgi:application", "--port", str(self.port), *options)
        self._project = project
        self.network = FaultyNetwork(self.port)
        self.server: Server
        self._sent: dict[str, int] = {}

    def start(self) -> None:
        self.server = self._project.fullduplex(*self._command, env=self._env)
        self.server.__enter__()
        self.server.wait_for("Listening on")

    def kill(self) -> None:
        self.server.kill()

    def send(self, group: str, count: int) -> int:
        """Send the next numbers, and return the last."""
        first = self._sent.get(group, 0) + 1
        self._sent[group] = last = first + count - 1
        url = f"http://127.0.0.1:{self.port}/publish/?group={group}&from={first}&to={last}"
        assert httpx.post(url, timeout=WAIT_TIMEOUT_S).status_code == 200
        return last

    def address(self, group: str, **options: object) -> str:
        """The address of a page that listens to a group."""
        return f"{self.network.url}/?group={group}&options={quote(json.dumps(options))}"

    def open(self, context: BrowserContext, group: str, **options: object) -> Page:
        """Open a page that listens to a group, and wait until it does."""
        page = context.new_page()
        page.goto(self.address(group, **options))
        expect(page.locator("body[data-subscribed]")).to_have_count(1)
        return page


@pytest.fixture(scope="module")
def numbers(plain: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = plain.copy(tmp_path_factory.mktemp("numbers") / "site")
    project.write("views.py", (Path(__file__).parent / "realtime_views.py").read_text())
    project.write("urls.py", "from mysite.views import urlpatterns\n")
    project.replace("asgi.py", "from django.core.asgi import", "from fullduplex import")
    project.setting(SETTINGS)
    run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], project.path)
    return project


@pytest.fixture
def site(numbers: Project) -> Iterator[Site]:
    yield from serve(Site(numbers))


@pytest.fixture
def two_workers(numbers: Project) -> Iterator[Site]:
    yield from serve(Site(numbers, "--workers", "2"))


@pytest.fixture
def forgetful(numbers: Project) -> Iterator[Site]:
    """Keeps in its own memory alone."""
    yield from serve(Site(numbers, env={"FORGETFUL": ""}))


def serve(site: Site) -> Iterator[Site]:
    site.start()
    try:
        yield site
    finally:
        site.network.close()
        site.kill()
        print(site.server.output)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(without=("--disable-back-forward-cache",)) as browser:
        yield browser


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context()
    context.set_default_timeout(TIMEOUT_MS)
    try:
        yield context
    finally:
        context.close()


def has(page: Page, last: int) -> None:
    """Wait until the page has the number, which is the last that was sent."""
    page.wait_for_function("last => log.at(-1) === last", arg=last)


def is_in(page: Page, state: str) -> None:
    page.wait_for_function("state => client.status.state === state", arg=state)


def log_of(page: Page) -> list[int]:
    """What the page got, when it was told of no gap."""
    log = page.evaluate("log")
    assert "gap" not in log, log
    return log


def test_nothing_is_missing_behind_a_cut(site: Site, context: BrowserContext) -> None:
    page = site.open(context, "kept.cut")
    has(page, site.send("kept.cut", 50))
    with site.network.down():
        is_in(page, "reconnecting")
        last = site.send("kept.cut", 50)
    has(page, last)
    assert log_of(page) == list(range(1, last + 1))


def test_a_group_without_history_tells_its_gap(site: Site, context: BrowserContext) -> None:
    page = site.open(context, "plain")
    has(page, site.send("plain", 5))
    with site.network.down():
        is_in(page, "reconnecting")
        site.send("plain", 5)
    page.wait_for_function("log.includes('gap')")
    has(page, site.send("plain", 5))
    assert page.evaluate("log") == [1, 2, 3, 4, 5, "gap", 11, 12, 13, 14, 15]


def test_what_a_page_sends_over_a_network_that_fails_arrives_once_and_in_order(
    site: Site, context: BrowserContext
) -> None:
    sender, reader = (site.open(context, "kept.sent", retryFirstMs=10) for _ in range(2))
    for first in range(1, 100, 20):
        sender.evaluate(
            """first => {
                const numbers = Array.from({length: 20}, (_, index) => first + index);
                window.sent = Promise.all(numbers.map((n) => room.publish({n})));
            }""",
            first,
        )
        site.network.cut()
        sender.evaluate("() => sent.then(() => null)")
    for page in (sender, reader):
        has(page, 100)
        assert log_of(page) == list(range(1, 101))


def test_the_page_comes_out_of_the_back_forward_cache_and_has_everything(site: Site, context: BrowserContext) -> None:
    page = site.open(context, "kept.cache")
    has(page, site.send("kept.cache", 5))
    page.goto(f"{site.network.url}/other/")
    last = site.send("kept.cache", 5)
    page.go_back(wait_until="commit")  # nothing is loaded
    assert page.evaluate("shown") == [False, True]
    has(page, last)
    assert log_of(page) == list(range(1, last + 1))


def test_blocked_sockets_are_no_obstacle_and_events_are_left_when_they_can_be(
    site: Site, context: BrowserContext
) -> None:
    site.network.blocks_sockets = True
    page = site.open(context, "kept.events", retryFirstMs=10)
    assert page.title() == "events"
    has(page, site.send("kept.events", 5))
    assert page.evaluate("room.publish({n: 6}).then(({position}) => position.offset)") == 6
    assert page.evaluate("client.call('double', 21)") == 42
    site.send("kept.events", 1)
    with site.network.down():
        is_in(page, "reconnecting")
        last = site.send("kept.events", 5)
    has(page, last)
    assert page.title() == "events"
    site.network.blocks_sockets = False
    page.evaluate("dispatchEvent(new Event('online'))")
    expect(page).to_have_title("websocket")
    last = site.send("kept.events", 5)
    has(page, last)
    assert sorted(set(log_of(page))) == list(range(1, last + 1))


@pytest.mark.slow
def test_a_stalled_network_is_left_and_nothing_is_missing(site: Site, context: BrowserContext) -> None:
    page = site.open(context, "kept.stalled")
    has(page, site.send("kept.stalled", 50))
    with site.network.stalled():
        last = site.send("kept.stalled", 50)
        is_in(page, "reconnecting")
    has(page, last)
    assert log_of(page) == list(range(1, last + 1))


@pytest.mark.slow
def test_a_server_that_was_killed_has_forgotten_and_says_so(forgetful: Site, context: BrowserContext) -> None:
    site = forgetful
    page = site.open(context, "kept.killed")
    has(page, site.send("kept.killed", 50))
    site.kill()
    is_in(page, "reconnecting")
    site.start()
    is_in(page, "connected")
    page.wait_for_function("log.includes('gap')")
    last = site.send("kept.killed", 50)
    has(page, last)
    assert page.evaluate("log") == [*range(1, 51), "gap", *range(51, last + 1)]


@pytest.mark.slow
def test_all_workers_that_are_killed_cost_no_message_or_say_so(two_workers: Site, context: BrowserContext) -> None:
    site = two_workers
    page = site.open(context, "kept.all", retryFirstMs=100)
    for _ in range(3):
        has(page, site.send("kept.all", 50))
        site.kill()
        site.start()
        has(page, site.send("kept.all", 50))
    log = page.evaluate("log")
    numbers = [number for number in log if number != "gap"]
    assert numbers == sorted(set(numbers))
    assert "gap" in log or numbers == list(range(1, 301))


@pytest.mark.slow
def test_a_deploy_costs_no_message(two_workers: Site, context: BrowserContext) -> None:
    site = two_workers
    pages = [site.open(context, "kept.deploy") for _ in range(4)]
    for _ in range(3):
        seen = len(site.server.output)
        site.server.signal(signal.SIGHUP)
        for _ in range(20):
            last = site.send("kept.deploy", 10)
        site.server.wait_for("Reloaded", after=seen)
        last = site.send("kept.deploy", 10)
        for page in pages:
            has(page, last)
    for page in pages:
        assert log_of(page) == list(range(1, last + 1))


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_no_message(two_workers: Site, context: BrowserContext) -> None:
    site = two_workers
    pages = [site.open(context, "kept.worker") for _ in range(4)]
    for _ in range(3):
        has(pages[0], site.send("kept.worker", 50))
        seen = len(site.server.output)
        *_, pid = re.findall(r"Worker \d \(process (\d+)\) is ready", site.server.output)
        os.kill(int(pid), signal.SIGKILL)
        last = site.send("kept.worker", 50)
        site.server.wait_for("is ready", after=seen)
    for page in pages:
        has(page, last)
        assert log_of(page) == list(range(1, last + 1))


@pytest.mark.slow
def test_a_restart_costs_no_message(two_workers: Site, context: BrowserContext) -> None:
    site = two_workers
    page = site.open(context, "kept.restart")
    has(page, site.send("kept.restart", 50))
    site.server.stop()
    site.start()
    last = site.send("kept.restart", 50)
    has(page, last)
    assert log_of(page) == list(range(1, last + 1))


@pytest.mark.slow
def test_what_the_database_keeps_outlives_a_server_that_is_killed_in_the_middle(
    site: Site, context: BrowserContext
) -> None:
    """A page publishes all the time; what the server has acknowledged, and what not, arrives once and in order."""
    group = "stored.killed"
    sender, reader = (site.open(context, group, retryFirstMs=100, retryMostMs=1_000) for _ in range(2))
    sender.evaluate("""() => {
        window.acknowledged = 0;
        window.sent = (async () => {
            for (let n = 1; n <= 1_000; n += 10) {
                const ten = Array.from({length: 10}, (_, index) => room.publish({n: n + index}));
                await Promise.all(ten);
                acknowledged = n + 9;
            }
        })();
    }""")
    for count in (100, 400, 700):
        sender.wait_for_function("count => acknowledged >= count", arg=count)
        site.kill()
        site.start()
    sender.evaluate("() => sent")
    for page in (sender, reader):
        has(page, 1_000)
        assert log_of(page) == list(range(1, 1_001))


@pytest.mark.slow
def test_a_frozen_page_has_everything_when_it_thaws(site: Site, context: BrowserContext) -> None:
    page = site.open(context, "kept.frozen")
    has(page, site.send("kept.frozen", 5))
    devtools = context.new_cdp_session(page)
    devtools.send("Page.setWebLifecycleState", {"state": "frozen"})
    with site.network.down():
        last = site.send("kept.frozen", 5)
    devtools.send("Page.setWebLifecycleState", {"state": "active"})
    has(page, last)
    assert log_of(page) == list(range(1, last + 1))


@pytest.mark.slow
def test_a_hidden_tab_keeps_its_connection_and_comes_back_when_somebody_looks(site: Site) -> None:
    """Its timers come once a minute, so that what it does by timers alone would be too late."""
    with tabs("--enable-features=IntensiveWakeUpThrottling:grace_period_seconds/1") as window:
        page = window.open(site.address("kept.hidden", retryFirstMs=3_600_000, retryMostMs=3_600_000, events=None))
        page.wait_for("document.body?.dataset.subscribed")
        window.open("about:blank")
        page.wait_for("document.visibilityState === 'hidden'")
        page.evaluate("(function tick() { window.ticked = Date.now(); setTimeout(tick, 100); })()")
        page.wait_for("Date.now() - ticked > 5_000")  # its timers are slow now
        last = site.send("kept.hidden", 50)
        page.wait_for(f"log.at(-1) === {last}")
        assert page.evaluate("statuses") == ["connecting", "connected"]
        with site.network.down():
            page.wait_for("client.status.state === 'reconnecting'")
            last = site.send("kept.hidden", 50)
        page.activate()
        page.wait_for(f"log.at(-1) === {last}")
        assert page.evaluate("log") == list(range(1, last + 1))


@pytest.mark.slow
def test_news_of_the_network_cut_the_wait_short(site: Site, context: BrowserContext) -> None:
    page = site.open(context, "kept.offline", retryFirstMs=3_600_000, retryMostMs=3_600_000, events=None)
    with site.network.down():
        context.set_offline(True)
        is_in(page, "reconnecting")
        last = site.send("kept.offline", 5)
    page.wait_for_timeout(1_100)  # it is nudged once a second at most
    context.set_offline(False)
    has(page, last)
    assert log_of(page) == list(range(1, last + 1))


@pytest.mark.slow
def test_a_browser_that_delays_sockets_after_many_failures_delays_no_message_for_good(
    site: Site, context: BrowserContext
) -> None:
    """Chromium holds each further handshake back for seconds after about 16 that failed; the client waits for it."""
    page = site.open(context, "kept.delayed", retryFirstMs=10, retryMostMs=50, events=None)
    with site.network.down():
        page.wait_for_function("client.status.attempt > 18")
        last = site.send("kept.delayed", 5)
    has(page, last)
    assert log_of(page) == list(range(1, last + 1))


@pytest.mark.slow
def test_ten_thousand_messages_over_a_network_that_fails_all_the_time(site: Site, context: BrowserContext) -> None:
    """One of the pages is left meanwhile, and comes out of the back/forward cache."""
    pages = [site.open(context, "kept.many", retryFirstMs=100) for _ in range(3)]
    for round_ in range(50):
        site.send("kept.many", 100)
        site.network.cut()
        site.send("kept.many", 50)
        if round_ % 10 == 0:
            with site.network.stalled():
                last = site.send("kept.many", 50)
                for page in pages:
                    is_in(page, "reconnecting")
        elif round_ % 10 == 5:
            pages[0].goto(f"{site.network.url}/other/")
            last = site.send("kept.many", 50)
            pages[0].go_back(wait_until="commit")
        else:
            last = site.send("kept.many", 50)
    for page in pages:
        has(page, last)
        assert log_of(page) == list(range(1, 10_001))
    assert pages[0].evaluate("shown") == [False, *[True] * 5]

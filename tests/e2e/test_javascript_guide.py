"""What stands in ``docs/howto/javascript-client.md`` is a project that works: its files, word for word, in Chromium."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.browser import TIMEOUT_MS, chromium
from tests.e2e.process import START_TIMEOUT_S
from tests.e2e.startproject import Project, Server, free_port
from tests.guides import HOWTO, blocks, section

pytestmark = pytest.mark.e2e

GUIDE = (HOWTO / "javascript-client.md").read_text(encoding="utf-8")
_FILE = re.compile(
    r"^ *```(?:python|html)\n *(?:# |<!-- )mysite/(?P<path>\S+\.\w+)(?:: put this at the end| -->)?\n"
    r"(?P<text>.*?)^ *```$",
    re.M | re.S,
)

# What the guide leaves to whoever reads it: another page for its tokens.
TOKEN_PAGE = """
from django.http import HttpResponse
from mysite.tokens import Private, token

urlpatterns += [
    path("token/", token),
    path("private/", Private.as_view()),
    path("tokens/", lambda request: HttpResponse("<!doctype html><title>tokens</title>")),
]
"""


def files() -> dict[str, str]:
    found = {match["path"]: match["text"] for match in _FILE.finditer(GUIDE)}
    return {path: re.sub(r"^  ", "", text, flags=re.M) if "views" in path else text for path, text in found.items()}


@pytest.fixture(scope="module")
def followed(plain: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = plain.copy(tmp_path_factory.mktemp("guide") / "site")
    (project.path / "mysite" / "templates").mkdir()
    guide = files()
    assert set(guide) == {"settings.py", "realtime.py", "urls.py", "templates/page.html", "views.py", "tokens.py"}
    project.replace("settings.py", '    "fullduplex",\n', "")
    project.setting(guide.pop("settings.py"))
    for path, text in guide.items():
        project.write(path, text)
    project.write("urls.py", guide["urls.py"] + TOKEN_PAGE)
    return project


@pytest.fixture(scope="module")
def server(followed: Project) -> Iterator[Server]:
    with followed.runserver() as server:
        yield server


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium() as browser:
        page = browser.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        yield page


def say(page: Page, text: str) -> None:
    page.get_by_label("Comment").fill(text)
    page.get_by_role("button", name="Send").click()


def test_the_page_shows_what_is_said_and_sends(server: Server, page: Page) -> None:
    page.goto(f"http://127.0.0.1:{server.port}/")
    for text in ("hello", "and again"):
        say(page, text)
    expect(page.locator("#news li")).to_have_text(["hello", "and again"])
    expect(page.get_by_role("status")).to_have_text("")


def test_the_snippets_run(server: Server, page: Page) -> None:
    """Each in a page that has a client, as in the guide."""
    page.goto(f"http://127.0.0.1:{server.port}/tokens/")
    (call,) = blocks(section("javascript-client", "Call a method"), "javascript")
    (tokens,) = blocks(section("javascript-client", "Use tokens"), "javascript")
    run = "async () => { const { connect } = await import('/static/fullduplex/client.js'); %s }"
    begin, end = "const client = connect('/realtime/', {});", "client.close();"
    assert page.evaluate(run % f"{begin} {call} {end} return length;") == 5
    listen = "await new Promise((resolve) => client.subscribe('private.somebody', { onSubscribed: resolve }));"
    assert (
        page.evaluate(run % f"{tokens} {listen} const {{ state }} = client.status; {end} return state;") == "connected"
    )


@pytest.mark.slow
def test_what_is_sent_while_the_server_is_away_is_in_both_windows_once(
    followed: Project, page: Page, tmp_path: Path
) -> None:
    project = followed.copy(tmp_path / "site")  # whose groups are its own
    port = free_port()
    with project.runserver(str(port)) as server:
        server.wait_for("development server at", START_TIMEOUT_S)
        with page.context.browser.new_page() as other:  # type: ignore[union-attr]  # it was launched
            windows = (page, other)
            for window in windows:
                window.goto(f"http://127.0.0.1:{port}/")
            say(page, "before")
            for window in windows:
                expect(window.locator("#news li")).to_have_text(["before"])
            server.signal(signal.SIGINT)
            server.wait()
            expect(page.get_by_role("status")).to_have_text("Reconnecting…")
            say(page, "meanwhile")
            with project.runserver(str(port)):
                for window in windows:
                    expect(window.locator("#news li")).to_have_text(["before", "meanwhile"])

"""What stands in ``docs/howto/javascript-client.md`` is a project that works: its files, word for word, in Chromium."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.browser import TIMEOUT_MS, chromium
from tests.e2e.startproject import Project, Server
from tests.guides import HOWTO, blocks, section

pytestmark = pytest.mark.e2e

GUIDE = (HOWTO / "javascript-client.md").read_text(encoding="utf-8")
_FILE = re.compile(
    r"^ *```(?:python|html)\n *(?:# |<!-- )mysite/(?P<path>\S+\.\w+)(?: -->)?\n(?P<text>.*?)^ *```$", re.M | re.S
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
def server(plain: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    project = plain.copy(tmp_path_factory.mktemp("guide") / "site")
    (project.path / "mysite" / "templates").mkdir()
    guide = files()
    assert set(guide) == {"settings.py", "realtime.py", "urls.py", "templates/page.html", "views.py", "tokens.py"}
    project.setting(guide.pop("settings.py") + '\nINSTALLED_APPS += ["mysite"]')
    for path, text in guide.items():
        project.write(path, text)
    project.write("urls.py", guide["urls.py"] + TOKEN_PAGE)
    with project.runserver() as server:
        yield server


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with chromium() as browser:
        page = browser.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        yield page


def test_the_page_shows_what_is_said_and_sends(server: Server, page: Page) -> None:
    page.goto(f"http://127.0.0.1:{server.port}/")
    for text in ("hello", "and again"):
        page.get_by_label("Comment").fill(text)
        page.get_by_role("button", name="Send").click()
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

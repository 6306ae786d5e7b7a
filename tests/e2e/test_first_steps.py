"""The README and the tutorial followed word for word, in an empty folder and a real browser."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from tests.e2e.browser import chromium
from tests.e2e.following import ADA, PASSWORD, installed_for_playwright, log_in, serving, window
from tests.e2e.process import START_TIMEOUT_S, WAIT_TIMEOUT_S
from tests.e2e.startproject import Server
from tests.reader import Reader, Snippet, assert_shows, snippets

pytestmark = pytest.mark.e2e

TUTORIAL = "docs/tutorial"
PARTS = ("first-socket", "two-people", "kept-messages", "tests", "production")
PHONE: ViewportSize = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def say(page: Page, text: str) -> None:
    """Write, and press the button until the words leave the box: before the socket is open they stay there."""
    box = page.get_by_label("Message")
    box.fill(text)
    deadline_s = time.monotonic() + WAIT_TIMEOUT_S
    while box.input_value():
        assert time.monotonic() < deadline_s, f"{text!r} cannot be sent"
        page.get_by_role("button", name="Send").click()


def hears(page: Page, *texts: str) -> None:
    expect(page.get_by_role("listitem")).to_have_text(list(texts))


def test_the_readme(browser: Browser, tmp_path: Path) -> None:
    reader = Reader(tmp_path, ADA)
    commands = [command for snippet in snippets("README.md") for command, _ in reader.follow(snippet)]
    assert [command.split()[0] for command in commands] == ["python", "fullduplex"]
    for command in commands:
        with serving(reader, command) as server:
            url = f"http://127.0.0.1:{server.port}/rooms/tea/"
            pages = [window(browser, url) for _ in range(2)]
            for page in pages:
                log_in(page, "ada")
                page.wait_for_url(url)
                say(page, "Hello")  # as soon as a page hears itself, it has joined
                expect(page.locator("li").last).to_have_text("ada: Hello")
            say(pages[0], "Is it warm?")
            for page in pages:
                expect(page.locator("li").last).to_have_text("ada: Is it warm?")
            assert server.get("/rooms/tea/").status_code == 302
            assert re.search(r"WARNINGS|Traceback", server.output) is None
            for page in pages:
                page.context.close()


class Tutorial:
    """One walk through all parts; what a part says is to be tried is done by the method of its name."""

    def __init__(self, reader: Reader, browser: Browser, pictures: Path) -> None:
        self.reader = reader
        self.browser = browser
        self.pictures = pictures
        self.people: list[Page] = []

    def read(self, part: str) -> None:
        visit: Callable[[Server], None] = getattr(self, part.replace("-", "_"))
        with ExitStack() as open_ones:
            server: Server | None = None
            for snippet in snippets(f"{TUTORIAL}/{part}.md"):
                if server is not None and self._looks(snippet, server):
                    continue
                for command, lines in self.reader.follow(snippet):
                    server = open_ones.enter_context(serving(self.reader, command))
                    assert server.port
                    visit(server)
                    assert_shows(server.output, lines)
            if server is not None:
                self.picture(part)
                assert "Traceback" not in server.output

    def picture(self, name: str) -> None:
        page = self.people[0]
        page.screenshot(path=self.pictures / f"{name}-desktop.png")
        page.set_viewport_size(PHONE)
        page.screenshot(path=self.pictures / f"{name}-phone.png")
        page.set_viewport_size({"width": 1280, "height": 720})

    def first_socket(self, server: Server) -> None:
        page = window(self.browser, f"http://127.0.0.1:{server.port}/")
        self.people = [page]
        hears(page, "Say something.")
        say(page, "hello")
        hears(page, "Say something.", "HELLO")

    def _edits_the_view(self, server: Server) -> None:
        """What the last section of the first part asks for."""
        view = self.reader.folder / "chat" / "views.py"
        before = len(server.output)
        view.write_text(view.read_text().replace("upper", "title"))
        server.wait_for("development server at", START_TIMEOUT_S, after=before)
        page = self.people[0]
        page.reload()
        hears(page, "Say something.")
        say(page, "hello")
        hears(page, "Say something.", "Hello")

    def two_people(self, server: Server) -> None:
        self.people = [window(self.browser, f"http://127.0.0.1:{server.port}/") for _ in range(3)]
        for page, name, room in zip(self.people, ("ada", "grace", "mary"), ("tea", "tea", "coffee"), strict=True):
            page.get_by_role("link", name="sign up").click()
            page.get_by_label("Username").fill(name)
            for field in ("Password:", "Password confirmation"):
                page.get_by_label(field).fill(PASSWORD)
            page.get_by_role("button", name="Continue").click()
            page.wait_for_url("**/accounts/login/")
            log_in(page, name)
            page.get_by_role("link", name=room).click()
            say(page, f"I am {name}.")
            expect(page.get_by_role("listitem").last).to_have_text(f"{name}: I am {name}.")
        ada, grace, mary = self.people
        hears(ada, "ada: I am ada.", "grace: I am grace.")
        say(ada, "<b>Hello</b>")
        hears(grace, "grace: I am grace.", "ada: <b>Hello</b>")
        hears(mary, "mary: I am mary.")

    def kept_messages(self, server: Server) -> None:
        self.people = [window(self.browser, f"http://127.0.0.1:{server.port}/") for _ in range(2)]
        for page, name in zip(self.people, ("ada", "grace"), strict=True):
            log_in(page, name)
            page.get_by_role("link", name="tea").click()
        ada, grace = self.people
        say(ada, "Is it warm?")
        hears(grace, "ada: Is it warm?")
        ada.reload()
        hears(ada, "ada: Is it warm?")
        # The reloader stops the server and starts it again, as somebody with Ctrl-C does.
        before = len(server.output)
        (self.reader.folder / "chat" / "views.py").touch()
        server.wait_for("development server at", START_TIMEOUT_S, after=before)
        say(grace, "It is.")
        for page in self.people:
            hears(page, "ada: Is it warm?", "grace: It is.")

    def tests(self, server: Server) -> None:
        raise AssertionError("nothing serves in this part")

    def production(self, server: Server) -> None:
        self.kept = ["ada: Is it warm?", "grace: It is."]
        self.people = [window(self.browser, f"http://127.0.0.1:{server.port}/") for _ in range(2)]
        for page, name in zip(self.people, ("ada", "grace"), strict=True):
            log_in(page, name)
            page.get_by_role("link", name="tea").click()
            hears(page, *self.kept)

    def _looks(self, snippet: Snippet, server: Server) -> bool:
        """What a block says while the server runs: look at the log, type in the browser, in another terminal."""
        if snippet.language == "javascript":
            self.people[0].evaluate(f"void ({snippet.code})")
            server.wait_for(" REJECT ")
            self._edits_the_view(server)
        elif snippet.language == "text":
            assert_shows(server.output, snippet.code.splitlines())
        elif "kill -HUP" in snippet.code:
            before = len(server.output)
            server.signal(signal.SIGHUP)
            server.wait_for("Reloaded: generation 2 serves", START_TIMEOUT_S, after=before)
            say(self.people[1], "And now?")
            for page in self.people:
                expect(page.get_by_role("listitem").last).to_have_text("grace: And now?")
        elif "manage.py shell" in snippet.code:
            self.reader.follow(snippet)
            for page in self.people:
                hears(page, *self.kept, "news: The kettle is on.")
        else:
            return False
        return True


def test_what_the_tutorial_writes_passes_its_own_tests(tmp_path: Path) -> None:
    """All that it does without a browser and before its server is in production."""
    reader = Reader(tmp_path)
    for part in PARTS[:-1]:
        for snippet in snippets(f"{TUTORIAL}/{part}.md"):
            if not re.search(r"playwright|--pattern|/nowhere/", snippet.code):
                reader.follow(snippet)


@pytest.mark.slow
def test_the_tutorial(browser: Browser, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    pictures = tmp_path_factory.mktemp("pictures")
    reader = Reader(tmp_path, {"PLAYWRIGHT_BROWSERS_PATH": str(installed_for_playwright(browser, pictures))})
    tutorial = Tutorial(reader, browser, pictures)
    for part in PARTS:
        tutorial.read(part)

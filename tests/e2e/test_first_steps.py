"""The README followed word for word, in an empty folder and a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.browser import TIMEOUT_MS, chromium
from tests.e2e.startproject import BIN, Server
from tests.reader import Reader, snippets

pytestmark = pytest.mark.e2e

ADA = {
    "DJANGO_SUPERUSER_USERNAME": "ada",
    "DJANGO_SUPERUSER_EMAIL": "ada@example.org",
    "DJANGO_SUPERUSER_PASSWORD": "analytical engine",
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@contextmanager
def serving(reader: Reader, command: str) -> Iterator[Server]:
    """Type a command that serves, but with a free port in the place of 8000, and without the reloader."""
    program, *arguments = command.split()
    address = ["0", "--noreload"] if "runserver" in command else ["--port", "0"]
    arguments = [argument for argument in arguments if argument not in ("--port", "8000")]
    with Server([str(BIN / program), *arguments, *address], reader.folder, reader.env) as server:
        yield server


def log_in(browser: Browser, url: str) -> Page:
    """Open a page in a window of its own, and be sent to the login and back."""
    page = browser.new_context().new_page()
    page.set_default_timeout(TIMEOUT_MS)
    page.goto(url)
    page.get_by_label("Username").fill(ADA["DJANGO_SUPERUSER_USERNAME"])
    page.get_by_label("Password").fill(ADA["DJANGO_SUPERUSER_PASSWORD"])
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(url)
    return page


def test_the_readme(browser: Browser, tmp_path: Path) -> None:
    reader = Reader(tmp_path, ADA)
    commands = [command for snippet in snippets("README.md") for command in reader.follow(snippet)]
    assert [command.split()[0] for command in commands] == ["python", "fullduplex"]
    for command in commands:
        with serving(reader, command) as server:
            pages = [log_in(browser, f"http://127.0.0.1:{server.port}/rooms/tea/") for _ in range(2)]
            for page in pages:  # as soon as a page hears itself, it has joined
                page.get_by_label("Message").fill("Hello")
                page.get_by_label("Message").press("Enter")
                expect(page.locator("li").last).to_have_text("ada: Hello")
            pages[0].get_by_label("Message").fill("Is it warm?")
            pages[0].get_by_role("button", name="Send").click()
            for page in pages:
                expect(page.locator("li").last).to_have_text("ada: Is it warm?")
            refused = server.get("/rooms/tea/")
            assert refused.status_code == 302
            assert re.search(r"WARN|Traceback", server.output.replace("WARNING: This is a dev", "")) is None
            for page in pages:
                page.context.close()

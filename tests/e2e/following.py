"""What somebody who follows a page does with servers and windows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page

from tests.e2e.browser import FLAGS, TIMEOUT_MS, chromium_path
from tests.e2e.startproject import BIN, Server, free_port
from tests.reader import Reader

PASSWORD = "analytical engine"
ADA = {
    "DJANGO_SUPERUSER_USERNAME": "ada",
    "DJANGO_SUPERUSER_EMAIL": "ada@example.org",
    "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
}


@contextmanager
def serving(reader: Reader, command: str, port: int = 0) -> Iterator[Server]:
    """Type a command that serves, but with this port or a free one in the place of 8000."""
    program, *arguments = command.replace("--port 8000", "").split()
    address = [str(port or free_port())] if "runserver" in command else ["--port", str(port)]
    with Server([str(BIN / program), *arguments, *address], reader.folder, reader.env) as server:
        yield server


def window(browser: Browser, url: str) -> Page:
    """A private window of somebody."""
    page = browser.new_context().new_page()
    page.set_default_timeout(TIMEOUT_MS)
    page.goto(url)
    return page


def log_in(page: Page, name: str) -> None:
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password", exact=False).fill(PASSWORD)
    page.get_by_role("button").last.click()


def installed_for_playwright(browser: Browser, folder: Path) -> Path:
    """Chromium where ``playwright install`` puts its own; return the folder of its browsers."""
    build, system, _ = Path(browser.browser_type.executable_path).parts[-3:]
    build = build.replace("chromium", "chromium_headless_shell")
    program = folder / "browsers" / build / system.replace("chrome", "chrome-headless-shell") / "chrome-headless-shell"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {chromium_path()} {" ".join(FLAGS)} "$@"\n')
    program.chmod(0o755)
    return folder / "browsers"

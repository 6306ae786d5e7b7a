"""The chat of examples/chat, as a real process, and the people who use it with browsers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import BrowserContext, Page, ViewportSize, expect

from tests.e2e.browser import TIMEOUT_MS
from tests.e2e.process import ROOT, Process

PROJECT = ROOT / "examples" / "chat"
PHONE: ViewportSize = {"width": 390, "height": 844}
DESKTOP: ViewportSize = {"width": 1280, "height": 800}
LAN_HOST = "chat.lan"  # this machine, for a browser elsewhere in its network


class Chat:
    """The demo with a database of its own, on a port that it keeps over restarts."""

    def __init__(self, database: Path) -> None:
        # pytest-django has named the settings of our own tests in the environment.
        self._env = {
            "CHAT_DATABASE": str(database),
            "CHAT_HOST": LAN_HOST,
            "DJANGO_SETTINGS_MODULE": "mysite.settings",
        }
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: Process | None = None

    def manage(self, *arguments: str) -> str:
        """Run one of the project's commands to its end, and return what it wrote."""
        command = [sys.executable, str(PROJECT / "manage.py"), *arguments]
        env = {**os.environ, **self._env}
        done = subprocess.run(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def start(self) -> None:
        command = (sys.executable, str(PROJECT / "manage.py"), "runserver", str(self.port), "--noreload")
        self.process = Process(*command, ready=r"development server at (\S+)", env=self._env)
        self.process.__enter__()

    def kill(self) -> str:
        """End the server without warning; return what it wrote."""
        assert self.process is not None
        process, self.process = self.process, None
        process.kill()
        return process.output

    def stop(self) -> str:
        """Ask the server to end; return what it wrote."""
        assert self.process is not None
        process, self.process = self.process, None
        process.stop()
        return process.output


class Person:
    """Somebody with a browser of their own: cookies, storage and one page."""

    def __init__(self, context: BrowserContext, chat: Chat) -> None:
        context.set_default_timeout(TIMEOUT_MS)
        context.set_default_navigation_timeout(TIMEOUT_MS)
        self.url = chat.url
        self.page: Page = context.new_page()
        self.problems: list[str] = []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", self._note)

    def call(self, name: str) -> None:
        """Choose a name."""
        self.page.goto(f"{self.url}/name/")
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_role("button", name="Continue").click()
        expect(self.page.locator(".my-name")).to_have_text(name)

    def enter(self, room: str) -> None:
        """Enter a room by the form of the lobby."""
        self.page.goto(self.url)
        self.page.get_by_label("Room name").fill(room)
        self.page.get_by_role("button", name="Enter room").click()
        expect(self.page.get_by_role("heading", level=1)).to_have_text(room)
        self.is_connected()

    def say(self, text: str) -> None:
        box = self.page.get_by_role("textbox", name="Message to")
        box.fill(text)
        box.press("Enter")
        expect(box).to_have_value("")

    def sees(self, *texts: str) -> None:
        """These messages and no others, in this order, all of them kept by the server."""
        expect(self.page.locator("#messages .text")).to_have_text(list(texts))
        expect(self.page.locator("#messages .unsent")).to_have_count(0)

    def is_connected(self) -> None:
        expect(self.page.locator("#log")).to_have_attribute("aria-busy", "false")
        expect(self.page.get_by_role("status")).to_have_text("")

    def sees_here(self, *names: str) -> None:
        expect(self.page.locator("#here li")).to_contain_text(list(names))

    def _note(self, message: object) -> None:
        if getattr(message, "type", "") == "error":
            self.problems.append(getattr(message, "text", ""))

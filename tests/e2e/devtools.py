"""Chromium, driven by its own protocol where Playwright stands in the way: it keeps every tab looked at."""

from __future__ import annotations

import itertools
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.e2e.browser import FLAGS, chromium_path
from tests.e2e.process import WAIT_TIMEOUT_S, Process


class DevtoolsError(RuntimeError):
    """Chromium did not do what it was asked for."""


class Tabs:
    """The tabs of one window: the one that was opened or activated last is looked at, the others are hidden."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._ids = itertools.count(1)

    def open(self, url: str) -> Tab:
        target = self.call("Target.createTarget", url=url)["targetId"]
        return Tab(self, target, self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])

    def call(self, method: str, session: str = "", **params: Any) -> Any:
        number = next(self._ids)
        message = {"id": number, "method": method, "params": params, **({"sessionId": session} if session else {})}
        self._connection.send(json.dumps(message))
        while True:
            answer = json.loads(self._connection.recv(WAIT_TIMEOUT_S))
            if answer.get("id") == number:
                if "error" in answer:
                    raise DevtoolsError(answer["error"]["message"])
                return answer["result"]


class Tab:
    def __init__(self, tabs: Tabs, target: str, session: str) -> None:
        self._tabs = tabs
        self._target = target
        self._session = session

    def activate(self) -> None:
        self._tabs.call("Target.activateTarget", targetId=self._target)

    def evaluate(self, expression: str) -> Any:
        """Return what it evaluates to; a promise is waited for."""
        answer = self._tabs.call(
            "Runtime.evaluate", self._session, expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, condition: str) -> None:
        """Wait until it holds; the timers of a hidden page are too slow to do so there."""
        deadline_s = time.monotonic() + WAIT_TIMEOUT_S
        while not self._holds(condition):
            assert time.monotonic() < deadline_s, f"{condition} does not hold, in {self.evaluate('document.title')}"
            time.sleep(0.05)

    def _holds(self, condition: str) -> bool:
        try:
            return bool(self.evaluate(f"Boolean({condition})"))
        except DevtoolsError:  # the page is being loaded
            return False


@contextmanager
def tabs(*flags: str) -> Iterator[Tabs]:
    """Start Chromium without a window, and end it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = (chromium_path(), *FLAGS, *flags, "--remote-debugging-port=0", f"--user-data-dir={profile}")
        with Process(*command, "about:blank", ready=r"DevTools listening on (ws://\S+)") as process:
            try:
                with connect(process.url, proxy=None, max_size=None) as connection:
                    yield Tabs(connection)
            finally:
                process.kill()

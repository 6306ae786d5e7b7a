"""``fullduplex --reload``: what a developer sees who edits, breaks and mends the code, and what the clients see."""

from __future__ import annotations

import http.client
import re
import threading
import time

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.e2e.process import ROOT, fullduplex

pytestmark = pytest.mark.e2e

APP = """
from tests.e2e import plain_asgi

async def app(scope, receive, send):
    if scope["type"] == "http":
        await plain_asgi.respond(send, {answer!r})
    else:
        await plain_asgi.app(scope, receive, send)
"""


def ask(process) -> bytes:
    client = http.client.HTTPConnection("127.0.0.1", process.port, timeout=30)
    client.request("GET", "/")
    answer = client.getresponse().read()
    client.close()
    return answer


def wait_for(process, answer) -> None:
    """Until this code answers: the worker before may still take a connection of the last moment."""
    deadline_s = time.monotonic() + 30
    while (found := ask(process)) != answer:
        assert time.monotonic() < deadline_s, found


class Visitor(threading.Thread):
    """Asks for a page again and again; remembers what went wrong."""

    def __init__(self, process) -> None:
        super().__init__()
        self._process = process
        self._over = threading.Event()
        self.failures: list[Exception] = []
        self.start()

    def run(self) -> None:
        while not self._over.is_set():
            try:
                assert ask(self._process) in (b"first", b"the second")
            except Exception as error:
                self.failures.append(error)

    def leave(self) -> None:
        self._over.set()
        self.join()


def serve(folder, *options, **kwargs):
    env = {"PYTHONPATH": str(ROOT)}
    return fullduplex(
        "edited:app", "--reload", "--no-access-log", *options, app_dir=folder, cwd=folder, env=env, **kwargs
    )


def test_an_edit_is_served_and_a_broken_one_is_shown(tmp_path):
    source = tmp_path / "edited.py"
    source.write_text(APP.format(answer=b"first"))
    with serve(tmp_path) as process:
        assert ask(process) == b"first"
        visitor = Visitor(process)
        try:
            with connect(f"ws://127.0.0.1:{process.port}/", open_timeout=30) as websocket:
                source.write_text(APP.format(answer=b"the second"))
                with pytest.raises(ConnectionClosed) as closed:
                    websocket.recv(timeout=30)
                assert closed.value.rcvd.code == 1012
            process.wait_for("Changed: edited.py")
            process.wait_for("Reloaded: generation 2 serves")
            wait_for(process, b"the second")

            source.write_text("def broken(:\n")
            process.wait_for("SyntaxError")
            process.wait_for(re.compile("The reload failed: .* The workers from before go on serving"))
            assert ask(process) == b"the second"

            source.write_text(APP.format(answer=b"first"))
            process.wait_for(re.compile(r"Reloaded: generation \d serves"), after=process.output.index("SyntaxError"))
            wait_for(process, b"first")
        finally:
            visitor.leave()
        assert visitor.failures == []
        assert process.stop() == 0


@pytest.mark.parametrize("options", [(), pytest.param(("--no-preload", "--workers", "2"), marks=pytest.mark.slow)])
def test_code_that_is_broken_from_the_start_waits_for_its_edit(options, tmp_path):
    source = tmp_path / "edited.py"
    source.write_text("def broken(:\n")
    with serve(tmp_path, *options, ready="the next edit tries again") as process:
        source.write_text("import not_there_either\n")
        process.wait_for(re.compile(r"The reload failed: .*\. No worker serves"))
        before = len(process.output)
        source.write_text(APP.format(answer=b"first"))
        process.url = process.wait_for(re.compile(r"Listening on (\S+)"), after=before).group(1)
        assert ask(process) == b"first"
        assert process.stop() == 0

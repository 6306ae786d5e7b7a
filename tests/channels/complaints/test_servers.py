"""A project with Channels on Daphne, and with ours on our server."""

from __future__ import annotations

import contextlib
import re
import signal
import sys
import time
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.channels.complaints.conftest import Side
from tests.e2e.clients import dial_websocket
from tests.e2e.process import ROOT, Process

pytestmark = pytest.mark.e2e

SITE = "tests.channels.complaints.site_asgi:application"
COMMANDS = {
    "ours": ("-m", "fullduplex", SITE, "--port", "0"),
    "theirs": ("-m", "daphne", "-b", "127.0.0.1", "-p", "0", SITE),
}


@contextlib.contextmanager
def serve(name: str) -> Iterator[tuple[Side, Process]]:
    side = Side(name == "theirs")
    env = {"SIDE": side.of(ours="fullduplex.channels", theirs="channels"), "PYTHONWARNINGS": "default"}
    ready = r"Listening on \S*?(?:TCP address )?(?:http://)?127.0.0.1:(\d+)"
    with Process(sys.executable, *COMMANDS[name], ready=ready, cwd=ROOT, env=env) as process:
        yield side, process


@pytest.fixture(scope="module", params=COMMANDS)
def served(request: pytest.FixtureRequest) -> Iterator[tuple[Side, Process]]:
    with serve(request.param) as both:
        yield both


def dial(process: Process, path: str) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{process.url}{path}", open_timeout=20, proxy=None)


def test_headers_of_an_accept_reach_the_client(served: tuple[Side, Process]) -> None:
    side, process = served
    with dial(process, "/echo/") as socket:
        assert socket.response is not None
        assert socket.response.headers.get("x-room") == side.of(ours="lobby", theirs=None)


def test_empty_messages_are_messages(served: tuple[Side, Process]) -> None:
    side, process = served
    with dial(process, "/echo/") as socket:
        socket.send("")
        socket.send("end")
        assert socket.recv(20) == side.of(ours="", theirs="end")


def test_a_path_without_a_route_is_404_and_no_error(served: tuple[Side, Process]) -> None:
    side, process = served
    with pytest.raises(InvalidStatus) as refused:
        dial(process, "/nowhere/")
    assert refused.value.response.status_code == side.of(ours=404, theirs=500)
    process.wait_for(side.of(ours="/nowhere/", theirs="Traceback"))
    assert ("Traceback" in process.output) is side.of(ours=False, theirs=True)


def test_an_exception_in_connect(served: tuple[Side, Process]) -> None:
    """ch#1177: logged on both sides, since."""
    _, process = served
    with pytest.raises(InvalidStatus) as refused:
        dial(process, "/failing/")
    assert refused.value.response.status_code == 500
    process.wait_for(re.compile("LookupError: a consumer that fails"))


def test_a_client_that_reads_nothing_holds_the_application_up(served: tuple[Side, Process]) -> None:
    """da#170: all that is sent to it is kept in memory."""
    side, process = served
    sock, _ = dial_websocket(process, "/talking/")
    with sock:
        process.wait_for("sent 200000000" if side.is_theirs else "sent 1000000")
        time.sleep(0.5)
        assert ("sent 100000000" in process.output) is side.of(ours=False, theirs=True)


@pytest.mark.parametrize("name", COMMANDS)
def test_sockets_are_told_of_the_end(name: str) -> None:
    """da#177"""
    with serve(name) as (side, process), dial(process, "/echo/") as socket:
        process.signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(20)
        code = closed.value.rcvd.code if closed.value.rcvd is not None else None
    assert code == side.of(ours=1012, theirs=None)

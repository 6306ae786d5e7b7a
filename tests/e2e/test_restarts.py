"""Restarts under load, with a listening socket that somebody else holds, as systemd does: no request is lost."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import sys

import pytest

from tests.e2e.load import Load
from tests.e2e.process import ROOT, Process, fullduplex
from tests.e2e.proxies import Proxy
from tests.e2e.startproject import free_port

pytestmark = pytest.mark.e2e

HERE = {"PYTHONPATH": str(ROOT)}
few_and_many = pytest.mark.parametrize("count", [2, pytest.param(20, marks=pytest.mark.slow)])

# What systemd does with a service that has ended: it starts another one with the same sockets.
AGAIN = """while sh -c 'LISTEN_PID=$$ exec "$@"' sh "$@"; do :; done"""


def restart_under_load(listener, load, restarts_count, *options):
    for number in range(restarts_count + 1):
        place = ("--fd", str(listener.fileno()), "--no-access-log")
        with fullduplex("workers_asgi:app", *place, *options, env=HERE, pass_fds=(listener.fileno(),)) as process:
            if not number:
                load.start()
            load.wait_for_pid(number + 1)
            load.go_on(500)
            if number == restarts_count:
                load.stop()
            process.signal(signal.SIGTERM)
            assert process.wait() == 0
    load.tell(f"{restarts_count} restarts")
    assert not load.failures


@few_and_many
@pytest.mark.parametrize("options", [("--loop", "asyncio"), ("--loop", "uvloop"), ("--workers", "2")], ids=" ".join)
def test_a_restart_with_a_held_socket_loses_no_request(options, count):
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        restart_under_load(listener, Load(listener.getsockname()[1]), count, *options)


@few_and_many
@pytest.mark.parametrize("name", ["nginx", "haproxy"])
def test_a_restart_with_a_held_socket_loses_no_request_behind_a_proxy_that_pools(name, count, tmp_path):
    with (
        socket.create_server(("127.0.0.1", 0), backlog=512) as listener,
        Proxy(name, listener.getsockname()[1], tmp_path) as proxy,
    ):
        restart_under_load(listener, Load(proxy.port), count)


@few_and_many
def test_restarts_with_the_socket_of_systemd_lose_no_request(count):
    activate = shutil.which("systemd-socket-activate")
    if activate is None:
        pytest.skip("systemd-socket-activate is not installed")
    port = free_port()
    passed = (f"--setenv={name}={value}" for name, value in {**HERE, "PYTHONUNBUFFERED": "1"}.items())
    server = (sys.executable, "-m", "fullduplex", "workers_asgi:app", "--app-dir", str(ROOT / "tests" / "e2e"))
    options = ("--workers", "2", "--no-access-log")
    command = (activate, "-l", f"127.0.0.1:{port}", *passed, "sh", "-c", AGAIN, "sh", *server, *options)
    with Process(*command, ready="Listening on") as process:
        try:
            seen = 0
            with Load(port) as load:
                for number in range(count + 1):
                    started = process.wait_for(re.compile(r"fullduplex .*, supervisor (\d+)"), after=seen)
                    ready = process.wait_for("All 2 workers are ready", after=started.end())
                    load.wait_for_pid(2 * number + 1)
                    load.go_on(500)
                    if number < count:
                        os.kill(int(started.group(1)), signal.SIGTERM)
                    seen = ready.end()
            load.tell(f"{count} restarts")
            assert not load.failures
        finally:
            process.kill()

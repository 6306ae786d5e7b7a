"""Restarts under load, with a listening socket that somebody else holds, as systemd does: no request is lost."""

from __future__ import annotations

import signal
import socket

import pytest

from tests.e2e.load import Load
from tests.e2e.process import ROOT, fullduplex
from tests.e2e.proxies import Proxy

pytestmark = pytest.mark.e2e

HERE = {"PYTHONPATH": str(ROOT)}


def restart_under_load(listener, load, *options):
    for restarts_count in range(4):
        options = ("--fd", str(listener.fileno()), "--no-access-log", *options)
        with fullduplex("workers_asgi:app", *options, env=HERE, pass_fds=(listener.fileno(),)) as process:
            if not restarts_count:
                load.start()
            load.wait_for_pid(restarts_count + 1)
            load.go_on(500)
            if restarts_count == 3:
                load.stop()
            process.signal(signal.SIGTERM)
            assert process.wait() == 0
    assert not load.failures


@pytest.mark.parametrize("options", [("--loop", "asyncio"), ("--loop", "uvloop"), ("--workers", "2")], ids=" ".join)
def test_a_restart_with_a_held_socket_loses_no_request(options):
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        restart_under_load(listener, Load(listener.getsockname()[1]), *options)


@pytest.mark.parametrize("name", ["nginx", "haproxy"])
def test_a_restart_with_a_held_socket_loses_no_request_behind_a_proxy_that_pools(name, tmp_path):
    with (
        socket.create_server(("127.0.0.1", 0), backlog=512) as listener,
        Proxy(name, listener.getsockname()[1], tmp_path) as proxy,
    ):
        restart_under_load(listener, Load(proxy.port))

"""Restarts under load, with a listening socket that somebody else holds, as systemd does: no request is lost."""

from __future__ import annotations

import signal
import socket

import pytest

from tests.e2e.load import Load
from tests.e2e.process import ROOT, fullduplex

pytestmark = pytest.mark.e2e

HERE = {"PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_restart_with_a_held_socket_loses_no_request(loop):
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        load = Load(listener.getsockname()[1])
        for restarts_count in range(4):
            options = ("--fd", str(listener.fileno()), "--no-access-log", "--loop", loop)
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

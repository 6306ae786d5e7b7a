"""HAProxy asks whether a server of ours is well; unless told otherwise by OPTIONS / HTTP/1.0, without a Host."""

from __future__ import annotations

import csv
import http.client
import io
import shutil
import signal
import socket
import time

import pytest

from tests.e2e.process import ROOT, Process, fullduplex
from tests.e2e.proxies import PATH, wait_until_open

pytestmark = pytest.mark.e2e

CONFIG = """
global
    stats socket {folder}/stats.sock
defaults
    mode http
    timeout connect 10s
    timeout client 60s
    timeout server 60s
    timeout check 10s
    option httpclose
frontend outside
    bind 127.0.0.1:{port}
    default_backend site
backend site
    option httpchk{check}
    default-server inter 100ms
    server site 127.0.0.1:{upstream} check
"""


def state_of(folder) -> tuple[str, str]:
    """What HAProxy thinks of the server, and what its last check found: ``("UP", "L7OK")``."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        sock.connect(str(folder / "stats.sock"))
        sock.sendall(b"show stat\n")
        with sock.makefile() as answer:
            rows = csv.DictReader(io.StringIO(answer.read().removeprefix("# ")))
    (row,) = [row for row in rows if row["svname"] == "site"]
    return row["status"], row["check_status"].strip("* ")


def wait_for(folder, *wanted) -> None:
    deadline_s = time.monotonic() + 30
    while (found := state_of(folder)) not in wanted:
        assert time.monotonic() < deadline_s, found
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("path", "check"), [("/", ""), pytest.param("/healthz", " GET /healthz", marks=pytest.mark.slow)]
)
def test_haproxy_finds_a_server_up_and_hears_in_time_that_it_stops(path, check, tmp_path):
    program = shutil.which("haproxy", path=PATH)
    if program is None:
        pytest.skip("haproxy is not installed")
    options = ("--health-path", path, "--drain-grace-s", "20")
    with fullduplex("scope_asgi:app", *options, env={"PYTHONPATH": str(ROOT)}) as process:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        config = tmp_path / "haproxy.cfg"
        config.write_text(CONFIG.format(folder=tmp_path, port=port, upstream=process.port, check=check))
        with Process(program, "-db", "-f", str(config), ready="") as haproxy:
            wait_until_open(haproxy, port)
            wait_for(tmp_path, ("UP", "L7OK"))
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            client.request("GET", "/")  # HAProxy keeps no connection: nobody is left when the server stops
            assert client.getresponse().status == 200
            process.wait_for(" 200 ")
            assert process.output.count(" 200 ") == 1, "a line for the request, and none for any check"
            client.close()
            process.signal(signal.SIGTERM)
            wait_for(tmp_path, ("DOWN", "L7STS"))
            process.signal(signal.SIGTERM)  # hastens
            haproxy.kill()
    assert "OPTIONS" not in process.output
    assert "Traceback" not in process.output


def test_a_worker_that_is_replaced_does_not_say_that_the_service_stops():
    options = ("--workers", "2", "--health-path", "/healthz", "--drain-grace-s", "20")
    with fullduplex("scope_asgi:app", *options, env={"PYTHONPATH": str(ROOT)}) as process:
        client = http.client.HTTPConnection("127.0.0.1", process.port, timeout=30)
        client.request("GET", "/healthz")
        assert client.getresponse().read() == b"alive\n"
        process.signal(signal.SIGHUP)
        process.wait_for("Stopping: 1 connections open")
        client.request("GET", "/healthz")  # on the connection to the worker from before
        response = client.getresponse()
        assert (response.status, response.read()) == (200, b"alive\n")
        assert response.headers["Connection"] == "close"
        client.close()
        process.kill()  # it would wait for the grace

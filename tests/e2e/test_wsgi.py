"""A WSGI application on our server, and Django's own WSGI handler."""

from __future__ import annotations

import http.client
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.process import fullduplex
from tests.e2e.test_server import get

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def server(request):
    options = ("--interface", "wsgi", "--wsgi-threads", "4", "--loop", request.param)
    with fullduplex("plain_wsgi:app", *options, "--timeout-graceful-shutdown", "0.5") as process:
        yield process


def test_hello(server):
    assert get(server) == (200, b"Hello, world!")


def test_megabytes_both_ways(server):
    body = os.urandom(5_000_000)
    assert get(server, "/echo", method="POST", body=body) == (200, body)


def test_a_file(server):
    assert get(server, "/file") == (200, b"x" * 999_990)


def test_more_requests_than_threads(server):
    started_s = time.monotonic()
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda _: get(server, "/slow"), range(8)))
    assert answers == [(200, b"Hello, world!")] * 8
    assert time.monotonic() - started_s > 0.5


def test_a_stream_comes_as_it_is_made_and_ends_with_its_client(server):
    for _ in range(6):  # more than there are threads
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        client.request("GET", "/stream")
        response = client.getresponse()
        assert response.read(5) == b"tick\n"
        response.close()
        client.close()
    assert get(server) == (200, b"Hello, world!")


def test_a_thread_that_sleeps_does_not_keep_the_server_from_stopping():
    options = ("--interface", "wsgi", "--timeout-graceful-shutdown", "0.2")
    with fullduplex("plain_wsgi:app", *options) as process:
        client = http.client.HTTPConnection("127.0.0.1", process.port, timeout=30)
        client.request("GET", "/sleep")
        process.wait_for("sleeping")
        process.signal(signal.SIGTERM)
        assert process.wait() == 0  # the thread would sleep for twice as long as this waits
        client.close()


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_django_s_own_wsgi_handler(tmp_path, loop):
    content = os.urandom(1_000_000)
    (tmp_path / "file.bin").write_bytes(content)
    proxy = ("--forwarded-allow-ips", "127.0.0.1", "--root-path", "/shop")
    env = {"TEST_FILE": str(tmp_path / "file.bin")}
    with fullduplex("django_wsgi:app", "--interface", "wsgi", "--loop", loop, *proxy, env=env) as process:
        headers = {"X-Forwarded-For": "1.2.3.4", "X-Forwarded-Proto": "https", "Host": "example.org"}
        status, body = get(process, "/seen/?q=1", method="POST", body=b"posted", headers=headers)
        assert status == 200
        assert body.decode().splitlines() == ["/shop/seen/?q=1", "1.2.3.4", "True", "example.org", "posted"]
        assert get(process, "/stream/") == (200, b"012")
        assert get(process, "/file/") == (200, content)
        assert get(process, "/missing/")[0] == 404
    assert "Traceback" not in process.output

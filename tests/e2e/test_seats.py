"""More clients than there are seats, or descriptors: whatever they do, their number is bounded, and it is told."""

from __future__ import annotations

import os
import re
import selectors
import socket
import ssl
import sys
from pathlib import Path

import pytest
import trustme

from fullduplex.net.seats import REFUSALS_COUNT
from tests.e2e.clients import GET, dial, read_to_end
from tests.e2e.process import Process, fullduplex

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc to count descriptors"),
]
of_both_loops = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])

LIMIT = 5
CROWD = 100
LONG_S = "600"  # longer than any test: nothing here ends because a deadline has passed
PATIENT = ("--no-access-log", "--http1-first-byte-timeout-s", LONG_S, "--timeout-keep-alive", LONG_S)
SPARE = 4  # descriptors that a server opens by and by


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tls") / "cert.pem"
    trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(path)
    return str(path)


def descriptors(process: Process) -> int:
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def close_all(socks: list[socket.socket]) -> None:
    for sock in socks:
        sock.close()


def wait_for_closed(socks: list[socket.socket], most_open: int) -> None:
    """Wait until no more than ``most_open`` are open."""
    selector = selectors.DefaultSelector()
    for sock in socks:
        sock.settimeout(0.0)
        selector.register(sock, selectors.EVENT_READ)
    while len(selector.get_map()) > most_open:
        ready = selector.select(30)
        assert ready, f"{len(selector.get_map())} are open"
        for key, _ in ready:
            selector.unregister(key.fileobj)
    selector.close()


@of_both_loops
@pytest.mark.parametrize("kind", ["TLS handshake", "PROXY header"])
def test_those_that_have_not_begun_have_seats(kind: str, loop: str, certificate: str) -> None:
    if kind == "TLS handshake":
        options = ("--ssl-certfile", certificate, "--ssl-handshake-timeout-s", LONG_S)
    else:
        options = ("--proxy-protocol", "--forwarded-allow-ips", "*", "--proxy-protocol-timeout-s", LONG_S)
    limit = ("--limit-connections", str(LIMIT), "--loop", loop)
    with fullduplex("plain_asgi:app", *limit, *PATIENT, *options) as process:
        before = descriptors(process)
        silent = [dial(process) for _ in range(CROWD)]
        try:
            wait_for_closed(silent, LIMIT + REFUSALS_COUNT)
            assert descriptors(process) - before <= LIMIT + REFUSALS_COUNT + SPARE
            process.wait_for(f"{LIMIT} connections are open (--limit-connections)")
            process.wait_for("more connections were refused")
        finally:
            close_all(silent)
        assert process.output.count("--limit-connections") <= 4, "one line a second"
        assert "Traceback" not in process.output


@of_both_loops
def test_those_that_are_refused_and_linger_are_few(loop: str) -> None:
    with fullduplex("plain_asgi:app", "--limit-connections", str(LIMIT), "--loop", loop, *PATIENT) as process:
        before = descriptors(process)
        served = [dial(process, GET % b"/") for _ in range(LIMIT)]
        for sock in served:
            assert sock.recv(12) == b"HTTP/1.1 200"
        crowd = [dial(process, b"GET / HTTP/1.1\r\n") for _ in range(CROWD)]
        try:
            # None of them closes: those who may linger are let go after two seconds, the others at once.
            answers = [sock.recv(12) for sock in crowd]
            assert answers == [b"HTTP/1.1 503"] * CROWD
            assert descriptors(process) - before <= LIMIT + REFUSALS_COUNT + SPARE
            served[0].sendall(GET % b"/")
            close_all(crowd)
            close_all(served[1:])
            while True:  # a seat is free once its end has been noticed
                with dial(process, GET % b"/") as sock:
                    if sock.recv(12) == b"HTTP/1.1 200":
                        break
        finally:
            close_all(crowd)
            close_all(served)


@of_both_loops
def test_a_refusal_over_tls_is_heard(loop: str, certificate: str) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    options = ("--limit-connections", "1", "--loop", loop, "--ssl-certfile", certificate)
    with fullduplex("plain_asgi:app", *options, *PATIENT) as process, context.wrap_socket(dial(process)) as served:
        served.sendall(GET % b"/")
        assert served.recv(12) == b"HTTP/1.1 200"
        for _ in range(3):
            with context.wrap_socket(dial(process)) as refused:
                assert read_to_end(refused).startswith(b"HTTP/1.1 503")


@pytest.mark.skipif(sys.platform != "linux", reason="changes the limit of another process")
@of_both_loops
def test_out_of_descriptors_accepting_pauses_and_goes_on(loop: str) -> None:
    import resource

    with fullduplex("plain_asgi:app", "--loop", loop, *PATIENT) as process:
        with dial(process, GET % b"/") as sock:
            assert sock.recv(12) == b"HTTP/1.1 200"
        _, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (descriptors(process) + LIMIT, hard))
        crowd = [dial(process, GET % b"/") for _ in range(4 * LIMIT)]
        try:
            process.wait_for("No connection is accepted: Too many open files")
            process.wait_for(re.compile(r"(\d+) more attempts to accept failed"))
            process.wait_for(re.compile(r"more attempts to accept failed.*more attempts to accept failed", re.DOTALL))
            told = process.output.count("No connection is accepted")
            assert told <= 4, "one line a second"
            for sock in crowd[:LIMIT]:
                assert sock.recv(12) == b"HTTP/1.1 200", "who has a descriptor is served"
            close_all(crowd[: LIMIT - 1])  # as many are served in their place, and the others wait still
            for sock in crowd[LIMIT : 2 * LIMIT - 1]:
                assert sock.recv(12) == b"HTTP/1.1 200"
            assert "are accepted again" not in process.output
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (hard, hard))
            for sock in crowd[2 * LIMIT - 1 :]:
                assert sock.recv(12) == b"HTTP/1.1 200", "nobody has been sent away"
            process.wait_for(re.compile(r"Connections are accepted again, after \d+\.\d s"))
        finally:
            close_all(crowd)
        assert process.output.count("accepted again") == 1
        assert "Traceback" not in process.output

"""https and wss with certificates of the tests' own."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import ssl
import time

import pytest
import trustme
from websockets.sync.client import connect

from tests.e2e.process import ROOT, fullduplex

pytestmark = pytest.mark.e2e

CA = trustme.CA()
HERE = {"PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("tls")
    renew(path)
    CA.cert_pem.write_to_path(path / "ca.pem")
    return path


def renew(directory) -> None:
    """Put a new certificate with its key in place of the old one, at once."""
    CA.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(directory / "new.pem")
    os.replace(directory / "new.pem", directory / "cert.pem")


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def server(request, directory):
    options = ("--ssl-certfile", str(directory / "cert.pem"), "--ssl-handshake-timeout-s", "1")
    verify = ("--ssl-ca-certs", str(directory / "ca.pem"), "--ssl-cert-reqs", "optional")
    with fullduplex("tls_asgi:app", *options, *verify, "--loop", request.param, env=HERE) as process:
        yield process


def client_context(certificate=None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    CA.configure_trust(context)
    if certificate is not None:
        certificate.configure_cert(context)
    return context


def fetch(process, certificate=None) -> dict:
    client = http.client.HTTPSConnection("localhost", process.port, timeout=30, context=client_context(certificate))
    client.request("GET", "/")
    seen = json.loads(client.getresponse().read())
    seen["served"] = client.sock.getpeercert(binary_form=True)
    client.close()
    return seen


def test_https_and_what_the_application_sees(server):
    assert server.url.startswith("https://")
    assert "Protocols: TLS, HTTP/2, HTTP/1.1" in server.output
    seen = fetch(server)
    assert seen["scheme"] == "https"
    assert seen["tls"]["tls_version"] == 0x0304
    assert seen["tls"]["client_cert_chain"] == []
    assert ssl.PEM_cert_to_DER_cert(seen["tls"]["server_cert"]) == seen["served"]


def test_a_client_certificate_reaches_the_application(server):
    seen = fetch(server, CA.issue_cert("someone", common_name="Someone"))
    assert seen["tls"]["client_cert_name"].startswith("CN=Someone")
    assert seen["tls"]["client_cert_chain"][0].startswith("-----BEGIN CERTIFICATE-----")


def test_wss(server):
    with connect(f"wss://localhost:{server.port}/", ssl=client_context(), open_timeout=30) as socket:
        for message in ("hello", b"\x00" * 1_000_000):
            socket.send(message)
            assert socket.recv(timeout=30) == message


def test_plain_http_and_garbage_on_a_tls_port_are_closed_quietly(server):
    for data in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x00" * 100, b""):
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            try:
                assert b"HTTP" not in sock.recv(1000)
            except ConnectionResetError:
                pass
    assert fetch(server)["scheme"] == "https"
    assert "Traceback" not in server.output
    assert "ERROR" not in server.output


def test_a_handshake_that_fails_is_one_line_and_the_client_hears_why(server):
    def last_line(sock, failed):
        return f"INFO    The TLS handshake with 127.0.0.1:{sock.getsockname()[1]} failed: {failed}\n"

    def dial():
        return socket.create_connection(("127.0.0.1", server.port), timeout=30)

    with dial() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        server.wait_for(last_line(sock, "http request"))
    with dial() as sock:  # it trusts nobody, and says so
        name = f"127.0.0.1:{sock.getsockname()[1]}"
        with pytest.raises(ssl.SSLCertVerificationError):
            ssl.create_default_context().wrap_socket(sock, server_hostname="localhost")
        server.wait_for(re.compile(f"{name} failed: .*alert unknown ca\n"))
    stranger = ssl.create_default_context()
    CA.configure_trust(stranger)
    trustme.CA().issue_cert("someone").configure_cert(stranger)
    with dial() as sock:
        secured = stranger.wrap_socket(sock, server_hostname="localhost")
        with pytest.raises(ssl.SSLError, match="alert unknown ca"), secured:
            secured.recv(1000)
        server.wait_for(re.compile("failed: its certificate is refused: .+\n"))
    with dial() as sock:
        sock.sendall(b"\x16\x03\x01\x02\x00\x01")  # the head of a record, and no more
        sock.shutdown(socket.SHUT_WR)
        server.wait_for(last_line(sock, "the client left"))
    with dial() as sock:
        server.wait_for(last_line(sock, "it took too long"))
    with dial() as sock:  # a proxy that looks whether we are there
        name = f"{sock.getsockname()[1]} failed"
    assert fetch(server)["scheme"] == "https"
    assert name not in server.output
    assert "Traceback" not in server.output


def test_a_client_that_speaks_an_old_version_gets_the_alert(server):
    # TLS 1.1, as a client hello (RFC 4346 section 7.4.1.2): a version, a random value, no session, one cipher.
    hello = b"\x03\x02" + bytes(32) + b"\x00" + b"\x00\x02\x00\x2f" + b"\x01\x00"
    record = b"\x01" + len(hello).to_bytes(3, "big") + hello
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
        sock.sendall(b"\x16\x03\x01" + len(record).to_bytes(2, "big") + record)
        alert = sock.recv(1000)
    assert alert[0] == 21
    assert alert[5:] == b"\x02\x46", "fatal, protocol_version"


def test_a_handshake_has_a_deadline(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
        started_s = time.monotonic()
        try:
            assert sock.recv(1000) == b""
        except ConnectionResetError:
            pass
        assert 0.5 < time.monotonic() - started_s < 9, "the default is 10"
    assert "Traceback" not in server.output


def test_new_files_are_served_without_a_restart_and_open_connections_live_on(server, directory):
    with connect(f"wss://localhost:{server.port}/", ssl=client_context(), open_timeout=30) as websocket:
        before = fetch(server)["served"]
        renew(directory)
        server.wait_for("TLS renewed")
        assert fetch(server)["served"] != before
        websocket.send("still here")
        assert websocket.recv(timeout=30) == "still here"


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")
def test_hup_renews_and_a_broken_file_changes_nothing(tmp_path):
    renew(tmp_path)
    with fullduplex("tls_asgi:app", "--ssl-certfile", str(tmp_path / "cert.pem"), env=HERE) as process:
        before = fetch(process)["served"]
        process.signal(signal.SIGHUP)
        process.wait_for("TLS renewed")
        (tmp_path / "cert.pem").write_text("broken")
        process.signal(signal.SIGHUP)
        process.wait_for(re.compile("ERROR .*TLS stays as it was: .*cert.pem: not in PEM"))
        assert fetch(process)["served"] == before


def test_a_context_of_one_s_own(directory):
    env = {**HERE, "TEST_CERT": str(directory / "cert.pem")}
    with fullduplex("tls_asgi:app", "--ssl-context", "tls_asgi:make_context", env=env) as process:
        assert fetch(process)["tls"]["server_cert"] is None


def test_a_missing_certificate_is_one_clear_line():
    with fullduplex(
        "tls_asgi:app", "--ssl-certfile", "nowhere.pem", env=HERE, ready="ERROR .*nowhere.pem: No"
    ) as process:
        assert process.wait() == 1
    assert "Traceback" not in process.output


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_handshakes_in_progress_do_not_keep_the_server(directory, loop):
    options = ("--ssl-certfile", str(directory / "cert.pem"), "--loop", loop)
    patient = ("--ssl-handshake-timeout-s", "600", "--timeout-graceful-shutdown", "600")
    with fullduplex("tls_asgi:app", *options, *patient, env=HERE) as process:
        idle = [socket.create_connection(("127.0.0.1", process.port), timeout=30) for _ in range(20)]
        assert fetch(process)["scheme"] == "https"
        assert process.stop() == 0
        for sock in idle:
            sock.close()
    assert "Traceback" not in process.output

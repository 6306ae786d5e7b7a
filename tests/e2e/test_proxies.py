"""Behind proxies: headers and PROXY protocol, of trusted peers alone."""

from __future__ import annotations

import http.client
import json
import socket
import ssl

import pytest
import trustme

from tests.e2e.process import ROOT, fullduplex
from tests.wire.test_proxy_protocol import TCP4, v2

pytestmark = pytest.mark.e2e

HERE = {"PYTHONPATH": str(ROOT)}
V1 = b"PROXY TCP4 1.2.3.4 5.6.7.8 1000 443\r\n"


def serve(*options):
    return fullduplex("scope_asgi:app", *options, env=HERE)


def fetch(process, path="/", headers=(), *, before=b"", context=None) -> dict:
    client = http.client.HTTPConnection("127.0.0.1", process.port, timeout=30)
    client.sock = socket.create_connection(("127.0.0.1", process.port), timeout=30)
    client.sock.sendall(before)
    if context is not None:
        client.sock = context.wrap_socket(client.sock, server_hostname="localhost")
    client.request("GET", path, headers=dict(headers))
    seen = json.loads(client.getresponse().read())
    client.close()
    return seen


FORWARDED = {"X-Forwarded-For": "6.6.6.6, 1.2.3.4", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil"}


def test_nobody_is_trusted_unasked():
    with serve() as process:
        seen = fetch(process, headers=FORWARDED)
        assert (seen["client"][0], seen["scheme"]) == ("127.0.0.1", "http")


def test_a_trusted_proxy_names_the_client_and_the_access_line_has_it():
    with serve("--forwarded-allow-ips", "10.0.0.0/8,127.0.0.1", "--root-path", "/app") as process:
        seen = fetch(process, "/a%20b", FORWARDED)
        assert (seen["client"], seen["scheme"]) == (["1.2.3.4", 0], "https")
        assert seen["headers"]["host"] == f"127.0.0.1:{process.port}"
        assert (seen["root_path"], seen["path"], seen["raw_path"]) == ("/app", "/app/a b", "/app/a%20b")
        process.wait_for('1.2.3.4:0 "GET /app/a%20b')


PROXY_PROTOCOL = ("--proxy-protocol", "--forwarded-allow-ips", "127.0.0.1", "--proxy-protocol-timeout-s", "1")


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def proxied(request):
    with serve(*PROXY_PROTOCOL, "--loop", request.param) as process:
        yield process


@pytest.mark.parametrize("header", [V1, v2(0x21, 0x11, TCP4)])
def test_proxy_protocol(proxied, header):
    seen = fetch(proxied, before=header)
    assert (seen["client"], seen["server"]) == (["1.2.3.4", 1000], ["5.6.7.8", 443])


def test_version_1_says_https_by_the_port_where_its_proxy_ends_tls():
    with serve(*PROXY_PROTOCOL, "--proxy-protocol-tls-ports", "443,8443") as process:
        assert fetch(process, before=V1)["scheme"] == "https"
        assert fetch(process, before=V1.replace(b" 443", b" 80"))["scheme"] == "http"
        assert fetch(process, before=v2(0x20, 0, b""))["scheme"] == "http"


def test_a_port_that_is_none_is_one_clear_line():
    with fullduplex(
        "scope_asgi:app", *PROXY_PROTOCOL, "--proxy-protocol-tls-ports", "https", env=HERE, ready=""
    ) as process:
        assert process.wait() == 1
    assert "--proxy-protocol-tls-ports: 'https' is not a port." in process.output
    assert "Traceback" not in process.output


def test_a_health_check_of_the_proxy_itself(proxied):
    assert fetch(proxied, before=v2(0x20, 0, b""))["client"][0] == "127.0.0.1"


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", V1[:10], b"", b"PROXY TCP4 x\r\n"])
def test_without_a_header_the_connection_is_dropped_in_time(proxied, data):
    with socket.create_connection(("127.0.0.1", proxied.port), timeout=30) as sock:
        sock.sendall(data)
        try:
            assert sock.recv(1000) == b""
        except ConnectionResetError:
            pass
    assert "Traceback" not in proxied.output


def test_a_stranger_s_header_is_not_read():
    with serve("--proxy-protocol", "--forwarded-allow-ips", "10.0.0.1") as process:
        with socket.create_connection(("127.0.0.1", process.port), timeout=30) as sock:
            assert sock.recv(1000) == b""
        process.wait_for("not a trusted proxy")
        assert process.stop() == 0
    assert "Traceback" not in process.output


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_tls_comes_after_the_header(tmp_path, loop):
    ca = trustme.CA()
    ca.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(tmp_path / "cert.pem")
    context = ssl.create_default_context()
    ca.configure_trust(context)
    with serve(*PROXY_PROTOCOL, "--ssl-certfile", str(tmp_path / "cert.pem"), "--loop", loop) as process:
        seen = fetch(process, before=V1, context=context)
        assert (seen["client"], seen["scheme"]) == (["1.2.3.4", 1000], "https")
        with socket.create_connection(("127.0.0.1", process.port), timeout=30) as sock:
            sock.sendall(V1 + b"GET / HTTP/1.1\r\n\r\n")
            assert b"HTTP" not in sock.recv(1000)
        assert process.stop() == 0
    assert "Traceback" not in process.output

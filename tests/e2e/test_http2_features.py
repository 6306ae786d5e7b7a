"""What works over HTTP/1.1 works over HTTP/2: the same requests, asked over both, have the same answers."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import trustme

from tests.e2e.process import ROOT, fullduplex
from tests.e2e.startproject import Project, Server
from tests.wire.http2_frames import DATA, GET, GOAWAY, HEADERS, START, Frame, headers

pytestmark = pytest.mark.e2e

CA = trustme.CA()
LIBRARIES = ("ngh2", pytest.param("h2", marks=pytest.mark.slow))
BOUNDARY = {"Content-Type": "multipart/form-data; boundary=between"}
# Of the moment, of one request, or of a connection alone.
VARYING = {
    "date",
    "connection",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
    "expires",
    "last-modified",
    "set-cookie",
}


@contextmanager
def client(url: str, *, http2: bool, **options: Any) -> Iterator[httpx.Client]:
    context = ssl.create_default_context()
    CA.configure_trust(context)
    framing = {"http1": not http2, "http2": http2}
    with httpx.Client(base_url=url, verify=options.pop("verify", context), timeout=60, **framing, **options) as made:
        yield made


def shown(response: httpx.Response) -> tuple[int, dict[str, str], bytes]:
    fields = {name: value for name, value in response.headers.items() if name not in VARYING}
    return response.status_code, fields, response.content


def ask(url: str, requests: list[tuple[str, str, dict[str, Any]]], *, http2: bool, **options: Any) -> list[Any]:
    with client(url, http2=http2, **options) as session:
        answers = [session.request(method, path, **values) for method, path, values in requests]
    assert {answer.http_version for answer in answers} == {"HTTP/2" if http2 else "HTTP/1.1"}
    return [shown(answer) for answer in answers]


def assert_same(url: str, requests: list[tuple[str, str, dict[str, Any]]], **options: Any) -> list[Any]:
    over_http1 = ask(url, requests, http2=False, **options)
    over_http2 = ask(url, requests, http2=True, **options)
    for request, one, other in zip(requests, over_http1, over_http2, strict=True):
        assert one == other, request[:2]
    return over_http2


@pytest.fixture(scope="module", params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def django(library: str, site: Project) -> Iterator[Server]:
    options = ("--port", "0", "--http2", "--http2-library", library, "--forwarded-allow-ips", "127.0.0.1")
    with site.fullduplex("mysite.asgi:application", *options) as server:
        server.wait_for("Listening on")
        yield server


def base(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}"


def test_django(django: Server) -> None:
    forwarded = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
    answers = assert_same(
        base(django),
        [
            ("GET", "/function/", {}),
            ("HEAD", "/class/", {}),
            ("GET", "/users/", {}),
            ("GET", "/who/", {"headers": forwarded}),
            ("GET", "/download/", {}),
            ("HEAD", "/download/", {}),
            ("GET", "/missing/", {}),
            ("GET", "/function", {}),
            ("GET", "/admin/", {}),
            ("GET", "/echo/a/", {}),
            ("POST", "/digest/", {"content": bytes(2_000_000)}),
            ("POST", "/digest/", {"files": {"file": ("name", b"x" * 500_000)}, "headers": BOUNDARY}),
            ("OPTIONS", "/class/", {}),
        ],
    )
    assert json.loads(answers[3][2])["address"] == "192.0.2.7"
    assert [answer[0] for answer in answers] == [200, 200, 200, 200, 200, 200, 404, 301, 302, 426, 200, 200, 200]
    django.wait_for(re.compile(r'192\.0\.2\.7\S* .*"GET /who/ HTTP/2'))


def test_a_form_of_django_with_its_cookies(django: Server) -> None:
    for http2 in (False, True):
        with client(base(django), http2=http2) as session:
            page = session.get("/admin/login/")
            token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
            assert token is not None
            values = {"username": "nobody", "password": "wrong", "csrfmiddlewaretoken": token[1]}
            session.cookies.set("another", "crumb")
            refused = session.post("/admin/login/", data={**values, "csrfmiddlewaretoken": "x"})
            answer = session.post("/admin/login/", data=values)
            assert (page.status_code, refused.status_code, answer.status_code) == (200, 403, 200)
            assert "correct username and password" in answer.text.replace("\n", " ")


def test_a_stream_of_django_ends_with_its_client(django: Server) -> None:
    before = len(django.output)
    with client(base(django), http2=True) as session, session.stream("GET", "/events/") as answer:
        assert next(answer.iter_text()).startswith("data: tick")
    django.wait_for("nobody listens any more", after=before)


def test_wsgi(library: str) -> None:
    options = ("--interface", "wsgi", "--http2", "--http2-library", library)
    with fullduplex("plain_wsgi:app", *options) as server:
        body = os.urandom(1_000_000)
        answers = assert_same(
            server.url,
            [("GET", "/", {}), ("POST", "/echo", {"content": body}), ("GET", "/file", {}), ("HEAD", "/", {})],
        )
        assert answers[1][2] == body


def test_files_limits_and_root_path(library: str, tmp_path) -> None:
    file = tmp_path / "file"
    file.write_bytes(os.urandom(3_000_000))
    env = {"PYTHONPATH": str(ROOT), "TEST_FILE": str(file)}
    options = ("--http2", "--http2-library", library, "--limit-request-body", "1000")
    with fullduplex("files_asgi:app", *options, env=env) as server:
        requests = [("GET", "/", {}), ("HEAD", "/", {}), ("GET", "/part", {}), ("POST", "/", {"content": b"x" * 1001})]
        answers = assert_same(server.url, requests)
        assert (answers[0][2], answers[3][0]) == (file.read_bytes(), 413)
    with fullduplex("scope_asgi:app", "--http2", "--http2-library", library, "--root-path", "/app") as server:
        with client(server.url, http2=True) as session:
            seen = session.get("/a%20b").json()
        assert (seen["path"], seen["root_path"], seen["raw_path"]) == ("/app/a b", "/app", "/app/a%20b")


def test_tls_with_the_certificate_of_a_client(library: str, tmp_path) -> None:
    CA.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(tmp_path / "cert.pem")
    CA.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context()
    CA.configure_trust(context)
    CA.issue_cert("ada@example.org").configure_cert(context)
    files = ("--ssl-certfile", str(tmp_path / "cert.pem"), "--ssl-ca-certs", str(tmp_path / "ca.pem"))
    options = ("--ssl-cert-reqs", "required", "--http2", "--http2-library", library)
    with fullduplex("tls_asgi:app", *files, *options, env={"PYTHONPATH": str(ROOT)}) as server:
        [answer] = assert_same(f"https://localhost:{server.port}", [("GET", "/", {})], verify=context)
        seen = json.loads(answer[2])
        assert seen["scheme"] == "https"
        assert seen["tls"]["client_cert_chain"]


def test_behind_a_proxy_header_and_on_a_unix_socket(library: str, tmp_path) -> None:
    options = ("--http2", "--http2-library", library)
    with fullduplex("scope_asgi:app", *options, "--proxy-protocol", "--forwarded-allow-ips", "127.0.0.1") as server:
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.sendall(b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 443\r\n" + START + headers(GET))
            seen = json.loads(content(sock))
        assert (seen["client"], seen["server"]) == (["192.0.2.7", 5000], ["192.0.2.1", 443])
    path = tmp_path / "s"
    with fullduplex("scope_asgi:app", *options, "--uds", str(path)):
        transport = httpx.HTTPTransport(uds=str(path), http1=False, http2=True)
        with httpx.Client(transport=transport, timeout=60) as session:
            answer = session.get("http://a/")
            assert (answer.http_version, answer.json()["path"]) == ("HTTP/2", "/")


def content(sock: socket.socket) -> bytes:
    """Of the first response, read by hand."""
    body, buffered = b"", b""
    sock.settimeout(60)
    while True:
        buffered += sock.recv(65_536)
        while len(buffered) >= 9 and len(buffered) >= 9 + int.from_bytes(buffered[:3], "big"):
            size = int.from_bytes(buffered[:3], "big")
            one = Frame(buffered[3], buffered[4], int.from_bytes(buffered[5:9], "big"), buffered[9 : 9 + size])
            buffered = buffered[9 + size :]
            assert one.kind != GOAWAY
            if one.kind == DATA:
                body += one.payload
            if one.kind in (DATA, HEADERS) and one.flags & 1:
                return body

"""HTTP/2 with the clients that people have: curl, nghttp, h2load, Node, undici, httpx."""

from __future__ import annotations

import json
import shutil
import signal
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest
import trustme

from fullduplex.wire.http2_errors import ErrorCode
from tests.e2e.clients import dial, flat_memory, read_to_end
from tests.e2e.process import Process, fullduplex
from tests.wire.http2_frames import GET, GOAWAY, START, frames, headers

pytestmark = pytest.mark.e2e

HERE = Path(__file__).parent
CA = trustme.CA()
TIMEOUT_S = 120.0  # only ever reached by a hang
UNDICI = "undici@7.30.2"


SETUPS = [
    ("ngh2", "uvloop"),
    pytest.param(("ngh2", "asyncio"), marks=pytest.mark.slow),  # the same on another loop
    pytest.param(("h2", "uvloop"), marks=pytest.mark.slow),  # which the wire's tests have
]


@pytest.fixture(scope="module", params=SETUPS, ids=lambda setup: "-".join(setup))
def options(request) -> tuple[str, ...]:
    library, loop = request.param
    return ("--http2-library", library, "--loop", loop)


@pytest.fixture(scope="module")
def server(options):
    with fullduplex("http2_asgi:app", *options) as process:
        yield process


@pytest.fixture(scope="module")
def secure(options, tmp_path_factory):
    path = tmp_path_factory.mktemp("tls")
    CA.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(path / "cert.pem")
    CA.cert_pem.write_to_path(path / "ca.pem")
    with fullduplex("http2_asgi:app", *options, "--ssl-certfile", str(path / "cert.pem")) as process:
        process.ca = path / "ca.pem"  # type: ignore[attr-defined]
        yield process


@pytest.fixture(scope="module")
def upload(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("upload") / "content"
    path.write_bytes(bytes(1_000_000))
    return path


def client(*command: str) -> str:
    """What it wrote, where it is at hand."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, (done.returncode, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


def curl(*arguments: str) -> str:
    if "HTTP2" not in client("curl", "--version"):
        pytest.skip("this curl has no HTTP/2")
    return client("curl", "--silent", "--show-error", "--max-time", "100", *arguments)


def base(process: Process) -> str:
    return f"https://localhost:{process.port}" if hasattr(process, "ca") else f"http://127.0.0.1:{process.port}"


def test_curl_by_prior_knowledge(server, upload) -> None:
    known = "--http2-prior-knowledge"
    assert curl(known, base(server) + "/") == "2 http"
    assert curl(base(server) + "/") == "1.1 http"
    assert curl(known, "--upload-file", str(upload), base(server) + "/count") == "1000000"
    assert curl(known, "--upload-file", str(upload), base(server) + "/early") == "2 http"
    assert len(curl(known, base(server) + "/big")) == 65_536
    assert (
        curl(known, "--upload-file", str(upload), "--write-out", " %{http_code}", base(server) + "/refuse") == "no 413"
    )
    head = curl(known, "--include", base(server) + "/parts")
    assert "HTTP/2 103" in head
    assert "HTTP/2 200" in head
    assert "connection:" not in head


def test_curl_over_tls_by_alpn(secure, upload) -> None:
    trust = ("--cacert", str(secure.ca), "--resolve", f"localhost:{secure.port}:127.0.0.1")
    assert curl("--http2", *trust, base(secure) + "/") == "2 https"
    assert curl("--http1.1", *trust, base(secure) + "/") == "1.1 https"
    assert curl("--http2", *trust, "--upload-file", str(upload), base(secure) + "/count") == "1000000"
    assert len(curl("--http2", *trust, base(secure) + "/big")) == 65_536


def handshake(
    process: Process, protocols: list[str], ciphers: str = "", name: str | None = "localhost"
) -> ssl.SSLSocket:
    """A connection of TLS with what it offers; of TLS 1.2, where that is ciphers."""
    context = ssl.create_default_context()
    CA.configure_trust(context)
    context.check_hostname = name is not None
    if protocols:
        context.set_alpn_protocols(protocols)
    if ciphers:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(ciphers)
    return context.wrap_socket(dial(process), server_hostname=name)


@pytest.mark.parametrize("protocols", [[], ["http/1.1"], ["h3", "http/1.1"]])
def test_3_2_over_tls_it_is_negotiated(secure, protocols) -> None:
    with handshake(secure, protocols) as sock:
        assert sock.selected_alpn_protocol() in (None, "http/1.1")
        sock.sendall(START + headers(GET))
        assert sock.recv(1000).startswith(b"HTTP/1.1 505 ")


@pytest.mark.parametrize("ciphers", ["ECDHE+AESGCM", "ECDHE+CHACHA20"])
def test_9_2_2_good_ciphers_of_tls_12_and_no_server_name(secure, ciphers) -> None:
    with handshake(secure, ["h2", "http/1.1"], ciphers, name=None) as sock:
        assert sock.selected_alpn_protocol() == "h2"
        sock.sendall(START + headers(GET))
        assert b"2 https" in read_until(sock, b"2 https")


@pytest.mark.parametrize("cipher", ["ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA384"])
def test_9_2_2_bad_ciphers_of_tls_12(secure, cipher) -> None:
    """The listed ones; HTTP/1.1 is spoken over them."""
    with handshake(secure, ["h2"], cipher) as sock:
        sock.sendall(START + headers(GET))
        [code] = {one.code for one in frames(read_to_end(sock)) if one.kind == GOAWAY}
        assert code == ErrorCode.INADEQUATE_SECURITY
    secure.wait_for(f"RFC 9113 section 9.2.2: {cipher}")
    with handshake(secure, ["http/1.1"], cipher) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert sock.recv(1000).startswith(b"HTTP/1.1 200 ")


def read_until(sock: ssl.SSLSocket, end: bytes) -> bytes:
    received = b""
    while end not in received:
        piece = sock.recv(10_000)
        assert piece, received
        received += piece
    return received


def test_an_upgrade_by_option(options) -> None:
    with fullduplex("http2_asgi:app", "--h2c-upgrade", *options) as process:
        assert curl("--http2", base(process) + "/") == "2 http"
        assert len(curl("--http2", base(process) + "/big")) == 65_536
        assert client("nghttp", "--upgrade", base(process) + "/parts") == "part" * 10
        assert httpx.get(base(process) + "/").text == "1.1 http"


def test_no_upgrade_unasked(server) -> None:
    assert curl("--http2", base(server) + "/") == "1.1 http"


def test_nghttp(server, upload) -> None:
    assert client("nghttp", base(server) + "/") == "2 http"
    assert client("nghttp", "--data", str(upload), base(server) + "/count") == "1000000"
    assert len(client("nghttp", "-w", "6", "-W", "6", base(server) + "/big")) == 65_536  # windows of 63 bytes


@pytest.mark.parametrize(
    ("count", "windows"), [(400, ()), (80, ("-w", "10", "-W", "12"))], ids=["large windows", "small windows"]
)
def test_h2load(server, count, windows) -> None:
    for path in ("/", "/big"):
        output = client("h2load", "-n", str(count), "-c", "8", "-m", "10", *windows, base(server) + path)
        assert f"{count} succeeded, 0 failed, 0 errored, 0 timeout" in output


def test_h2load_uploads(server, upload) -> None:
    output = client("h2load", "-n", "40", "-c", "4", "-m", "5", "-d", str(upload), base(server) + "/count")
    assert "40 succeeded, 0 failed, 0 errored, 0 timeout" in output


@pytest.mark.slow
@pytest.mark.parametrize("windows", [("-w", "10", "-W", "12"), ("-w", "30", "-W", "16")], ids=" ".join)
def test_h2load_takes_much_through_windows_of_every_size(server, windows) -> None:
    output = client("h2load", "-n", "400", "-c", "2", "-m", "32", *windows, base(server) + "/big")
    assert "400 succeeded, 0 failed, 0 errored, 0 timeout" in output


def test_node(server) -> None:
    seen = json.loads(client("node", str(HERE / "http2_client.js"), base(server)))
    assert "INTERNAL_ERROR" in seen.pop("cut")
    assert seen == {
        "connect": True,
        "uploads": ["200000"] * 20,
        "pages": [65_536] * 40,
        "parts": ["part" * 10, 1, "40"],  # and no field of a connection
        "early": "2 http",
        "cookies": "a=b; c=d",
        "socket": "\x81\x05hello\x88\x02\x03\xe8",
    }


@pytest.mark.slow
def test_undici(secure, tmp_path) -> None:
    install = ("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(tmp_path), UNDICI)
    if shutil.which("npm") is None or subprocess.run(install, capture_output=True, timeout=300).returncode:
        pytest.skip(f"npm does not install {UNDICI} here")
    program = ("node", str(HERE / "undici_client.js"))
    seen = client(*program, base(secure), str(secure.ca), str(tmp_path / "node_modules" / "undici"))
    assert json.loads(seen) == {
        "hello": "2 https",
        "pages": [65_536] * 40,
        "uploads": ["200000"] * 20,
        "early": "2 https",
        "refused": "no",
        "parts": "part" * 10,
        "cut": "an error",
        "after": "2 https",
    }


@pytest.mark.slow
def test_large_uploads_and_downloads_are_held_nowhere(server, upload) -> None:
    known = "--http2-prior-knowledge"
    with flat_memory(server, 32_000_000) as look:
        with upload.with_name("large").open("wb") as file:
            file.truncate(200_000_000)
        assert curl(known, "--upload-file", file.name, base(server) + "/count") == "200000000"
        look()
        size = curl(known, "--output", "/dev/null", "--write-out", "%{size_download}", base(server) + "/large")
        assert size == "200000000"


def test_httpx(secure, upload) -> None:
    context = ssl.create_default_context()
    CA.configure_trust(context)
    with httpx.Client(http2=True, verify=context, timeout=TIMEOUT_S) as session:
        answer = session.get(base(secure) + "/")
        assert (answer.http_version, answer.text) == ("HTTP/2", "2 https")
        assert session.post(base(secure) + "/count", content=upload.read_bytes()).text == "1000000"
        assert session.post(base(secure) + "/refuse", content=upload.read_bytes()).status_code == 413
        assert session.post(base(secure) + "/early", content=upload.read_bytes()).text == "2 https"
        assert session.get(base(secure) + "/parts").text == "part" * 10
        with pytest.raises(httpx.RemoteProtocolError):
            session.get(base(secure) + "/cut")
        assert session.get(base(secure) + "/").text == "2 https"


def test_a_request_in_flight_is_answered_before_the_server_stops(options) -> None:
    with fullduplex("http2_asgi:app", *options) as process:
        with (
            httpx.Client(http1=False, http2=True, timeout=TIMEOUT_S) as session,
            session.stream("GET", base(process) + "/slow") as answer,
        ):
            pieces = answer.iter_text()
            first = next(pieces)
            process.signal(signal.SIGTERM)
            assert first + "".join(pieces) == "begun done"
        assert process.wait() == 0


def test_without_http2_there_is_none(options) -> None:
    with fullduplex("http2_asgi:app", "--no-http2", *options) as process:
        assert "HTTP/2" not in process.output
        with httpx.Client(http1=False, http2=True, timeout=TIMEOUT_S) as session, pytest.raises(httpx.HTTPError):
            session.get(base(process) + "/")
        assert httpx.get(base(process) + "/").text == "1.1 http"

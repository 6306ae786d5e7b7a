"""Proxies that speak HTTP/2 to us: in the clear on loopback, and over TLS; WebSockets inside (RFC 8441)."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import trustme
from websockets.sync.client import connect

from tests.e2e.process import fullduplex
from tests.e2e.proxies import Proxy

pytestmark = pytest.mark.e2e

TIMEOUT_S = 60.0
CASES = [
    "haproxy, HTTP/2",
    *(
        pytest.param(name, marks=pytest.mark.slow)  # the same over another way
        for name in ("haproxy, HTTP/2 over TLS", "nghttpx, HTTP/2", "nghttpx, HTTP/2 over TLS")
    ),
]


@pytest.mark.parametrize("library", ["ngh2", pytest.param("h2", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", CASES)
def test_a_proxy_that_speaks_http2_to_us(name: str, library: str, tmp_path: Path) -> None:
    options: list[str] = []
    if "TLS" in name:
        certificate = trustme.CA().issue_cert("localhost")
        certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "cert.pem")
        options = ["--ssl-certfile", str(tmp_path / "cert.pem")]
    with (
        fullduplex("http2_asgi:app", "--http2-library", library, *options) as server,
        Proxy(name, server.port, tmp_path) as proxy,
        httpx.Client(base_url=f"http://127.0.0.1:{proxy.port}", timeout=TIMEOUT_S) as client,
    ):
        assert client.get("/").text == f"2 {'https' if options else 'http'}"
        for _ in range(5):
            assert client.get("/trailers").text == "part" * 10
        assert client.get("/big").text == "x" * 65_536
        assert client.post("/count", content=bytes(1_000_000)).text == "1000000"
        assert client.post("/early", content=bytes(1_000_000)).text.startswith("2 ")
        assert client.post("/refuse", content=bytes(1_000_000)).status_code == 413
        with pytest.raises(httpx.RemoteProtocolError):
            client.get("/cut")
        with connect(f"ws://127.0.0.1:{proxy.port}/ws", proxy=None, open_timeout=TIMEOUT_S) as socket:
            for message in ("hello", bytes(300_000)):
                socket.send(message)
                assert socket.recv(timeout=TIMEOUT_S) == message
        assert socket.close_code == 1000
        assert '"WebSocket /ws" accepted' in server.output
        assert "HTTP/1" not in server.output.partition("Listening")[2]

"""Behind real proxies, configured as ``docs/howto/proxies.md`` says: all that a site does goes through them."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import re
import socket
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from websockets.sync.client import connect

from tests.e2e.documented import SITE, STATIC, Places, proxies, server_options
from tests.e2e.process import WAIT_TIMEOUT_S, Process
from tests.e2e.proxies import wait_until_open
from tests.e2e.startproject import Project

pytestmark = pytest.mark.e2e

TITLES = {"stunnel": "PROXY protocol", "nginx stream": "PROXY protocol"}  # of the section, where it has another name
CLIENT = "127.0.0.9"  # loopback has many addresses: this one is the client's, and nobody else's
FORGED = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "http", "Forwarded": "for=6.6.6.6;proto=http"}


class Browser:
    """A client with an address of its own, which trusts the site's certificate."""

    def __init__(self, port: int, authority: trustme.CA) -> None:
        self._port = port
        self._context = ssl.create_default_context()
        authority.configure_trust(self._context)
        self.origin = f"{SITE}:{port}"

    def dial(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._port), WAIT_TIMEOUT_S, source_address=(CLIENT, 0))

    def ask(
        self, path: str, method: str = "GET", content: bytes | None = None, headers: dict[str, str] | None = None
    ) -> http.client.HTTPResponse:
        client = http.client.HTTPSConnection(SITE, self._port)
        client.sock = self._context.wrap_socket(self.dial(), server_hostname=SITE)
        client.request(method, path, content, {"Connection": "close", **(headers or {})})
        return client.getresponse()

    def websocket(self, path: str):  # type: ignore[no-untyped-def]
        origin = f"https://{self.origin}"
        return connect(
            f"wss://{self.origin}{path}", sock=self.dial(), ssl=self._context, origin=origin, proxy=None,
            open_timeout=WAIT_TIMEOUT_S,
        )  # fmt: skip


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def places(authority: trustme.CA) -> Iterator[Places]:
    """A folder that proxies can read which give up the rights of root, as those that pytest makes are not."""
    certificate = authority.issue_cert(SITE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        certificate.private_key_pem.write_to_path(folder / "key.pem")
        certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
        (folder / "static").mkdir()
        (folder / "static" / "site.css").write_text("body {}")
        yield Places(folder, folder / "cert.pem", folder / "key.pem")


@contextlib.contextmanager
def behind(proxy: str, project: Project, places: Places) -> Iterator[Process]:
    options = server_options(TITLES.get(proxy, proxy), places)
    with contextlib.ExitStack() as stack:
        processes = proxies(proxy, places)
        server = stack.enter_context(project.fullduplex("mysite.asgi:application", *options))
        server.wait_for("Listening on")
        for process, port in processes:
            stack.enter_context(process)
            stack.callback(process.kill)
            wait_until_open(process, port)
        yield server


@pytest.mark.parametrize("proxy", ["nginx", "HAProxy", "Apache", "Caddy", "Varnish", "stunnel", "nginx stream"])
def test_all_that_a_site_does_goes_through(
    proxy: str, site: Project, tmp_path: Path, places: Places, authority: trustme.CA
) -> None:
    project = site.copy(tmp_path / "project")
    project.setting(f'ALLOWED_HOSTS = ["{SITE}"]')
    with behind(proxy, project, places) as server:
        browser = Browser(places.port, authority)
        seen = json.loads(browser.ask("/who/", headers=FORGED).read())
        assert seen == {"address": CLIENT, "secure": True, "host": browser.origin}
        server.wait_for(f"{CLIENT}:")
        content = b"0123456789abcdef" * 20_000
        assert browser.ask("/digest/", "POST", content).read().decode() == hashlib.sha256(content).hexdigest()
        assert browser.ask("/download/").read() == (project.path / "db.sqlite3").read_bytes()
        stream = browser.ask("/held/", headers={"Accept": "text/event-stream"})
        assert stream.readline() == b"data: first\n", "it comes before the stream goes on"
        assert browser.ask("/release/").read() == b"released"
        assert stream.read() == b"\ndata: last\n\n"
        with browser.websocket("/echo/lobby/") as websocket:
            assert websocket.recv(timeout=WAIT_TIMEOUT_S) == "you are at /echo/lobby/"
            websocket.send("hi")
            assert websocket.recv(timeout=WAIT_TIMEOUT_S) == "hi"
        if proxy in STATIC:
            assert browser.ask("/static/site.css").read() == b"body {}"
        for line in ("GET /who/", "WebSocket /echo/lobby/"):
            assert server.wait_for(re.compile(rf' (\S+):\d+ "{line}')).group(1) == CLIENT

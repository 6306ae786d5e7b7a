"""A page of Chromium's and its WebSockets over one HTTP/2 connection, as the browser's own net log has it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import trustme
from playwright.sync_api import expect, sync_playwright

from tests.e2e.browser import FLAGS, TIMEOUT_MS, chromium, chromium_path
from tests.e2e.process import ROOT, fullduplex
from tests.e2e.startproject import Project

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("library", ["ngh2", pytest.param("h2", marks=pytest.mark.slow)])
def test_a_page_and_two_sockets_over_one_connection(library: str, tmp_path: Path) -> None:
    trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(tmp_path / "cert.pem")
    log = tmp_path / "net.json"
    options = ("--http2-library", library, "--ssl-certfile", str(tmp_path / "cert.pem"))
    with fullduplex("http2_asgi:app", *options) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium_path(),
            args=[*FLAGS, f"--log-net-log={log}", "--net-log-capture-mode=IncludeSensitive"],
            timeout=TIMEOUT_MS,
        )
        page = browser.new_context(ignore_https_errors=True).new_page()
        page.goto(f"https://localhost:{server.port}/page", timeout=TIMEOUT_MS)
        expect(page).to_have_title("uploaded 500000", timeout=TIMEOUT_MS)
        assert sorted(page.locator("#seen").inner_text().split("\n")[:2]) == ["hello 1", "hello 2"]
        protocol = page.evaluate("performance.getEntriesByType('navigation')[0].nextHopProtocol")
        browser.close()
        assert protocol == "h2"
        for path in ("/ws/1", "/ws/2"):
            assert f'"WebSocket {path}" accepted' in server.output
        assert "HTTP/1" not in server.output.partition("Listening")[2]
    heads = sent_heads(json.loads(log.read_text()))
    [session] = {source for source, head in heads if ":path: /page" in head}
    inside = [head for source, head in heads if source == session]
    assert sum(":protocol: websocket" in head for head in inside) == 2
    assert any(":path: /count" in head for head in inside)
    assert not any(source != session and "localhost" in str(head) for source, head in heads)


def sent_heads(log: dict[str, Any]) -> list[tuple[int, list[str]]]:
    """The fields of each request over HTTP/2, with the number of its connection."""
    sent = log["constants"]["logEventTypes"]["HTTP2_SESSION_SEND_HEADERS"]
    events = [event for event in log["events"] if event["type"] == sent and "headers" in event.get("params", {})]
    return [(event["source"]["id"], event["params"]["headers"]) for event in events]


def test_runserver_with_a_certificate_shows_a_page_over_http2(plain: Project, tmp_path: Path) -> None:
    make_certificate(tmp_path)
    with (
        plain.runserver("--cert", str(tmp_path / "cert.pem"), "--key", str(tmp_path / "key.pem")) as server,
        chromium() as browser,
    ):
        port = server.wait_for(re.compile(r"development server at https://127\.0\.0\.1:(\d+)/")).group(1)
        assert "Protocols: HTTP/2, HTTP/1.1 and WebSocket" in server.output
        page = browser.new_context(ignore_https_errors=True).new_page()
        page.goto(f"https://localhost:{port}/", timeout=TIMEOUT_MS)
        assert "The install worked successfully!" in page.title()
        assert page.evaluate("performance.getEntriesByType('navigation')[0].nextHopProtocol") == "h2"
        page.screenshot(path=tmp_path / "page.png")
        server.wait_for('"GET / HTTP/2" 200')


def make_certificate(folder: Path) -> None:
    """By the command of ``docs/howto/http2.md``."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    [command] = re.findall(r"^\$ (openssl .*\\\n.*)$", (ROOT / "docs/howto/http2.md").read_text(), re.M)
    words = shlex.split(command.replace("\\\n", ""))
    subprocess.run(words, cwd=folder, capture_output=True, check=True, timeout=TIMEOUT_MS)


def test_runserver_needs_a_certificate_for_a_key(plain: Project, tmp_path: Path) -> None:
    with plain.runserver("--key", str(tmp_path / "key.pem")) as server:
        server.wait_for("CommandError: --key needs --cert")
    with plain.runserver("--cert", str(tmp_path / "none.pem")) as server:
        server.wait_for(re.compile("CommandError: --ssl-certfile, --ssl-keyfile: .*none.pem: No such file"))

"""What a running server logs: every line once, whole, and readable by machines where asked."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from websockets.sync.client import connect

from tests.e2e.process import ROOT, fullduplex
from tests.e2e.test_proxies import fetch
from tests.e2e.test_server import exchange, get

pytestmark = pytest.mark.e2e

HERE = {"PYTHONPATH": str(ROOT)}


def test_json_lines_and_request_ids():
    options = ("--log-format", "json", "--request-id", "--forwarded-allow-ips", "127.0.0.1")
    ready = r'"Listening on (\S+) \('
    with fullduplex("scope_asgi:app", *options, env=HERE, ready=ready) as process:
        assert fetch(process, headers={"X-Request-ID": "from-proxy"})["headers"]["x-request-id"] == "from-proxy"
        made = fetch(process, headers={"X-Request-ID": "two words"})["headers"]["x-request-id"]
        assert re.fullmatch("[0-9a-f]{32}", made)
        with connect(f"ws://127.0.0.1:{process.port}/", open_timeout=30) as websocket:
            websocket.close(4000, "bye\nbye")
        process.wait_for('"message": "websocket.close"')
        assert process.stop() == 0
    lines = [json.loads(line) for line in process.output.splitlines() if line != "lifespan over"]
    requests = [line for line in lines if line["message"] == "http"]
    assert [line["request_id"] for line in requests] == ["from-proxy", made]
    assert all(line["status"] == 200 and line["duration_s"] > 0 and line["body_bytes"] > 0 for line in requests)
    (closed,) = [line for line in lines if line["message"] == "websocket.close"]
    assert (closed["code"], closed["reason"], closed["ended_by"]) == (4000, "bye\nbye", "client")


def test_an_error_is_one_line_with_its_traceback_and_cannot_be_forged():
    with fullduplex("broken_asgi:app", env=HERE) as process:
        status, _ = get(process, "/a%0d%0aERROR%20forged")
        assert status == 500
        process.wait_for("RuntimeError: boom")
    assert process.output.count("RuntimeError: boom") == 1
    assert process.output.count("Exception in the ASGI application") == 1
    assert not re.search("^ERROR forged", process.output, re.MULTILINE)
    assert len(re.findall(r'"GET /a%0d%0aERROR%20forged HTTP/1\.1" 500', process.output)) == 1


def test_what_is_no_request_has_an_access_line_of_its_own():
    with fullduplex("plain_asgi:app", env=HERE) as process:
        exchange(process, b"nonsense\r\n\r\n")
        process.wait_for(re.compile(r'127\.0\.0\.1:\d+ "-" 400 refused: RFC 9112 section 3: '))
    assert process.output.count(" 400 ") == 1


def test_an_application_that_configures_logging_does_not_double_lines():
    with fullduplex("broken_asgi:noisy", env=HERE) as process:
        assert get(process, "/")[0] == 200
        process.wait_for("GET / HTTP")
    assert process.output.count('"GET / HTTP/1.1" 200') == 1
    assert process.output.count("Listening on") == 1


def test_without_access_lines():
    with fullduplex("plain_asgi:app", "--no-access-log") as process:
        assert get(process) == (200, b"Hello, world!")
        exchange(process, b"nonsense\r\n\r\n")
        process.wait_for("Refused a request")
    assert "GET /" not in process.output


def test_access_lines_carry_what_contexts_have():
    with fullduplex("named_asgi:app", "--request-id", env=HERE) as process:
        with ExitStack() as stack:
            for number in range(4):
                stack.enter_context(connect(f"ws://127.0.0.1:{process.port}/room/?name=s{number}", open_timeout=30))
            clients = stack.enter_context(ThreadPoolExecutor(8))
            pages = [f"/{kind}/?name={kind}{number}" for number in range(16) for kind in ("sync", "async")]
            assert [status for status, _ in clients.map(lambda page: get(process, page), pages)] == [200] * 32
        for number in range(4):
            process.wait_for(f'?name=s{number}" closed 1000 by client')
        assert process.stop() == 0
    lines = [line for line in process.output.splitlines() if "name=" in line]
    assert len(lines) == 32 + 2 * 4
    for line in lines:
        assert re.search(r"[?]name=(\w+)[ \"].* id=[0-9a-f]{32} visitor=\1$", line), line

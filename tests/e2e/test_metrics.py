"""Health checks and metrics of real servers, as a scraper and an orchestrator see them."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import threading
import time
import urllib.request

import pytest
from websockets.sync.client import connect

from tests.e2e.process import ROOT, fullduplex

pytestmark = pytest.mark.e2e

HERE = {"PYTHONPATH": str(ROOT)}
READY = re.compile(r"All \d+ workers are ready|Listening on")
PATIENCE_S = 30.0  # only ever reached by a hang


def serve(*options, workers=2, app="workers_asgi:app", env=None, **kwargs):
    many = ("--workers", str(workers)) if workers > 1 else ()
    return fullduplex(
        app, *many, "--no-access-log", "--metrics-port", "0", *options, env={**HERE, **(env or {})}, **kwargs
    )


@pytest.fixture(scope="module", params=[pytest.param(1, marks=pytest.mark.slow), 2])
def process(request):
    """A service of one worker, and one of two."""
    with serve(workers=request.param) as process:
        process.wait_for(r"All 2 workers are ready" if request.param == 2 else "Listening on")
        process.workers_count = request.param
        yield process


def port_of(process) -> int:
    return int(process.wait_for(re.compile(r"Health and metrics on http://127.0.0.1:(\d+)")).group(1))


def ask(process, path):
    client = http.client.HTTPConnection("127.0.0.1", port_of(process), timeout=PATIENCE_S)
    try:
        client.request("GET", path)
        response = client.getresponse()
        return response.status, response.read().decode()
    finally:
        client.close()


def total(text, name, **labels):
    """The sum of all samples of a name with these labels."""
    found = 0.0
    for own, value in re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", text, re.MULTILINE):
        if all(f'{key}="{wanted}"' in own for key, wanted in labels.items()):
            found += float(value)
    return found


def scrape_until(process, condition):
    """Scrape until the figures are as they should be; they are taken once a second."""
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        status, text = ask(process, "/metrics")
        assert status == 200
        if condition(text):
            return text
        assert time.monotonic() < deadline_s, text
        time.sleep(0.1)


def get(process, path="/"):
    client = http.client.HTTPConnection("127.0.0.1", process.port, timeout=PATIENCE_S)
    client.request("GET", path)
    response = client.getresponse()
    response.read()
    client.close()
    return response


def test_figures_of_all_workers_are_in_one_answer(process):
    before = ask(process, "/metrics")[1]
    for _ in range(20):
        get(process)
    with connect(f"ws://127.0.0.1:{process.port}/", open_timeout=PATIENCE_S) as websocket:
        websocket.send("hello")
        assert websocket.recv(timeout=PATIENCE_S) == "hello"
        text = scrape_until(process, lambda text: total(text, "fullduplex_websockets") == 1)
        assert total(text, "fullduplex_connections") >= 1
    with socket.create_connection(("127.0.0.1", process.port), timeout=PATIENCE_S) as sock:
        sock.sendall(b"nonsense\r\n\r\n")
        assert b" 400 " in sock.recv(100)
    text = scrape_until(
        process,
        lambda text: (
            total(text, "fullduplex_requests_total", status="200")
            - total(before, "fullduplex_requests_total", status="200")
            == 20
            and total(text, "fullduplex_refusals_total", status="400")
            and total(text, "fullduplex_websockets_closed_total", by="client")
        ),
    )
    assert total(text, "fullduplex_request_duration_seconds_count") == total(text, "fullduplex_requests_total")
    assert total(text, "fullduplex_workers", state="ready") == process.workers_count
    assert total(text, "fullduplex_loop_lag_seconds_count") > 0
    assert total(text, "fullduplex_websockets") == 0
    assert len(re.findall(r"^fullduplex_connections{", text, re.MULTILINE)) == process.workers_count


def test_a_blocked_worker_keeps_no_scrape_waiting(process):
    blocker = threading.Thread(target=get, args=(process, "/block?3"))
    blocker.start()
    try:
        text = scrape_until(process, lambda text: total(text, "fullduplex_worker_blocked_seconds") > 0)
        assert total(text, "fullduplex_workers", state="ready") == process.workers_count
        assert ask(process, "/healthz") == (200, "alive\n")
        # The last worker: nobody is left to take requests.
        assert ask(process, "/readyz")[0] == (503 if process.workers_count == 1 else 200)
    finally:
        blocker.join()
    scrape_until(process, lambda text: total(text, "fullduplex_worker_blocked_seconds") == 0)
    assert ask(process, "/readyz")[0] == 200


def test_whoever_sends_nothing_or_too_much_is_not_waited_for(process):
    place = ("127.0.0.1", port_of(process))
    with contextlib.ExitStack() as silent:
        for _ in range(20):
            silent.enter_context(socket.create_connection(place, timeout=PATIENCE_S))
        assert ask(process, "/healthz")[0] == 200
        for giant, status in (
            (b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n\r\n", b" 414 "),
            (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 1_000_000, b" 431 "),
            (b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n" + b"a" * 100_000, b" 413 "),
        ):
            with socket.create_connection(place, timeout=PATIENCE_S) as sock:
                with contextlib.suppress(ConnectionError):  # it may have heard enough
                    sock.sendall(giant)
                with contextlib.suppress(ConnectionResetError):
                    assert status in sock.recv(1000)
        assert ask(process, "/metrics")[0] == 200
    assert "Traceback" not in process.output


def test_a_killed_worker_takes_no_counter_along(process):
    if process.workers_count == 1:
        pytest.skip("it is all there is")
    before = ask(process, "/metrics")[1]
    pid = int(get(process).headers["x-pid"])
    os.kill(pid, signal.SIGKILL)
    after = scrape_until(process, lambda text: total(text, "fullduplex_worker_restarts_total", reason="died") == 1)
    for line in re.findall(r"^fullduplex_\w+_total{.*", before, re.MULTILINE):
        sample, _, value = line.rpartition(" ")
        assert float(re.search(rf"^{re.escape(sample)} (\S+)$", after, re.MULTILINE).group(1)) >= float(value)
    assert ask(process, "/readyz")[0] == 200


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_service_that_stops_is_alive_and_not_ready(workers):
    with serve(workers=workers) as process:
        process.wait_for(READY)
        scrape_until(process, lambda text: total(text, "fullduplex_workers", state="ready") == workers)
        with socket.create_connection(("127.0.0.1", process.port), timeout=PATIENCE_S) as held:
            held.sendall(b"POST /hold HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n")
            held.sendall(b"x")
            assert b" 200 " in held.recv(1000)
            process.signal(signal.SIGTERM)
            process.wait_for("Stopping")
            assert ask(process, "/readyz") == (503, "The service is stopping\n")
            assert ask(process, "/healthz") == (200, "alive\n")
        assert process.wait() == 0


@pytest.mark.slow
def test_a_single_worker_that_is_blocked_for_too_long_is_not_alive():
    with serve("--watchdog-timeout-s", "1", workers=1) as process:
        assert ask(process, "/healthz") == (200, "alive\n")
        blocker = threading.Thread(target=get, args=(process, "/block?4"))
        blocker.start()
        found = []
        while blocker.is_alive():
            found.append(ask(process, "/healthz")[0])
        assert set(found) == {200, 503}
        scrape_until(process, lambda text: total(text, "fullduplex_worker_blocked_seconds") == 0)
        assert ask(process, "/healthz") == (200, "alive\n")


@pytest.mark.slow
def test_metrics_of_the_project_itself_are_in_the_same_answer(tmp_path):
    (tmp_path / "own_metrics.py").write_text(
        "import prometheus_client\n"
        "from tests.e2e import plain_asgi\n"
        "asked = prometheus_client.Counter('asked', 'Requests.')\n"
        "serving = prometheus_client.Gauge('serving', 'Processes.', multiprocess_mode='liveall')\n"
        "async def app(scope, receive, send):\n"
        "    if scope['type'] == 'lifespan':\n"
        "        serving.set(1)\n"
        "    if scope['type'] == 'http':\n"
        "        asked.inc()\n"
        "    await plain_asgi.app(scope, receive, send)\n"
    )
    figures = tmp_path / "figures"
    figures.mkdir()
    env = {"PROMETHEUS_MULTIPROC_DIR": str(figures)}
    with serve(app="own_metrics:app", app_dir=tmp_path, env=env) as process:
        process.wait_for(READY)
        for _ in range(12):
            get(process)
        text = scrape_until(process, lambda text: total(text, "asked_total") == 12)
        assert total(text, "serving") == 2
        pid = int(re.search(r"Worker 1 \(process (\d+)\)", process.output).group(1))
        os.kill(pid, signal.SIGKILL)
        text = scrape_until(process, lambda text: total(text, "fullduplex_worker_restarts_total", reason="died") == 1)
        assert total(text, "asked_total") == 12
        assert f'pid="{pid}"' not in text


@pytest.mark.slow
def test_rooms_threads_and_databases_of_django_cross_the_bridge(site):
    options = ("--port", "0", "--workers", "2", "--no-access-log", "--metrics-port", "0")
    with site.fullduplex("mysite.asgi:application", *options) as server, contextlib.ExitStack() as members:
        url = server.wait_for(re.compile(r"Listening on http(://\S+)")).group(1)
        sockets = [members.enter_context(connect(f"ws{url}/room/tea/", open_timeout=PATIENCE_S)) for _ in range(6)]
        sockets[0].send("hello")
        for member in sockets:
            member.recv(timeout=PATIENCE_S)
        urllib.request.urlopen(f"http{url}/users/", timeout=PATIENCE_S).close()
        text = scrape_until(
            server,
            lambda text: (
                total(text, "fullduplex_group_members") == 6
                and total(text, "fullduplex_deliveries_total") == 6
                and total(text, "fullduplex_database_connections_opened_total") > 0
            ),
        )
        assert 1 <= total(text, "fullduplex_groups") <= 2, "one in each worker that has a member"
        assert total(text, "fullduplex_threads") > 0


class Scraper(threading.Thread):
    """Scrapes without a pause; notes what is no answer, and each counter that became less."""

    def __init__(self, process) -> None:
        super().__init__()
        self._process = process
        self._over = threading.Event()
        self._counters: dict[str, float] = {}
        self.count = 0
        self.problems: list[object] = []
        self.start()

    def run(self) -> None:
        while not self._over.is_set():
            try:
                status, text = ask(self._process, "/metrics")
                assert status == 200, text
            except Exception as error:
                self.problems.append(error)
                continue
            self.count += 1
            for line in re.findall(r"^fullduplex_\w+_total(?:{.*})? \S+$", text, re.MULTILINE):
                name, _, value = line.rpartition(" ")
                if float(value) < self._counters.get(name, 0.0):
                    self.problems.append((name, self._counters[name], value))
                self._counters[name] = float(value)

    def leave(self) -> None:
        self._over.set()
        self.join()


@pytest.mark.slow
def test_forty_scrape_while_workers_are_killed_replaced_and_blocked():
    def block():
        with contextlib.suppress(OSError, http.client.HTTPException):  # the worker is replaced meanwhile
            get(process, "/block?20")

    with serve("--watchdog-timeout-s", "2", workers=3) as process:
        process.wait_for(READY)
        place = ("127.0.0.1", port_of(process))
        scrapers = [Scraper(process) for _ in range(40)]
        blocker = threading.Thread(target=block)
        try:
            with contextlib.ExitStack() as silent:
                for _ in range(20):
                    silent.enter_context(socket.create_connection(place, timeout=PATIENCE_S))
                blocker.start()
                process.wait_for("it is replaced")
                for generation in (2, 3):
                    after = len(process.output)
                    process.signal(signal.SIGHUP)
                    process.wait_for(f"Reloaded: generation {generation} serves")
                    pid = int(get(process).headers["x-pid"])
                    os.kill(pid, signal.SIGKILL)
                    process.wait_for(re.compile(r"Worker \d+ \(process \d+\) is ready"), after=after)
            scrape_until(process, lambda text: total(text, "fullduplex_workers", state="ready") == 3)
        finally:
            for scraper in scrapers:
                scraper.leave()
            blocker.join()
        assert [problem for scraper in scrapers for problem in scraper.problems] == []
        assert all(scraper.count for scraper in scrapers)
        text = ask(process, "/metrics")[1]
        assert total(text, "fullduplex_worker_restarts_total", reason="blocked") == 1
        assert total(text, "fullduplex_reloads_total", outcome="done") == 2
    assert "Traceback" not in process.output

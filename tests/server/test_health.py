"""Health checks: who is alive, who takes requests."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytest

from fullduplex.exceptions import ConfigurationError
from fullduplex.server.config import ServerConfig
from fullduplex.server.health import Health
from fullduplex.server.metrics_port import MetricsPort
from fullduplex.server.overview import Overview, Seen, State

NOW_S = 100.0


def seen(state: State = State.READY, silent_s: float = 0.0) -> Seen:
    return Seen(0, state, NOW_S - silent_s, None)


def ready(*workers: Seen, is_stopping: bool = False) -> tuple[int, str]:
    status, _, body = Health(lambda: Overview(NOW_S, is_stopping, workers), 30.0).ready(NOW_S)
    return status, body.decode()


def test_ready_are_workers_that_take_requests() -> None:
    assert ready(seen(), seen(State.STARTING)) == (200, "1 of 2 workers are ready\n")
    assert ready(seen(State.STARTING)) == (503, "0 of 1 workers are ready\n")
    assert ready(seen(State.DRAINING))[0] == 503
    assert ready(seen(silent_s=3.0))[0] == 503
    assert ready(seen(silent_s=3.0), seen(silent_s=1.0))[0] == 200
    assert ready() == (503, "0 of 0 workers are ready\n")
    assert ready(seen(), is_stopping=True) == (503, "The service is stopping\n")


@pytest.mark.parametrize(
    ("silent_s", "most_silent_s", "status"), [(29.0, 30.0, 200), (31.0, 30.0, 503), (9999.0, 0.0, 200)]
)
def test_alive_is_whoever_answers_as_long_as_its_loop_runs(silent_s: float, most_silent_s: float, status: int) -> None:
    assert Health(lambda: Overview(NOW_S - silent_s, False, ()), most_silent_s).alive(NOW_S)[0] == status


async def ask(health: Health, path: str, method: str = "GET") -> tuple[int, bytes]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nothing is to be received")

    await health({"type": "http", "path": path, "method": method}, receive, send)
    return sent[0]["status"], sent[1]["body"]


async def test_without_prometheus_client_the_rest_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "fullduplex.server.exposition", raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    health = Health(lambda: Overview(time.monotonic(), False, (seen(),)), 30.0)
    status, body = await ask(health, "/metrics")
    assert status == 501
    assert b"pip install 'fullduplex[metrics]'" in body
    assert (await ask(health, "/healthz"))[0] == 200


async def test_a_text_serves_all_that_ask_within_a_moment() -> None:
    looks: list[None] = []

    def look() -> Overview:
        looks.append(None)
        return Overview(time.monotonic(), False, ())

    health = Health(look, 30.0)
    assert health.metrics(NOW_S) is not None
    for _ in range(50):
        health.metrics(NOW_S + 0.1)
    assert len(looks) == 1
    health.metrics(NOW_S + 1.0)
    assert len(looks) == 2


async def test_other_paths_and_methods() -> None:
    health = Health(lambda: Overview(NOW_S, False, ()), 30.0)
    assert (await ask(health, "/"))[0] == 404
    assert (await ask(health, "/healthz", "POST"))[0] == 405


def test_a_port_in_use_is_told_by_its_own_option() -> None:
    def look() -> Overview:
        raise AssertionError

    port = MetricsPort(ServerConfig(app="a:b", metrics_port=0), look)
    taken = port.listeners[0].sock.getsockname()[1]
    try:
        with pytest.raises(ConfigurationError, match=r"is in use: .* choose another with --metrics-port"):
            MetricsPort(ServerConfig(app="a:b", metrics_port=taken), look)
    finally:
        port.close()

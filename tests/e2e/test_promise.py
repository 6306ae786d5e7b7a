"""What Django promises each request, with many in progress: one thread and one connection, from begin to finish."""

from __future__ import annotations

import http.client
import json
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.process import ROOT, WAIT_TIMEOUT_S, Process, fullduplex
from tests.e2e.promise_kinds import KINDS, IsRight

pytestmark = pytest.mark.e2e

APP = "tests.e2e.promise_asgi:application"
ANSWERS_COUNT = 120  # of each kind, at least
AROUND = "tests.e2e.promise_asgi.around"


def get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_TIMEOUT_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def visit(port: int, owner: str, kinds: dict[str, tuple[str, IsRight]], together: threading.Barrier) -> Counter[str]:
    """Ask for everything, in step with the others; return how many answers of each kind were wrong."""
    wrong: Counter[str] = Counter()
    for number in range(rounds_of(together.parties)):
        for at, (kind, (path, is_right)) in enumerate(kinds.items()):
            together.wait()
            try:
                status, text = get(port, f"{path}?owner={owner}&request={at}-{number}")
            except (OSError, http.client.IncompleteRead):
                wrong[kind] += 1
                continue
            wrong[kind] += not is_right(status, text, owner)
    return +wrong


def rounds_of(clients_count: int) -> int:
    return min(6, ANSWERS_COUNT // clients_count)


def serve(server: str, env: dict[str, str]) -> Process:
    if server == "fullduplex":
        return fullduplex(APP, "--no-access-log", app_dir=ROOT, env=env)
    command = (sys.executable, "-m", "uvicorn", APP, "--port", "0", "--no-access-log")
    return Process(*command, ready=r"running on (http://\S+)", cwd=ROOT, env=env)


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("server", "side", "clients_count", "age_s", "more"),
    [
        ("fullduplex", "fullduplex", 2, 0, ""),
        ("fullduplex", "fullduplex", 8, 60, ""),
        ("fullduplex", "fullduplex", 40, 0, AROUND),
        pytest.param("fullduplex", "fullduplex", 2, 60, AROUND, marks=SLOW),
        pytest.param("fullduplex", "fullduplex", 8, 0, AROUND, marks=SLOW),
        pytest.param("fullduplex", "fullduplex", 40, 60, "", marks=SLOW),
        pytest.param("uvicorn", "fullduplex", 8, 0, "", marks=SLOW),
        pytest.param("uvicorn", "fullduplex", 40, 60, AROUND, marks=SLOW),
        pytest.param("uvicorn", "django.core.asgi", 8, 0, "", marks=SLOW),
    ],
)
def test_nobody_sees_the_state_of_another_request(
    server: str, side: str, clients_count: int, age_s: int, more: str, tmp_path: Path
) -> None:
    env = {"SIDE": side, "AGE": str(age_s), "DATABASE": str(tmp_path / "db"), "MORE": more}
    kinds = dict(KINDS)
    if side != "fullduplex":
        del kinds["error handler"]  # Django calls it in some other thread
    with serve(server, env) as process:
        together = threading.Barrier(clients_count, timeout=WAIT_TIMEOUT_S)
        with ThreadPoolExecutor(clients_count) as pool:
            visits = [pool.submit(visit, process.port, f"u{n}", kinds, together) for n in range(clients_count)]
        wrong: Counter[str] = Counter()
        for one in visits:
            wrong += one.result()
        _, text = get(process.port, "/report/?owner=nobody")
    counts: dict[str, Any] = json.loads(text)
    asked = clients_count * rounds_of(clients_count)
    assert wrong == {}, f"of {asked} each"
    assert counts == {"requests": asked * len(kinds), "finished elsewhere": 0, "left behind": 0}

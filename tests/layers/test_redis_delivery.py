"""Nothing is lost in normal operation: members, publishers and churn in three processes, and one server.

``FULLDUPLEX_LONG=1`` runs it with 1,000 members and a hundred joins and leaves a second for 15 seconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.layers.servers import Cluster, Server

PROCESSES_COUNT = 3
LONG = os.environ.get("FULLDUPLEX_LONG") == "1"
SCALE: dict[str, Any] = {
    "duration_s": 15.0 if LONG else 1.5,
    "members_count": 333 if LONG else 60,
    "publishers_count": 4 if LONG else 2,
    "messages_per_s": 4.0 if LONG else 15.0,
    "churn_per_s": 34.0,
}
DEADLINE_S = 180.0  # only ever reached by a hang


def test_nothing_is_lost(valkey: Server) -> None:
    _check(_run({"hosts": [valkey.url], "cluster": False}))


def test_nothing_is_lost_on_two_hosts(valkey: Server, redis6: Server) -> None:
    _check(_run({"hosts": [valkey.url, redis6.url], "cluster": False}))


def test_nothing_is_lost_in_a_cluster(cluster: Cluster) -> None:
    _check(_run({"hosts": cluster.urls, "cluster": True}))


def test_the_check_finds_what_is_lost() -> None:
    """The same check, told of a member that misses, repeats or reorders something."""
    stays = {"joined_s": {"g": 1.0}, "left_s": {}}
    published = {"p@g": [(0.0, 0.1), (2.0, 2.1), (3.0, 3.1), (4.0, 4.1)]}
    _check([{"published": published, "members": [{"received": {"p@g": [1, 2, 3]}, **stays}]}])
    for received in ([1, 3], [1, 2], [2, 3], [1, 3, 2], [1, 1, 2, 3], []):
        with pytest.raises(AssertionError):
            _check([{"published": published, "members": [{"received": {"p@g": received}, **stays}]}])
    gone = {"joined_s": {"g": 1.0}, "left_s": {"g": 3.05}}
    _check([{"published": published, "members": [{"received": {"p@g": [1]}, **gone}]}])
    with pytest.raises(AssertionError):
        _check([{"published": published, "members": [{"received": {"p@g": []}, **gone}]}])


def _run(config: dict[str, Any]) -> list[dict[str, Any]]:
    prefix = f"delivery{time.monotonic()}"
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-W", "error", "-m", "tests.layers.delivery_worker"),
                json.dumps({**config, **SCALE, "number": number, "prefix": prefix}),
            ],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for number in range(PROCESSES_COUNT)
    ]
    guard = threading.Timer(DEADLINE_S, lambda: [process.kill() for process in processes])
    guard.start()
    try:
        for _ in range(2):  # all have joined; all have published
            _meet(processes)
        outputs = [process.communicate() for process in processes]
    finally:
        guard.cancel()
        for process in processes:
            process.kill()
            process.wait()
    assert [errors.decode() for _, errors in outputs] == [""] * PROCESSES_COUNT
    return [json.loads(output) for output, _ in outputs]


def _meet(processes: list[subprocess.Popen[bytes]]) -> None:
    """Wait for a line of each process, then tell all of them; one that has failed has its say later."""
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(b"\n")
            process.stdin.flush()


def _check(reports: list[dict[str, Any]]) -> None:
    """Every member got every message published while it was a member, in the order of each publisher, once."""
    published: dict[str, list[tuple[float, float]]] = {}
    for report in reports:
        published.update(report["published"])
    expected_count = 0
    for member in (member for report in reports for member in report["members"]):
        for who, moments in published.items():
            group = who.partition("@")[2]
            received = member["received"].get(who, [])
            if group not in member["joined_s"]:
                assert received == []
                continue
            joined_s, left_s = member["joined_s"][group], member["left_s"].get(group)
            due = [
                number
                for number, (began_s, ended_s) in enumerate(moments)
                if began_s > joined_s and (left_s is None or ended_s < left_s)
            ]
            expected_count += len(due)
            first = received[0] if received else 0
            assert received == list(range(first, first + len(received))), (who, member)
            assert set(due) <= set(received), (who, member)
    assert expected_count > 0

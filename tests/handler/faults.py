"""Faults put into a copy of the source, one at a time: the test of concurrent requests must find each of them.

A test that everything passes says little. Each fault here is a way to break the promise of one thread per request.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEST = "tests/handler/test_concurrent_differential.py"
DEADLINE_S = 60.0


@dataclass(frozen=True)
class Edit:
    """A change of the source.

    Attributes:
        path: of the file, below ``src/fullduplex``.
        old: stands there exactly once.
    """

    path: str
    old: str
    new: str


POOL, CONTEXT, HTTP, SIGNALS = "threads/pool.py", "threads/context.py", "handler/http.py", "handler/signals.py"
FAULTS: dict[str, tuple[Edit, ...]] = {
    "a thread is handed on between two calls": (
        Edit(
            POOL,
            "not (lease.is_bound or worker.is_open or self._may_park(worker, lease)):",
            "not (worker.is_open or self._may_park(worker, lease)):",
        ),
    ),
    "a thread is cleaned before the end of the stream": (
        Edit(
            HTTP,
            "            if is_plain or not seams.SEND_RESPONSE.is_patched:\n",
            "            if lease is not None and lease.has_thread:\n"
            "                from fullduplex.threads.connections import clean_connections\n"
            "                await hop_on(lease, clean_connections)\n"
            "            if is_plain or not seams.SEND_RESPONSE.is_patched:\n",
        ),
    ),
    "request_finished is sent on another thread": (
        Edit(
            SIGNALS,
            "        await (hop(send_sync) if foreign is started else _hop_late(send_sync))\n",
            "        await (hop(send_sync) if foreign is started else asyncio.to_thread(send_sync))\n",
        ),
    ),
    "a thread is used again after hooks were skipped": (
        Edit(HTTP, "            lease.spoil(spoiled)\n", "            lease.spoil(False)\n"),
    ),
    "a call of another request slips in between": (
        Edit(
            POOL,
            "            worker.rests = True\n            self._running.discard(worker)\n",
            "            if lease.is_bound and self._waiting and not hasattr(self._waiting[0], 'has_slipped'):\n"
            "                other = self._waiting.popleft()\n"
            "                other.waits_since_s, other.has_slipped = None, True\n"
            "                lease.calls.extend(other.calls)\n"
            "                other.calls.clear()\n"
            "                return GO_ON\n"
            "            worker.rests = True\n            self._running.discard(worker)\n",
        ),
    ),
    "a later call waits for a slot": (
        Edit(
            POOL,
            "            elif worker.rests:\n",
            "            elif worker.rests and self._is_full():\n"
            "                if lease.waits_since_s is None:\n"
            "                    lease.waits_since_s = time.monotonic()\n"
            "                    self._waiting.append(lease)\n"
            "                    self._will_watch()\n"
            "                worker = None\n"
            "            elif worker.rests:\n",
        ),
        Edit(
            POOL,
            "        of_sockets = not lease.is_bound\n",
            "        if lease.worker is not None:\n"
            "            return lease.worker\n"
            "        of_sockets = not lease.is_bound\n",
        ),
        Edit(
            POOL,
            "        if lease is None or worker.of_sockets is lease.is_bound",
            "        if lease is None or lease.worker is not None or worker.of_sockets is lease.is_bound",
        ),
    ),
}


@dataclass(frozen=True)
class Run:
    """A run of the test against a copy of the source."""

    is_red: bool
    duration_s: float
    output: str


def run_with(edits: tuple[Edit, ...], folder: Path) -> Run:
    """Run the test against a copy of the source in ``folder``, with ``edits``.

    Raises:
        AssertionError: the source has changed, so that an edit does not fit, or the copy is not what was tested.
        TimeoutExpired: the run took longer than DEADLINE_S.
    """
    copy = folder / "fullduplex"
    shutil.copytree(ROOT / "src" / "fullduplex", copy, ignore=shutil.ignore_patterns("__pycache__"))
    for edit in edits:
        path = copy / edit.path
        source = path.read_text()
        assert source.count(edit.old) == 1, f"{edit.path} has {source.count(edit.old)} times: {edit.old}"
        path.write_text(source.replace(edit.old, edit.new))
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "CROWD_SEEDS": "30"}
    assert _python(environment, "-c", "import fullduplex; print(fullduplex.__file__)").stdout.startswith(str(copy))
    began_s = time.monotonic()
    result = _python(environment, "-m", "pytest", TEST, "-x", "-q", "-p", "no:cacheprovider", "--show-capture=no")
    assert result.returncode in (0, 1), result.stdout + result.stderr  # else the tests have not run
    return Run(result.returncode == 1, time.monotonic() - began_s, result.stdout)


def _python(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=DEADLINE_S
    )

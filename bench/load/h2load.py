"""HTTP/2 load by nghttp2's ``h2load``: requests over a few connections, many of them at once."""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from bench.scenario import Failed

TIMEOUT_S = 120.0
_REQUESTS = re.compile(
    r"requests: \d+ total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+)"
)
_TRAFFIC = re.compile(r"traffic: .*?\((\d+)\) data")
_FINISHED = re.compile(r"finished in ([\d.]+)(ms|s|us)")
_UNITS_S = {"s": 1.0, "ms": 1e-3, "us": 1e-6}


@dataclass(frozen=True)
class Load:
    """What ``h2load`` saw.

    Attributes:
        requests: answered with success.
        errors: all others.
        data_bytes: content of the answers, of all together.
        seconds: of the whole.
        cpu_s: of ``h2load`` itself.
    """

    requests: int
    errors: int
    data_bytes: int
    seconds: float
    cpu_s: float


def run(port: int, requests: int, connections: int, streams: int, path: str = "/", upload: Path | None = None) -> Load:
    """Ask so many times over so many connections, each with so many requests at once.

    Raises:
        Failed: there is no ``h2load``, or it says nothing of use.
    """
    if not shutil.which("h2load"):
        raise Failed("h2load is not installed (nghttp2-client)")
    command = ["h2load", "-n", str(requests), "-c", str(connections), "-m", str(streams)]
    if upload is not None:
        command += ["-d", str(upload)]
    before_s, started_s = _children_s(), time.perf_counter()
    command += [f"http://127.0.0.1:{port}{path}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise Failed(f"not all answers came in {TIMEOUT_S:g} s") from None
    elapsed_s = time.perf_counter() - started_s
    counted, finished = _REQUESTS.search(done.stdout), _FINISHED.search(done.stdout)
    traffic = _TRAFFIC.search(done.stdout)
    if counted is None or finished is None or traffic is None:
        raise Failed(f"h2load: {done.stdout[-200:]} {done.stderr[-200:]}")
    succeeded, *others = map(int, counted.groups())
    seconds = float(finished[1]) * _UNITS_S[finished[2]] or elapsed_s
    return Load(succeeded, sum(others), int(traffic[1]), seconds, _children_s() - before_s)


def together(loads: Sequence[Load]) -> Load:
    """The sum of runs, one after the other."""
    sums = (sum(values) for values in zip(*map(astuple, loads), strict=True))
    return Load(*sums)


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime

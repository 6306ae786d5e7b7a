"""The cases, each in a loop of its own, in a process that has chosen the engine; with both builds of psycopg."""

from __future__ import annotations

import importlib.util
import json
import os
import sys

import pytest

from tests.db.running import CASE_TIMEOUT_S, CASES
from tests.e2e.process import ROOT, Process
from tests.packages.postgresql import PostgreSQL, programs

pytestmark = pytest.mark.e2e

_run: dict[str, dict[str, str]] = {}


def names() -> list[str]:
    """Read from the files: only a process that has chosen the engine may import them."""
    found: list[str] = []
    for module in CASES:
        spec = importlib.util.find_spec(module)
        assert spec is not None
        assert spec.origin is not None
        with open(spec.origin) as source:
            found += [line.split()[2].partition("(")[0] for line in source if line.startswith("async def case_")]
    return found


def outcomes(postgresql: PostgreSQL, build: str) -> dict[str, str]:
    if build not in _run:
        env = {"POSTGRESQL": postgresql.host, "PSYCOPG_IMPL": build, "PYTHONWARNINGS": "error::ResourceWarning"}
        if build == "python":
            env["LD_LIBRARY_PATH"] = os.pathsep.join([str(programs().parent / "lib")])
        with Process(sys.executable, "-m", "tests.db.running", ready="", cwd=ROOT, env=env) as process:
            process.wait(CASE_TIMEOUT_S * 3)
        assert "ResourceWarning" not in process.output, process.output
        *_, line = process.output.strip().splitlines()
        _run[build] = json.loads(line)
    return _run[build]


@pytest.mark.parametrize("name", names())
def test_case(postgresql: PostgreSQL, name: str) -> None:
    assert outcomes(postgresql, "binary")[name] == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_case_with_psycopg_in_python(postgresql: PostgreSQL, name: str) -> None:
    assert outcomes(postgresql, "python")[name] == ""

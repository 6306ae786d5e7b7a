"""The test of concurrent requests is tested: green on the source as it is, red on each fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.handler.faults import FAULTS, run_with

pytestmark = pytest.mark.slow


def test_without_a_fault_it_is_green(tmp_path: Path) -> None:
    run = run_with((), tmp_path)
    assert not run.is_red, run.output


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_found(name: str, tmp_path: Path) -> None:
    run = run_with(FAULTS[name], tmp_path)
    assert run.is_red, run.output
    assert "error" not in run.output.splitlines()[-1], run.output  # it has failed, and did not break the collection

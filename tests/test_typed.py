"""A project that checks its types strictly may use everything; ``make types`` says so for mypy (``tests.typed``)."""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fullduplex

TYPED = Path(__file__).parent / "typed"


def test_the_project_is_one_that_works() -> None:
    assert callable(importlib.import_module("tests.typed.application").application)


def test_what_the_documentation_names_is_in_the_root() -> None:
    from fullduplex import Disconnected, SocketState

    assert {"Disconnected", "SocketState"} <= set(fullduplex.__all__)
    assert SocketState.OPEN.value == "open"
    assert Disconnected(1001).code == 1001


@pytest.mark.slow  # pyright takes ten seconds, and the first time fetches itself from npm
def test_pyright_in_strict_mode() -> None:
    if importlib.util.find_spec("pyright") is None:
        pytest.skip("pyright is not installed")
    environment = {**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    version = subprocess.run([sys.executable, "-m", "pyright", "--version"], env=environment, capture_output=True)
    if version.returncode:
        pytest.skip("pyright cannot be fetched here")
    command = [sys.executable, "-m", "pyright", "--project", str(TYPED), "--pythonpath", sys.executable]
    checked = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout

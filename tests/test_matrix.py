"""``make matrix`` says at its end what came of each interpreter, and fails where one has failed or is missing."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import django
import pytest

from tests import matrix

RESULTS = '<testsuites><testsuite name="pytest" errors="{}" failures="{}" skipped="2" tests="10" /></testsuites>'


def environment(folder: Path, errors: int, failures: int) -> None:
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (folder / "results.xml").write_text(RESULTS.format(errors, failures))


def test_a_line_for_each_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    environment(tmp_path / ".venv-3.11", 0, 0)
    environment(tmp_path / ".venv-3.12", 1, 3)
    versions = [platform.python_version(), django.__version__]
    assert matrix.main(["3.11"])
    assert not matrix.main(["3.11", "3.12", "3.13"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert lines[1] == [*versions, "8", "0", "0", "2"]
    assert lines[2] == [*versions, "4", "3", "1", "2"]
    assert lines[3] == ["3.13", *["the", "tests", "did", "not", "come", "to", "their", "end"]]


def test_no_interpreter_is_no_success() -> None:
    assert not matrix.main([])

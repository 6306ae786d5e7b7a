"""The demo project is a project: its own tests pass, its checks are silent, its migrations are complete."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.e2e.process import ROOT

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(
    "command", [("test",), ("check", "--fail-level", "WARNING"), ("makemigrations", "--check", "--dry-run")]
)
def test_the_demo_project_is_in_order(command: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "manage.py", *command],
        cwd=ROOT / "examples" / "chat",
        # pytest-django has named the settings of our own tests in the environment.
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "mysite.settings"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout

"""Django's own tests of its handlers, with our handler in the place of Django's: the quick ones, at each ``make test``.

The rest is for ``python tests/django/run.py``. Needs PyPI, once for each version of Django.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LABELS = ["handlers", "asgi", "async"]
TIMEOUT_S = 900  # for each run, which takes about 10 s on a machine that has nothing else to do


@pytest.mark.e2e
def test_djangos_tests_of_its_handlers_give_the_same_with_ours() -> None:
    command = [sys.executable, str(Path(__file__).with_name("run.py")), "--timeout-s", str(TIMEOUT_S), *LABELS]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr

"""Django's own tests of its ORM through the ``a...`` methods, with our engine; the differences are listed there.

Needs PyPI, once for each version of Django.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.e2e.process import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_djangos_tests_give_the_same_with_our_engine() -> None:
    command = [sys.executable, "-m", "tests.db.django_suites"]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr

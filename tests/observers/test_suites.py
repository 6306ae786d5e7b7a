"""What packages test of themselves passes with our handler as it does with Django's: a part at each ``make test``.

The rest in ``make test-all``. Needs PyPI, once for each version of a package.
"""

from __future__ import annotations

import pytest

from tests.observers.run import SUITES, main

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("name", SUITES)
def test_a_part_passes(name: str) -> None:
    assert main(["--short", name]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", SUITES)
def test_all_passes(name: str) -> None:
    assert main([name]) == 0

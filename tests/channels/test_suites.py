"""What djangochannelsrestframework tests of itself passes with ours: its imports changed, and unchanged with the alias.

Needs PyPI. ``tests/channels/run.py`` has more suites, whose releases are elsewhere.
"""

from __future__ import annotations

import pytest

from tests.channels.run import main

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.mark.parametrize("options", [[], ["--alias"]], ids=["imports changed", "alias"])
def test_djangochannelsrestframework(options: list[str]) -> None:
    assert main(["djangochannelsrestframework", *options]) == 0

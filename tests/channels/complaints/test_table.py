"""The page has every test, and names what is installed."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[2] / "docs/topics/channels-complaints.md"


def test_the_page_has_every_test_and_no_other() -> None:
    sources = "".join(file.read_text() for file in HERE.glob("test_*.py") if file.name != Path(__file__).name)
    others = {"test_loops_that_come_and_go_leave_nothing"}
    assert set(re.findall(r"`(test_\w+)`", PAGE.read_text())) - others == set(re.findall(r"def (test_\w+)", sources))


def test_the_page_names_the_versions() -> None:
    assert (
        f"Channels {version('channels')}, channels_redis {version('channels_redis')} and "
        f"Daphne {version('daphne').rpartition('.')[0]}," in PAGE.read_text()
    )

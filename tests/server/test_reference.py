"""The reference page is made from the code, and the one in the repository is up to date."""

from __future__ import annotations

from pathlib import Path

from fullduplex.server.reference import page
from fullduplex.server.settings import all_settings

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"


def test_the_page_in_the_repository_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m fullduplex.server.reference > " + str(PAGE)


def test_every_setting_is_on_the_page():
    text = page()
    for setting in all_settings().values():
        assert f"`{setting.path}`" in text

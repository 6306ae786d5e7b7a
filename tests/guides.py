"""What stands in ``docs/howto``: configurations and commands, word for word."""

from __future__ import annotations

import re
from pathlib import Path

HOWTO = Path(__file__).parents[1] / "docs" / "howto"


def section(guide: str, title: str) -> str:
    """The text below one heading, up to the next of its level or above."""
    text = (HOWTO / f"{guide}.md").read_text(encoding="utf-8")
    found = re.search(rf"^##+ {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    assert found, f"{guide}.md has no section {title!r}"
    return found.group(1)


def blocks(text: str, language: str) -> list[str]:
    """The blocks of code in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)

"""The reference page has every option with its default."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from fullduplex.layers.redis import RedisLimits

PAGE = Path(__file__).parents[2] / "docs/reference/layers.md"


def test_the_reference_page_has_every_limit() -> None:
    page = PAGE.read_text()
    for field in dataclasses.fields(RedisLimits):
        assert field.metadata["help"]
        assert field.name.endswith(("_s", "_bytes", "_count")), field.name
        assert re.search(rf"\| `{field.name}` \| {re.escape(str(field.default))} \|", page), field.name

"""The golden vectors of ``fullduplex.v1``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

DIRECTORY = Path(__file__).parents[1] / "vectors" / "v1"


def entries(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((DIRECTORY / f"{name}.json").read_text())
    return found


def each(name: str, **conditions: Any) -> pytest.MarkDecorator:
    """Run a test for each entry of a file, named as that is."""
    chosen = [entry for entry in entries(name) if all(value in entry[key] for key, value in conditions.items())]
    return pytest.mark.parametrize("entry", chosen, ids=lambda entry: entry["name"].replace(" ", "-"))

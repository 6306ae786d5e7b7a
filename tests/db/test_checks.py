"""What ``manage.py check`` says of the engine."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings

from fullduplex.db.engine import uses_engine
from fullduplex.handler.checks import check_engine

OURS = {"ENGINE": "fullduplex.db.postgresql", "CONN_MAX_AGE": 60}
OTHER = {"ENGINE": "django.db.backends.sqlite3"}


@pytest.mark.parametrize(
    ("databases", "ids"),
    [
        ({"default": OTHER}, []),
        ({"default": OURS, "replica": OURS}, []),
        ({"default": OURS, "other": OTHER}, ["fullduplex.W012"]),
        ({"default": {**OURS, "OPTIONS": {"pool": True}}}, ["fullduplex.E012"]),
        ({"default": {**OURS, "CONN_MAX_AGE": 0}}, ["fullduplex.I013"]),
    ],
)
def test_the_engine_is_checked(monkeypatch: pytest.MonkeyPatch, databases: dict[str, Any], ids: list[str]) -> None:
    monkeypatch.setattr(settings, "DATABASES", databases)
    assert [message.id for message in check_engine()] == ids
    assert uses_engine() == (OTHER not in databases.values())

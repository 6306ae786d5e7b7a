from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from fullduplex.history.store import close_writers
from tests.history import databases
from tests.packages.postgresql import PostgreSQL, server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    with server(max_connections=100) as postgresql:
        yield postgresql


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path, django_db_blocker: Any) -> Iterator[dict[str, Any]]:
    """An empty database, whose tables are those of the history."""
    if request.param == "sqlite":
        config = databases.sqlite(tmp_path / "db.sqlite3")
    else:
        running: PostgreSQL = request.getfixturevalue("postgresql")
        name = f"history_{uuid.uuid4().hex}"
        running.database(name)
        config = databases.postgresql(running, name)
    with (
        django_db_blocker.unblock(),
        override_settings(DATABASE_ROUTERS=["tests.history.databases.Router"]),
        databases.connected(config),
    ):
        yield config
        close_writers()

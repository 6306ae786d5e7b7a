from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from fullduplex.history.store import close_writers
from tests.history import databases
from tests.packages.postgresql import PostgreSQL, server

TEMPLATE = "history_template"
ROUTERS = ["tests.history.databases.Router"]


@pytest.fixture(scope="session")
def postgresql(django_db_blocker: Any) -> Iterator[PostgreSQL]:
    """A server with a database that has the tables."""
    with server(max_connections=100) as postgresql:
        postgresql.database(TEMPLATE)
        _migrate(databases.postgresql(postgresql, TEMPLATE), django_db_blocker)
        yield postgresql


@pytest.fixture(scope="session")
def sqlite(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any) -> Path:
    """A file that has the tables."""
    path = tmp_path_factory.mktemp("history") / "template.sqlite3"
    _migrate(databases.sqlite(path), django_db_blocker)
    return path


def _migrate(config: dict[str, Any], django_db_blocker: Any) -> None:
    with django_db_blocker.unblock(), override_settings(DATABASE_ROUTERS=ROUTERS), databases.connected(config):
        databases.migrate()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def database(request: pytest.FixtureRequest, tmp_path: Path, django_db_blocker: Any) -> Iterator[dict[str, Any]]:
    """An empty database, whose tables are those of the history. Usual runs have the suite for histories, and what is
    particular to PostgreSQL, on both; the rest on SQLite."""
    if request.param == "sqlite":
        path = tmp_path / "db.sqlite3"
        shutil.copy(request.getfixturevalue("sqlite"), path)
        config = databases.sqlite(path)
    else:
        running: PostgreSQL = request.getfixturevalue("postgresql")
        name = f"history_{uuid.uuid4().hex}"
        running.database(name, template=TEMPLATE)
        config = databases.postgresql(running, name)
    with django_db_blocker.unblock(), override_settings(DATABASE_ROUTERS=ROUTERS), databases.connected(config):
        yield config
        close_writers()

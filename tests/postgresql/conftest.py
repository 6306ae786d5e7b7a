"""One PostgreSQL server for the whole folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.packages.postgresql import PostgreSQL, server
from tests.postgresql.database import create


@dataclass(frozen=True)
class Database:
    """The site's.

    Attributes:
        postgresql: the server it is on.
        dsn: of its superuser.
    """

    postgresql: PostgreSQL
    dsn: str


@pytest.fixture(scope="session")
def database() -> Iterator[Database]:
    with server(max_connections=500) as postgresql:
        yield Database(postgresql, create(postgresql))

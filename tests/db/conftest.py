"""One PostgreSQL server for the whole folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.packages.postgresql import PostgreSQL, server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    with server(max_connections=100) as postgresql:
        yield postgresql

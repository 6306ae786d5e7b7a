"""Servers that the modules of this folder share, one of each kind for a test run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.layers.servers import Cluster, Sentinel, Server, other_binary


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("valkey"))
    try:
        yield server.start()
    finally:
        server.kill()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    servers = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        yield servers.start()
    finally:
        servers.kill()


@pytest.fixture(scope="session")
def sentinel(valkey: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sentinel]:
    watcher = Sentinel(tmp_path_factory.mktemp("sentinel"), valkey)
    try:
        watcher.start()
        yield watcher
    finally:
        watcher.kill()


@pytest.fixture(scope="session")
def redis6(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("redis6"), binary=other_binary())
    try:
        yield server.start()
    finally:
        server.kill()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own, to do with as it likes."""
    own = Server(tmp_path / "server")
    try:
        yield own.start()
    finally:
        own.kill()

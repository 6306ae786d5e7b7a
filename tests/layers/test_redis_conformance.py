"""The public suite of layers over every way to reach a real Redis or Valkey."""

from __future__ import annotations

from typing import Any

import pytest

from fullduplex.layers.base import BaseLayer
from fullduplex.layers.redis import RedisLayer
from fullduplex.testing.histories import HistoryConformance
from fullduplex.testing.layers import LayerConformance
from tests.layers.servers import Cluster, Sentinel, Server, free_port


class Reached:
    """How a server is reached."""

    config: dict[str, Any]

    def make_layer(self) -> BaseLayer:
        return RedisLayer(**self.config)


class Single(Reached):
    @pytest.fixture(autouse=True)
    def _server(self, valkey: Server) -> None:
        self.config = {"hosts": [valkey.url]}


class TwoHosts(Reached):
    """Two databases stand for two servers: names are spread over both (cr#221)."""

    @pytest.fixture(autouse=True)
    def _server(self, valkey: Server) -> None:
        self.config = {"hosts": [valkey.url, {"host": "localhost", "port": valkey.port, "db": 1}]}


class Encrypted(Reached):
    @pytest.fixture(autouse=True)
    def _server(self, valkey: Server) -> None:
        self.config = {"hosts": [("127.0.0.1", valkey.port)], "symmetric_encryption_keys": ["new", b"old"]}


class BySentinel(Reached):
    @pytest.fixture(autouse=True)
    def _server(self, sentinel: Sentinel) -> None:
        self.config = {"hosts": [{"sentinels": [("127.0.0.1", sentinel.port)], "master_name": "main"}]}


class InCluster(Reached):
    @pytest.fixture(autouse=True)
    def _server(self, cluster: Cluster) -> None:
        self.config = {"hosts": cluster.urls, "cluster": True}


class Redis6(Reached):
    @pytest.fixture(autouse=True)
    def _server(self, redis6: Server) -> None:
        self.server = redis6
        self.config = {"hosts": [redis6.url]}

    async def end_epoch(self) -> None:
        """As a promotion does."""
        with self.server.client() as client:
            client.replicaof("127.0.0.1", free_port())
            client.replicaof("NO", "ONE")


class TestSingle(Single, LayerConformance):
    pass


class TestTwoHosts(TwoHosts, LayerConformance):
    pass


class TestEncrypted(Encrypted, LayerConformance):
    pass


class TestSentinel(BySentinel, LayerConformance):
    pass


class TestCluster(InCluster, LayerConformance):
    pass


class TestRedis6(Redis6, LayerConformance):
    pass


class TestHistoryOnValkey(Single, HistoryConformance):
    pass


class TestHistoryInACluster(InCluster, HistoryConformance):
    pass


class TestHistoryOnRedis6(Redis6, HistoryConformance):
    pass


@pytest.mark.slow
class TestHistoryOnTwoHosts(TwoHosts, HistoryConformance):
    pass


@pytest.mark.slow
class TestHistoryEncrypted(Encrypted, HistoryConformance):
    pass


@pytest.mark.slow
class TestHistoryBySentinel(BySentinel, HistoryConformance):
    pass

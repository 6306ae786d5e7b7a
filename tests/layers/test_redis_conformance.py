"""The public suite of layers over every way to reach a real Redis or Valkey."""

from __future__ import annotations

from typing import Any

import pytest

from fullduplex.layers.base import BaseLayer
from fullduplex.layers.redis import RedisLayer
from fullduplex.testing.layers import LayerConformance
from tests.layers.servers import Cluster, Sentinel, Server


class RedisConformance(LayerConformance):
    config: dict[str, Any]

    def make_layer(self) -> BaseLayer:
        return RedisLayer(**self.config)


class TestSingle(RedisConformance):
    @pytest.fixture(autouse=True)
    def _server(self, valkey: Server) -> None:
        self.config = {"hosts": [valkey.url]}


class TestTwoHosts(RedisConformance):
    """Two databases stand for two servers: names are spread over both (cr#221)."""

    @pytest.fixture(autouse=True)
    def _server(self, valkey: Server) -> None:
        self.config = {"hosts": [valkey.url, {"host": "localhost", "port": valkey.port, "db": 1}]}


class TestEncrypted(RedisConformance):
    @pytest.fixture(autouse=True)
    def _server(self, valkey: Server) -> None:
        self.config = {"hosts": [("127.0.0.1", valkey.port)], "symmetric_encryption_keys": ["new", b"old"]}


class TestSentinel(RedisConformance):
    @pytest.fixture(autouse=True)
    def _server(self, sentinel: Sentinel) -> None:
        self.config = {"hosts": [{"sentinels": [("127.0.0.1", sentinel.port)], "master_name": "main"}]}


class TestCluster(RedisConformance):
    @pytest.fixture(autouse=True)
    def _server(self, cluster: Cluster) -> None:
        self.config = {"hosts": cluster.urls, "cluster": True}


class TestRedis6(RedisConformance):
    @pytest.fixture(autouse=True)
    def _server(self, redis6: Server) -> None:
        self.config = {"hosts": [redis6.url]}

"""The servers of tests/layers."""

from tests.layers.conftest import cluster, redis6, sentinel, valkey

__all__ = ["cluster", "redis6", "sentinel", "valkey"]

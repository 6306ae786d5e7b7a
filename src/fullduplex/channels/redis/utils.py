"""Under this path, since projects and tests import from ``channels_redis.utils``."""

from __future__ import annotations

from typing import Any

from redis.asyncio import ConnectionPool

from fullduplex.layers.redis.hosts import read_hosts
from fullduplex.layers.redis.topology import consistent_hash

__all__ = ["_close_redis", "_consistent_hash", "create_pool"]

_consistent_hash = consistent_hash


def create_pool(host: Any) -> ConnectionPool:
    """Return a pool of redis-py's for one entry of ``hosts``, which whoever asks for it closes.

    Raises:
        ConfigurationError: it describes no Redis server.
    """
    return read_hosts([host])[0].pool()


async def _close_redis(connection: Any) -> None:
    """Close a client of redis-py with its pool."""
    await connection.aclose(close_connection_pool=True)

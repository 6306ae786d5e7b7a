"""Under this path, since projects and tests import from ``channels_redis.utils``."""

from __future__ import annotations

from typing import Any

from fullduplex.layers.redis.topology import consistent_hash

__all__ = ["_close_redis", "_consistent_hash"]

_consistent_hash = consistent_hash


async def _close_redis(connection: Any) -> None:
    """Close a client of redis-py with its pool."""
    await connection.aclose(close_connection_pool=True)

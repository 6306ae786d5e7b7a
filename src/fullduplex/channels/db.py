"""Database access from async consumers."""

from fullduplex.sockets.database import (
    DatabaseSyncToAsync,
    aclose_old_connections,
    close_old_connections,
    database_sync_to_async,
)

# The third stands here since tests of projects patch it; communicators keep the connections of a test without that.
__all__ = ["DatabaseSyncToAsync", "aclose_old_connections", "close_old_connections", "database_sync_to_async"]

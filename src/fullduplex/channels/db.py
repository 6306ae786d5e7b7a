"""Database access from async consumers."""

from fullduplex.sockets.database import DatabaseSyncToAsync, aclose_old_connections, database_sync_to_async

__all__ = ["DatabaseSyncToAsync", "aclose_old_connections", "database_sync_to_async"]

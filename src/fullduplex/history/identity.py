"""Which database this is: the part of an epoch that no restored dump brings along.

A dump that is put back has the groups' nonces and older counts: what came after it is lost, and its offsets will be
used again. So an epoch has a second half, made of what the database says of itself:

- PostgreSQL: the cluster, its timeline (another one after a failover and after a recovery to a point in time), the
  database and the table. Putting a dump back makes another table, or another database.
- SQLite: the inode of the file; copies and files moved into place have others, most of the time.
- Others: nothing.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from django.db.backends.base.base import BaseDatabaseWrapper

# pg_control_checkpoint() has the timeline too, but that of the last checkpoint, which may be minutes behind a failover.
_QUERY = """
SELECT (SELECT system_identifier FROM pg_control_system())
    || '.' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)
    || '.' || (SELECT oid FROM pg_database WHERE datname = current_database()),
    current_setting('synchronous_commit') = 'off'
"""


class Server(NamedTuple):
    """What a connection has told.

    Attributes:
        name: of cluster, timeline and database.
        forgets: a transaction counts as committed before it is on disk.
    """

    name: str
    forgets: bool


_servers: WeakKeyDictionary[Any, Server] = WeakKeyDictionary()


def server(connection: BaseDatabaseWrapper) -> Server:
    """Ask once for each connection: a server whose timeline changes takes no connection along."""
    if connection.vendor == "sqlite":
        return Server(_inode(connection.settings_dict["NAME"]), False)
    if connection.vendor != "postgresql":
        return Server("", False)
    connection.ensure_connection()
    known = _servers.get(connection.connection)
    if known is None:
        with connection.cursor() as cursor:
            cursor.execute(_QUERY)
            known = _servers[connection.connection] = Server(*cursor.fetchone())
    return known


def _inode(path: Any) -> str:
    try:
        return str(os.stat(path).st_ino)
    except OSError:  # in memory
        return ""


def epoch(nonce: str, name: str, table: int) -> str:
    """Return the epoch of a group.

    Args:
        nonce: of its row.
        name: of the server.
        table: of the table that the row is in.
    """
    return f"{nonce}.{hashlib.sha256(f'{name}.{table}'.encode()).hexdigest()[:12]}"


def nonce_of(epoch: str) -> str:
    """Return the nonce that an epoch was made of."""
    return epoch.partition(".")[0]

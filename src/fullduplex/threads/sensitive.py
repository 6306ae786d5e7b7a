"""What asgiref finds in a context that has a lease.

Not compiled: asgiref refers to it weakly.
"""

from __future__ import annotations

from typing import Any, ClassVar, cast

from asgiref.sync import SyncToAsync

from fullduplex.threads.lease import Lease


class LeaseContext:
    """A ``ThreadSensitiveContext`` with a lease for its executor, of which asgiref is told when it first asks.

    Our own hops go to the lease, so that most requests never have it asked. It asks by looking this object up in its
    dictionary of executors, which cannot be done without the hash.
    """

    __slots__ = ("__weakref__", "_lease")
    _exited: ClassVar[bool] = False  # asgiref refuses the calls of those that are over

    def __init__(self, lease: Lease) -> None:
        self._lease: Lease | None = lease

    def __hash__(self) -> int:
        lease, self._lease = self._lease, None
        if lease is not None:
            SyncToAsync.context_to_thread_executor[cast(Any, self)] = lease
        return object.__hash__(self)

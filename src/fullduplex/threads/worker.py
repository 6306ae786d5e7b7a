"""One thread of the pool: it runs the calls of one lease after the other's, and is cleaned between two leases."""

from __future__ import annotations

import logging
import queue
import threading
from typing import Any, Protocol

from fullduplex.threads.calls import Call
from fullduplex.threads.connections import (
    begin_thread,
    clean_connections,
    close_connections,
    has_open_query,
    is_unclean,
    mend_connections,
    thread_connections,
    track_cursors,
)

logger = logging.getLogger("fullduplex.handler")

GO_ON = -1.0  # instead of a time to rest: there is more to do


class Tenant(Protocol):
    """Whose calls a worker runs: a lease."""

    is_bound: bool
    tracks: bool
    session: Any


class Owner(Protocol):
    """What a worker asks of its pool; each is taken under the pool's lock."""

    def next_call(self, worker: Worker) -> tuple[Tenant | None, Call | None]: ...

    def rest(self, worker: Worker) -> float | None: ...

    def part(self, worker: Worker, call: Call) -> None: ...

    def detach(self, worker: Worker) -> bool: ...

    def rested(self, worker: Worker) -> None: ...

    def retire(self, worker: Worker) -> float | None: ...

    def failed(self, worker: Worker) -> None: ...


class Worker(threading.Thread):
    """One thread of the pool.

    Others touch its attributes only under the pool's lock, and ``lease`` only while it rests or is idle.

    Attributes:
        of_sockets: it serves sockets; else requests.
        lease: whose calls it runs.
        rests: it waits for the next call of its lease.
        is_idle: it waits for a lease.
        is_open: while it rests: a transaction or a cursor is open, where the lease tracks them.
        unclean: while it rests: something is to be rolled back or closed.
        leaves: it goes back after what it does now.
        spoiled: nobody knows what a request has left in it: it ends when that one is over.
        stops: it ends when it has nothing to do.
        taken: the call that it is about to begin.
        nested_count: sync calls that run in it inside ``async_to_sync``; its own business.
    """

    def __init__(self, pool: Owner, of_sockets: bool) -> None:
        # A daemon: one that hangs in a view must not hold up the end of the process; atexit waits for the others.
        super().__init__(name="fullduplex-sockets" if of_sockets else "fullduplex-thread", daemon=True)
        self.of_sockets = of_sockets
        self.lease: Any = None  # the pool's own kind of tenant
        self.rests = False
        self.is_idle = False
        self.is_open = False
        self.unclean = False
        self.leaves = False
        self.spoiled = False
        self.stops = False
        self.taken: Call | None = None
        self.nested_count = 0
        self._call: Call | None = None
        self._pool = pool
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._used_by: Tenant | None = None  # since it was cleaned
        self._has_connections = False  # when it was cleaned

    @property
    def awaits(self) -> bool:
        """Whether the sync code in it only waits for async code."""
        call = self._call
        return call is not None and call.awaits and not self.nested_count

    def wake(self) -> None:
        self._wakes.put(None)

    def run(self) -> None:
        begin_thread()
        rest_s: float | None = None
        while True:
            try:
                self._wakes.get(timeout=rest_s)
            except queue.Empty:
                self._pool.rested(self)
            try:
                rest_s = self._work()
            except Exception:  # beside its calls, whose errors are theirs: in the connections that they left behind
                logger.exception("A thread failed between two calls; another one takes its place")
                self._pool.failed(self)
                break
            if rest_s == 0.0:
                break
        close_connections()

    def _work(self) -> float | None:
        """Do what there is to do; return how long to rest, None until woken, 0 to end the thread."""
        pool = self._pool
        is_free = False
        while True:
            lease, call = (None, None) if is_free else pool.next_call(self)
            is_free = False
            self.taken = call
            if lease is None:
                if self._used_by is not None:
                    self._clean()
                rest_s = pool.retire(self)
            elif call is None:
                self.is_open = lease.tracks and self._is_open()
                self.unclean = is_unclean()
                rest_s = pool.rest(self)
            elif not (lease.is_bound or self.of_sockets) and (self.leaves or not self._is_open()):
                self.taken = None
                pool.part(self, call)
                del call
                continue
            else:
                self._prepare(lease)
                self.taken = None
                self._call = call
                call.run()
                self._call = None
                if call.last:
                    is_free = pool.detach(self)
                elif not lease.is_bound:
                    mend_connections()
                del call  # a thread that rests must not keep a request alive
                continue
            if rest_s != GO_ON:
                return rest_s

    def _is_open(self) -> bool:
        """Whether something would be lost if the next call of a loose lease had another thread."""
        return has_open_query()

    def _prepare(self, lease: Tenant) -> None:
        """What Django's receivers of ``request_started`` do, once for each lease."""
        if self._used_by is not lease:
            if self._used_by is not None:
                self._clean()
            self._used_by = lease
            if self._has_connections:
                clean_connections()
            if lease.session is not None:
                lease.session.move(thread_connections())
            if lease.tracks:
                track_cursors()
        elif not lease.is_bound:
            mend_connections()

    def _clean(self) -> None:
        """Leave nothing of one lease for the next, and what Django's receiver of ``request_finished`` does."""
        self._used_by = None
        self._has_connections = clean_connections()

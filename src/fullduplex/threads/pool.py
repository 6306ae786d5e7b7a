"""A bounded pool of threads for sync code, and one lease on it for each request or socket.

::

    request ── Lease ──┐             ┌── thread, with its database connections
    request ── Lease ──┼── ThreadPool┼── thread
    socket  ── Lease ──┘  (waiters)  └── thread

asgiref runs the sync code of one request on one thread and asks for an executor to do so
(``ThreadSensitiveContext``). Django lets it start a thread for every request, which dies with the request
and takes its database connection along. A lease takes a thread of the pool with its first call instead.
Between calls the thread is at the disposal of whoever needs one; until somebody does, or ``idle_s`` have
passed, it rests with the lease, so that a view with five queries opens one connection. It belongs to the lease
for good only while one of its connections is in a transaction. Before another lease has it, and when the
request is over, it is cleaned: transactions rolled back, connections past CONN_MAX_AGE closed.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar, cast

from fullduplex.conf import get_settings
from fullduplex.exceptions import ThreadsExhausted
from fullduplex.threads.calls import Call, FutureCall
from fullduplex.threads.connections import clean_connections, close_connections, has_old_connections, in_transaction
from fullduplex.threads.waits import Waits

logger = logging.getLogger("fullduplex.handler")
T = TypeVar("T")

_STALL_S = 0.001  # a view of Django's least kind takes about 0.1 ms
_LONGEST_INTERVAL_S = 0.05
_EXHAUSTED = "No thread became free within FULLDUPLEX['THREADS_WAIT_S']."
_GO_ON = -1.0  # instead of a time to rest: there is more to do


class Lease(Executor):
    """The way of one request or socket to a thread: its calls run one at a time, in order.

    It may be used after :meth:`end`, by tasks that outlive the request: each call then takes a thread anew.
    """

    __slots__ = ("_calls", "ended", "idle_s", "pool", "waits_since_s", "worker")

    def __init__(self, pool: ThreadPool, idle_s: float = 0.0) -> None:
        self.pool = pool
        self.idle_s = idle_s
        # The rest belongs to the pool and its lock.
        self._calls: deque[Call] | None = None
        self.worker: Worker | None = None
        self.waits_since_s: float | None = None
        self.ended = False

    @property
    def calls(self) -> deque[Call]:
        """What waits for its thread; made with the first call, for most sockets never have one."""
        if self._calls is None:
            self._calls = deque()
        return self._calls

    @property
    def is_busy(self) -> bool:
        """Whether a call is running, or was a moment ago."""
        worker = self.worker
        return worker is not None and not worker.rests

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Queue a call.

        The future fails with ThreadsExhausted when no thread becomes free within THREADS_WAIT_S, while an event loop
        looks after those that wait: one on which a call had to wait.
        """
        call = FutureCall(functools.partial(fn, *args, **kwargs))
        self.put(call)
        return call.future

    def put(self, call: Call) -> None:
        """Queue a call."""
        self.pool.run(self, call)

    def give_back(self, roll_back: bool = False) -> None:
        """No call is expected soon: let the thread go, unless it is running one.

        Args:
            roll_back: also where a transaction is open.
        """
        self.pool.release(self, roll_back)

    def end(self) -> None:
        """The request or socket is over: the thread goes back after the last call, an open transaction or not."""
        self.ended = True
        pool = self.pool
        pool.release(self, roll_back=True)
        if pool.waits.has_news:
            pool.waits.report(time.monotonic(), pool.thread_count, pool.waiting_count)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self.end()


class ThreadPool:
    """At most ``max_count()`` threads, which start when needed and stay.

    Attributes:
        waits: what waiting for a thread has cost.
    """

    def __init__(self, max_count: Callable[[], int]) -> None:
        self.waits = Waits()
        self._max_count = max_count
        self._lock = threading.Lock()
        self._workers: set[Worker] = set()
        self._idle: list[Worker] = []  # the one used last comes first: few connections at low load
        self._parked: dict[Worker, None] = {}  # rest with a lease, longest first, and may be taken from it
        self._waiting: deque[Lease] = deque()
        self._watching: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()

    @property
    def thread_count(self) -> int:
        return len(self._workers)

    @property
    def leased_count(self) -> int:
        """Threads that run a call or are in a lease's transaction."""
        return len(self._workers) - len(self._idle) - len(self._parked)

    @property
    def waiting_count(self) -> int:
        return len(self._waiting)

    def run(self, lease: Lease, call: Call) -> None:
        """Have ``call`` run for ``lease``, as soon as there is a thread.

        Raises:
            RuntimeError: there is none at all, and the system gives none.
        """
        with self._lock:
            worker = lease.worker
            if worker is None:
                if lease.waits_since_s is None:
                    worker = None if self.leased_count and self._will_watch() else self._take()
                    if worker is None:
                        lease.waits_since_s = time.monotonic()
                        self._waiting.append(lease)
                    else:
                        worker.lease, lease.worker = lease, worker
            elif worker.rests:
                self._parked.pop(worker, None)
            else:
                worker = None  # it runs another call of this lease, and will find this one
            lease.calls.append(call)
            if worker is None:
                return
            worker.rests = False
        try:
            # At the end of this turn of the loop it finds all calls of the turn, and they share its way to the GIL.
            asyncio.get_running_loop().call_soon(worker.wake)
        except RuntimeError:
            worker.wake()

    def release(self, lease: Lease, roll_back: bool) -> None:
        """Take the thread from ``lease`` if it rests, in a transaction only with ``roll_back``."""
        with self._lock:
            worker = lease.worker
            if worker is None or not worker.rests or not (roll_back or worker in self._parked):
                return
            must_wake = worker.unclean
            self._detach(worker)
            if not must_wake and not self._waiting:
                self._idle.append(worker)
                worker.is_idle = True
                return
        worker.wake()

    def close(self, timeout_s: float = 5.0) -> None:
        """End the threads, each after what it is doing; wait for them. The next call starts new ones."""
        with self._lock:
            workers = list(self._workers)
            for worker in workers:
                worker.stops = True
        for worker in workers:
            worker.wake()
        deadline_s = time.monotonic() + timeout_s
        for worker in workers:
            if worker is not threading.current_thread():
                worker.join(max(0.0, deadline_s - time.monotonic()))

    # Those that wait -------------------------------------------------------------------------
    #
    # Short calls are over sooner than another thread has the GIL: a thread that runs takes them one after
    # the other. So another one is woken only when those that run have not come to the waiting ones for a while.

    def _will_watch(self) -> bool:
        """Have the loop look after those that wait; return False where there is no loop. Under the lock."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return False
        if loop not in self._watching:
            self._watching.add(loop)
            loop.call_later(_STALL_S, self._watch, loop, 1, _STALL_S)
        return True

    def _watch(self, loop: asyncio.AbstractEventLoop, count: int, interval_s: float) -> None:
        """Wake ``count`` more threads for leases that wait, twice as many the next time; fail what waits too long."""
        woken: list[Worker] = []
        now_s = time.monotonic()
        with self._lock:
            while self._waiting and len(woken) < count and self._oldest_wait_s(now_s) >= _STALL_S / 2:
                worker = self._take()
                if worker is None:  # all are in use: whichever is free next comes by itself
                    interval_s = min(2 * interval_s, _LONGEST_INTERVAL_S)
                    break
                self._hand_over(worker)
                woken.append(worker)
            expired = self._expired(now_s)
            if not self._waiting:
                self._watching.discard(loop)
            else:
                if woken:
                    count, interval_s = 2 * count, _STALL_S
                loop.call_later(interval_s, self._watch, loop, count, interval_s)
        for worker in woken:
            worker.wake()
        failed = [call for call in expired if call.fail(ThreadsExhausted(_EXHAUSTED))]
        if failed:
            logger.error("%s All %d of THREADS_COUNT are in use.", _EXHAUSTED, self.thread_count)

    def _oldest_wait_s(self, now_s: float) -> float:
        return now_s - cast(float, self._waiting[0].waits_since_s)

    def _expired(self, now_s: float) -> list[Call]:
        """Take the leases that have waited too long out of the queue; return their calls. Under the lock."""
        calls: list[Call] = []
        limit_s = get_settings().threads_wait_s
        while self._waiting and self._oldest_wait_s(now_s) >= limit_s:
            self.waits.note(self._oldest_wait_s(now_s))
            self.waits.exhausted_count += 1
            lease = self._waiting.popleft()
            lease.waits_since_s = None
            calls += lease.calls
            lease.calls.clear()
        return calls

    def _hand_over(self, worker: Worker) -> None:
        """Give ``worker`` the lease that has waited longest. Under the lock."""
        lease = self._waiting.popleft()
        self.waits.note(time.monotonic() - cast(float, lease.waits_since_s))
        lease.waits_since_s = None
        lease.worker, worker.lease = worker, lease

    # For the workers -------------------------------------------------------------------------

    def next_call(self, worker: Worker) -> tuple[Lease | None, Call | None]:
        """Return the lease of ``worker`` and its next call; from here to its next rest nobody takes it away."""
        with self._lock:
            lease = worker.lease
            if lease is None:
                return None, None
            self._parked.pop(worker, None)
            worker.rests = False
            return lease, lease.calls.popleft() if lease.calls else None

    def rest(self, worker: Worker, lease: Lease, in_transaction: bool) -> float | None:
        """``lease`` has no call: return how long the worker rests with it (None: until woken), or _GO_ON."""
        with self._lock:
            if lease.calls:
                return _GO_ON
            if lease.ended or (not in_transaction and (self._waiting or worker.stops or not lease.idle_s)):
                self._detach(worker)
                return _GO_ON
            worker.rests = True
            if in_transaction:
                return None
            self._parked[worker] = None
            return lease.idle_s

    def detach(self, worker: Worker, lease: Lease) -> None:
        with self._lock:
            if not lease.calls:
                self._detach(worker)

    def take_back(self, worker: Worker) -> None:
        """The worker has rested long enough; it may have been woken at the same moment."""
        with self._lock:
            if worker in self._parked:
                self._detach(worker)

    def retire(self, worker: Worker) -> float | None:
        """A clean worker without a lease: it is idle (None), has one that waited (_GO_ON), or ends (0)."""
        with self._lock:
            if worker.lease is not None:  # given to it at this moment
                return _GO_ON
            if self._waiting:
                self._drop_idle(worker)
                self._hand_over(worker)
                return _GO_ON
            if worker.stops or len(self._workers) > self._max_count():
                self._drop_idle(worker)
                self._workers.discard(worker)
                return 0.0
            if not worker.is_idle:
                self._idle.append(worker)
                worker.is_idle = True
            return None

    # Under the lock --------------------------------------------------------------------------

    def _take(self) -> Worker | None:
        """Return a thread for a new lease: an idle one, a new one, or one that rests elsewhere."""
        while self._idle:
            worker = self._idle.pop()
            worker.is_idle = False
            if not worker.stops:
                return worker
        if len(self._workers) < self._max_count() and (started := self._start()):
            return started
        if self._parked:
            worker = next(iter(self._parked))
            self._detach(worker)
            return worker
        return None

    def _start(self) -> Worker | None:
        """Return a new thread; None where the system gives no more, and those that there are must do.

        Raises:
            RuntimeError: there are none at all.
        """
        worker = Worker(self)
        try:
            worker.start()
        except RuntimeError:
            if not self._workers:
                raise
            return None
        self._workers.add(worker)
        return worker

    def _detach(self, worker: Worker) -> None:
        self._parked.pop(worker, None)
        worker.rests = False
        if worker.lease is not None:
            worker.lease.worker = None
            worker.lease = None

    def _drop_idle(self, worker: Worker) -> None:
        if worker.is_idle:
            self._idle.remove(worker)
            worker.is_idle = False


class Worker(threading.Thread):
    """One thread of the pool.

    Others touch its attributes only under the pool's lock, and ``lease`` only while it rests or is idle.

    Attributes:
        lease: whose calls it runs.
        rests: it waits for the next call of its lease.
        is_idle: it waits for a lease.
        unclean: while it rests: something is to be rolled back or closed.
        stops: it ends when it has nothing to do.
    """

    def __init__(self, pool: ThreadPool) -> None:
        # A daemon: one that hangs in a view must not hold up the end of the process; atexit waits for the others.
        super().__init__(name="fullduplex-thread", daemon=True)
        self.lease: Lease | None = None
        self.rests = False
        self.is_idle = False
        self.unclean = False
        self.stops = False
        self._pool = pool
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._used_by: Lease | None = None  # since it was cleaned
        self._has_connections = False  # when it was cleaned

    def wake(self) -> None:
        self._wakes.put(None)

    def run(self) -> None:
        rest_s: float | None = None
        while True:
            try:
                self._wakes.get(timeout=rest_s)
            except queue.Empty:
                self._pool.take_back(self)
            rest_s = self._work()
            if rest_s == 0.0:
                break
        close_connections()

    def _work(self) -> float | None:
        """Do what there is to do; return how long to rest, None until woken, 0 for ever."""
        while True:
            lease, call = self._pool.next_call(self)
            if lease is None:
                self._clean()
                rest_s = self._pool.retire(self)
            elif call is None:
                is_kept = in_transaction()
                self.unclean = is_kept or has_old_connections()
                rest_s = self._pool.rest(self, lease, is_kept)
            else:
                self._prepare(lease)
                call.run()
                if call.last:
                    self._clean()
                    self._pool.detach(self, lease)
                del call  # a thread that rests must not keep a request alive
                continue
            if rest_s != _GO_ON:
                return rest_s

    def _prepare(self, lease: Lease) -> None:
        """What Django's receivers of ``request_started`` do, once for each lease."""
        if self._used_by is not lease:
            self._clean()
            self._used_by = lease
            if self._has_connections:
                clean_connections()

    def _clean(self) -> None:
        """Leave nothing of one lease for the next, and what Django's receiver of ``request_finished`` does."""
        if self._used_by is None:
            return
        self._used_by = None
        self._has_connections = clean_connections()

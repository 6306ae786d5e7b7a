"""A bounded pool of threads for sync code, and one lease on it for each request or socket.

::

    request ── Lease, bound ──┐             ┌── thread, with its database connections
    request ── Lease, bound ──┼── ThreadPool┼── thread
    socket  ── Lease, loose ──┘  (waiters)  └── thread of the sockets

Django promises a request one thread, and so one connection per database, from ``request_started`` to
``request_finished`` (``ThreadSensitiveContext`` in ``ASGIHandler.__call__``, ticket 32889). asgiref would start a
thread for every request, which dies with it and takes the connections along. A lease that is bound takes a thread of
the pool with its first call instead, and keeps it until it ends: whoever has a thread never waits again, and nobody
else's code runs there in between. Then the thread is cleaned (transactions rolled back, connections past CONN_MAX_AGE
closed) and serves the next lease.

A socket lives too long for that. Its lease is loose: between calls the thread may serve another socket, but not while
a transaction or a cursor is open in it. Sockets have threads of their own, so that nothing which requests leave in a
thread is there for them.

THREADS_COUNT admits: while so many threads run sync code, who has no thread waits for one, in order. Threads that rest
with their lease, and those whose sync code waits for async code, do not count; THREADS_MAX_COUNT is the limit of all.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import cast

from fullduplex.conf import get_settings
from fullduplex.exceptions import ThreadsExhausted
from fullduplex.threads.calls import Call, call_on
from fullduplex.threads.lease import NO_CALLS, Lease
from fullduplex.threads.pace import STALL_S, Pace
from fullduplex.threads.waits import Waits
from fullduplex.threads.worker import GO_ON, Worker
from fullduplex.watched import PAUSE_S

logger = logging.getLogger("fullduplex.handler")

_UNWATCHED_S = 0.25
_OPEN_S = 0.05  # how soon a thread without time to rest asks again whether something is open in it
_EXHAUSTED = "No thread became free within FULLDUPLEX['THREADS_WAIT_S']."


class ThreadPool:
    """Threads that start when needed; those above ``count()`` end when nobody has needed them for a while.

    Args:
        count: how many may run sync code before who has none waits.
        max_count: how many there may be.

    Attributes:
        waits: what waiting for a thread has cost.
    """

    def __init__(self, count: Callable[[], int], max_count: Callable[[], int] | None = None) -> None:
        self.waits = Waits()
        self._count = count
        self._max_count = max_count or count
        self._lock = threading.Lock()
        self._workers: set[Worker] = set()
        self._running: set[Worker] = set()
        # Without a lease: of requests, of sockets. The one used last comes first: few connections at low load.
        self._idle: tuple[list[Worker], list[Worker]] = ([], [])
        self._parked: dict[Worker, None] = {}  # rest with a loose lease, longest first, and may be taken from it
        self._waiting: deque[Lease] = deque()
        self._done_count = 0  # calls
        self._pace = Pace()
        self._watching: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()

    @property
    def thread_count(self) -> int:
        return len(self._workers)

    @property
    def running_count(self) -> int:
        """Threads that run sync code, those that wait in ``async_to_sync`` among them."""
        return len(self._running)

    @property
    def resting_count(self) -> int:
        """Threads that wait for the next call of their request or socket."""
        return max(0, len(self._workers) - len(self._running) - len(self._idle[0]) - len(self._idle[1]))

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
                    worker = self._admitted(lease)
                    if worker is None:
                        lease.waits_since_s = time.monotonic()
                        self._waiting.append(lease)
                    else:
                        worker.lease, lease.worker = lease, worker
            elif worker.rests:
                self._parked.pop(worker, None)
            else:
                worker = None  # it runs another call of this lease, and will find this one
            if lease.calls is NO_CALLS:
                lease.calls = deque((call,))
            else:
                lease.calls.append(call)
            if worker is None:
                return
            worker.rests = False
            self._running.add(worker)
        try:
            # At the end of this turn of the loop it finds all calls of the turn, and they share its way to the GIL.
            asyncio.get_running_loop().call_soon(worker.wake)
        except RuntimeError:
            worker.wake()

    def release(self, lease: Lease, spoiled: bool = False, *, ends: bool = False) -> None:
        """Take the thread from ``lease``, at once or after the call that it runs."""
        with self._lock:
            if ends:
                lease.is_bound, lease.tracks = False, True
            worker = lease.worker
            if worker is None:
                return
            if spoiled:
                worker.spoiled = True
            if not worker.rests:
                worker.leaves = True
                return
            self._detach(worker)
            if not (worker.unclean or worker.spoiled or worker.stops or self._waiting or self._is_surplus()):
                self._put_idle(worker)
                return
            self._running.add(worker)  # it has to be cleaned
        worker.wake()

    def loosen(self, lease: Lease) -> None:
        """Let go the thread of a handshake, once nothing is open in it; the next calls go to threads of sockets."""
        with self._lock:
            lease.is_bound = False
            worker = lease.worker
            if worker is None or not worker.rests:
                return
            if not worker.is_open:
                self._detach(worker)
            self._running.add(worker)
        worker.wake()

    def close(self, timeout_s: float = 5.0, *, leave_requests: bool = False) -> None:
        """End the threads, each after what it is doing; wait for them. The next call starts new ones.

        Args:
            leave_requests: those that requests have end with these, whichever server they are of.
        """
        with self._lock:
            workers = list(self._workers)
            for worker in workers:
                worker.stops = True
                if leave_requests:
                    continue
                worker.leaves = True
                if worker.rests:
                    self._detach(worker)
        for worker in workers:
            worker.wake()
        deadline_s = time.monotonic() + timeout_s
        for worker in workers:
            if worker is not threading.current_thread():
                worker.join(max(0.0, deadline_s - time.monotonic()))

    # Those that wait -------------------------------------------------------------------------
    #
    # Short calls are over sooner than another thread has the GIL: a thread that runs takes them one after
    # the other. So more are woken only where that helps (:class:`Pace`), while a loop looks after those that wait.

    def _admitted(self, lease: Lease) -> Worker | None:
        """Return a thread for a lease that has none, or None when it has to wait. Under the lock."""
        if self._waiting:
            self._will_watch()
            return None
        if self._running:
            if self._is_full():
                self._will_watch()
                return None
            if len(self._running) >= self._pace.count and self._will_watch():
                return None
        worker = self._take(lease)
        if worker is None:  # all that there may be rest with others
            self._will_watch()
        return worker

    def _is_full(self) -> bool:
        """Whether THREADS_COUNT threads run sync code. Under the lock."""
        count = self._count()
        return len(self._running) >= count and self._active_count() >= count

    def _active_count(self) -> int:
        """Threads that run sync code, and do not wait in it for async code. Under the lock."""
        return sum(not worker.awaits for worker in self._running)

    def _will_watch(self) -> bool:
        """Have the loop look after those that wait; return False where there is no loop. Under the lock."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return False
        if loop not in self._watching:
            self._watching.add(loop)
            self._pace.begin(self._done_count)
            loop.call_later(self._pace.interval_s, self._watch, loop)
        return True

    def _is_watched(self) -> bool:
        """Whether a loop looks after those that wait, and has done so lately: it may have stopped. Under the lock."""
        return bool(self._watching) and time.monotonic() - self._pace.looked_s < _UNWATCHED_S

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wake more threads for leases that wait, where that helps; fail what waits too long."""
        try:
            self._look(loop)
        except Exception:
            logger.exception("Looking after those that wait for a thread failed; it goes on")
            loop.call_later(PAUSE_S, self._watch, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now_s = time.monotonic()
        pace = self._pace
        with self._lock:
            pace.look(now_s, self._done_count, self._count())
            self._admit(pace.count - self._active_count(), now_s - STALL_S / 2)
            expired = self._expired(now_s)
            if not self._waiting:
                self._watching.discard(loop)
            else:
                loop.call_later(pace.interval_s, self._watch, loop)
        failed = [call for call in expired if call.fail(ThreadsExhausted(_EXHAUSTED))]
        if failed:
            logger.error(
                "%s Of %d threads %d run sync code (THREADS_COUNT) and %d are kept by their requests or sockets "
                "(THREADS_MAX_COUNT limits all).",
                _EXHAUSTED,
                self.thread_count,
                self.running_count,
                self.resting_count,
            )

    def _admit(self, count: int, before_s: float = float("inf")) -> int:
        """Wake threads for at most ``count`` leases that wait since before then; return how many. Under the lock."""
        admitted = 0
        while admitted < count and (lease := self._longest_waiting()) is not None:
            if cast(float, lease.waits_since_s) > before_s or self._is_full() or (worker := self._take(lease)) is None:
                break
            self._hand_over(worker, lease)
            worker.wake()
            admitted += 1
        return admitted

    def _longest_waiting(self) -> Lease | None:
        """Return the lease that has waited longest; those for whose calls nobody waits any more are passed over."""
        while self._waiting:
            lease = self._waiting[0]
            if any(call.is_wanted for call in lease.calls):
                return lease
            self._waiting.popleft()
            lease.waits_since_s = None
            lease.calls.clear()
        return None

    def _expired(self, now_s: float) -> list[Call]:
        """Take the leases that have waited too long out of the queue; return their calls. Under the lock."""
        calls: list[Call] = []
        limit_s = get_settings().threads_wait_s
        while (lease := self._longest_waiting()) is not None:
            wait_s = now_s - cast(float, lease.waits_since_s)
            if wait_s < limit_s:
                break
            self.waits.note(wait_s)
            self.waits.exhausted_count += 1
            self._waiting.popleft()
            lease.waits_since_s = None
            calls += lease.calls
            lease.calls.clear()
        return calls

    def _hand_over(self, worker: Worker, lease: Lease) -> None:
        """Give ``worker`` to the lease that has waited longest. Under the lock."""
        self._waiting.popleft()
        self.waits.note(time.monotonic() - cast(float, lease.waits_since_s))
        lease.waits_since_s = None
        lease.worker, worker.lease = worker, lease
        self._running.add(worker)

    # For the workers -------------------------------------------------------------------------

    def next_call(self, worker: Worker) -> tuple[Lease | None, Call | None]:
        """Return the lease of ``worker`` and its next call; from here to its next rest nobody takes it away."""
        with self._lock:
            lease = worker.lease
            if lease is None:
                return None, None
            self._parked.pop(worker, None)
            worker.rests = False
            self._running.add(worker)
            if not lease.calls:
                return lease, None
            self._done_count += 1
            return lease, lease.calls.popleft()

    def part(self, worker: Worker, call: Call) -> None:
        """The lease has become loose, and nothing is open in this thread of requests: another one takes its calls."""
        with self._lock:
            lease = worker.lease
            self._detach(worker)
            self._running.discard(worker)
            lease.calls.appendleft(call)
            other = None if self._waiting or self._is_full() else self._take(lease)
            if other is None:
                lease.waits_since_s = time.monotonic()
                self._waiting.append(lease)
                loop = getattr(call, "loop", None)
                if loop is not None:
                    call_on(loop, self._look_after)
                return
            other.lease, lease.worker = lease, other
            self._running.add(other)
        other.wake()

    def rest(self, worker: Worker) -> float | None:
        """There was no call: return how long the worker rests with its lease (None: until woken), or GO_ON."""
        with self._lock:
            lease = worker.lease
            if lease.calls:
                return GO_ON
            if worker.leaves or not (lease.is_bound or worker.is_open or self._may_park(worker, lease)):
                self._detach(worker)
                return GO_ON
            worker.rests = True
            self._running.discard(worker)
            if not (lease.is_bound or worker.is_open):
                self._parked[worker] = None
            # Its request may be over in a moment: then it takes the next itself, which spares waking another.
            if not self._is_watched() or len(self._running) + 1 < self._pace.count:
                self._admit(1)
            if lease.is_bound:
                return _UNWATCHED_S if self._waiting else None
            return lease.idle_s or _OPEN_S

    def _may_park(self, worker: Worker, lease: Lease) -> bool:
        return worker.of_sockets and lease.idle_s > 0 and not (self._waiting or worker.stops)

    def _look_after(self) -> None:
        """On a loop: somebody waits whose calls come from it."""
        with self._lock:
            if self._waiting:
                self._will_watch()

    def detach(self, worker: Worker) -> bool:
        """The call that was the last has run; return whether the worker has no lease any more."""
        with self._lock:
            if worker.lease.shares_count:
                return False
            if worker.lease.calls:
                worker.leaves = True
                return False
            self._detach(worker)
            return True

    def rested(self, worker: Worker) -> None:
        """The worker has rested long enough; it may have been woken at the same moment."""
        with self._lock:
            if worker in self._parked:
                self._detach(worker)
                self._running.add(worker)
            elif worker.is_idle and self._is_surplus():
                worker.stops = True

    def retire(self, worker: Worker) -> float | None:
        """A clean worker has no lease: it is idle (None, or for so long), gets one that waited (GO_ON), or ends (0)."""
        with self._lock:
            if worker.lease is not None:  # given to it at this moment
                return GO_ON
            self._running.discard(worker)
            if worker.stops or worker.spoiled:
                return self._remove(worker)
            if self._waiting and self._takes_next(worker):
                return GO_ON
            idle_s = get_settings().idle_thread_s if self._is_surplus() else None
            if idle_s == 0.0:
                return self._remove(worker)
            if not worker.is_idle:
                self._put_idle(worker)
            if self._waiting and not self._running:
                self._admit(1)
            return idle_s

    def _takes_next(self, worker: Worker) -> bool:
        """Whether the lease that has waited longest is for such a thread, and to run now: then it has this one."""
        lease = self._longest_waiting()
        if lease is None or worker.of_sockets is lease.is_bound or self._is_full():
            return False
        if self._is_watched() and len(self._running) >= self._pace.count:
            return False
        self._drop_idle(worker)
        self._hand_over(worker, lease)
        return True

    def failed(self, worker: Worker) -> None:
        """The worker ends, whatever it was doing; another one runs what its lease has yet to call."""
        with self._lock:
            lease = worker.lease
            self._detach(worker)
            self._running.discard(worker)
            if worker.taken is not None:
                lease.calls.appendleft(worker.taken)
            calls = [] if lease is None else list(lease.calls)
            if calls:
                lease.waits_since_s = time.monotonic()
                self._waiting.append(lease)
            self._remove(worker)
        for loop in {call.loop for call in calls if hasattr(call, "loop")}:
            call_on(loop, self._look_after)

    def _remove(self, worker: Worker) -> float:
        self._drop_idle(worker)
        self._workers.discard(worker)
        self._admit(1)
        return 0.0

    # Under the lock --------------------------------------------------------------------------

    def _is_surplus(self) -> bool:
        return len(self._workers) > self._count()

    def _take(self, lease: Lease) -> Worker | None:
        """Return a thread for a lease that has none: an idle one, a new one, or one that rests with another socket."""
        of_sockets = not lease.is_bound
        idle, others = self._idle[of_sockets], self._idle[not of_sockets]
        while idle:
            worker = idle.pop()
            worker.is_idle = False
            if not worker.stops:
                return worker
        if of_sockets and len(self._parked) >= self._count():
            return self._take_parked()
        if len(self._workers) < self._max_count():
            if started := self._start(of_sockets):
                return started
        elif others:  # it ends, and makes room
            others[0].stops = True
            others[0].wake()
        return self._take_parked() if of_sockets else None

    def _take_parked(self) -> Worker | None:
        if not self._parked:
            return None
        worker = next(iter(self._parked))
        self._detach(worker)
        return worker

    def _start(self, of_sockets: bool) -> Worker | None:
        """Return a new thread; None where the system gives no more, and those that there are must do.

        Raises:
            RuntimeError: there are none at all.
        """
        worker = Worker(self, of_sockets)
        try:
            # Not in the context of the request that needs it: whoever wraps Thread.start would carry it along for ever.
            contextvars.Context().run(worker.start)
        except RuntimeError:
            if not self._workers:
                raise
            return None
        self._workers.add(worker)
        return worker

    def _detach(self, worker: Worker) -> None:
        self._parked.pop(worker, None)
        worker.rests = worker.leaves = False
        lease = worker.lease
        if lease is not None:
            lease.worker = worker.lease = None

    def _put_idle(self, worker: Worker) -> None:
        self._idle[worker.of_sockets].append(worker)
        worker.is_idle = True

    def _drop_idle(self, worker: Worker) -> None:
        if worker.is_idle:
            self._idle[worker.of_sockets].remove(worker)
            worker.is_idle = False

"""The way of one request or socket to a thread of the pool."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, Protocol, TypeVar, cast

from fullduplex.threads.calls import Call, FutureCall, LoopCall
from fullduplex.threads.waits import Waits
from fullduplex.threads.worker import Worker

T = TypeVar("T")

# What runs calls of sync_to_async on the loop instead, and returns their future; None for a call that needs a thread.
on_loop: Callable[[asyncio.AbstractEventLoop, Callable[..., Any]], asyncio.Future[Any] | None] | None = None

NO_CALLS: deque[Call] = deque()


class Pool(Protocol):
    """What a lease asks of its pool."""

    waits: Waits

    @property
    def thread_count(self) -> int: ...

    @property
    def waiting_count(self) -> int: ...

    def run(self, lease: Lease, call: Call) -> None: ...

    def release(self, lease: Lease, spoiled: bool = False, *, ends: bool = False) -> None: ...

    def loosen(self, lease: Lease) -> None: ...


class Session(Protocol):
    """What a request has of the databases while it has no thread (``fullduplex.db``)."""

    @property
    def is_busy(self) -> bool: ...

    def defers(self, call: Call) -> bool: ...

    def move(self, thread: dict[str, Any]) -> None: ...

    def release(self) -> None: ...

    def end(self, then: Callable[[], None], *, spoiled: bool) -> bool: ...


class Lease(Executor):
    """The way of one request or socket to a thread: its calls run one at a time, in order.

    It may be used after :meth:`end`, by tasks that outlive the request: then it is loose.

    Args:
        idle_s: how long a thread rests with it while it is loose; 0: it goes back after each call.
        is_bound: it keeps its thread from the first call to its end.
        tracks: the cursors in use are noted, so that it can become loose while one is open.

    Attributes:
        session: its calls on the loop, if it has any.
        calls: what waits for its thread; ``NO_CALLS`` before the first, which most sockets never have.
    """

    __slots__ = (
        "_loosens",
        "_spoiled",
        "calls",
        "ended",
        "idle_s",
        "is_bound",
        "pool",
        "session",
        "shares_count",
        "tracks",
        "waits_since_s",
        "worker",
    )

    def __init__(self, pool: Pool, idle_s: float = 0.0, *, is_bound: bool = True, tracks: bool = False) -> None:
        self.pool = pool
        self.idle_s = idle_s
        self.is_bound = is_bound
        self.tracks = tracks or not is_bound
        self.shares_count = 0  # requests inside this one's context that are in progress
        self._spoiled = self._loosens = False
        self.session: Session | None = None
        # The rest belongs to the pool and its lock.
        self.calls = NO_CALLS
        self.worker: Worker | None = None
        self.waits_since_s: float | None = None
        self.ended = False

    @property
    def is_busy(self) -> bool:
        """Whether a call is running, or was a moment ago."""
        worker = self.worker
        return worker is not None and not worker.rests

    @property
    def has_thread(self) -> bool:
        """Whether it has a thread, or waits for one."""
        return self.worker is not None or self.waits_since_s is not None

    @property
    def root(self) -> Lease:
        """The one whose thread and session it uses."""
        return self

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Queue a call and return its future: on the thread of a running loop one of asyncio's.

        The future fails with ThreadsExhausted when no thread becomes free within THREADS_WAIT_S, while an event loop
        looks after those that wait: one on which a call had to wait.
        """
        loop = asyncio._get_running_loop()
        if on_loop is not None and loop is not None and (future := on_loop(loop, fn)) is not None:
            return cast("Future[T]", future)
        call: Any = FutureCall(fn, args, kwargs) if loop is None else LoopCall(loop, fn, args, kwargs)
        self.put(call)
        return cast("Future[T]", call.future)

    def put(self, call: Call) -> None:
        """Queue a call."""
        if self.session is None or not self.session.defers(call):
            self.pool.run(self, call)

    def free(self) -> None:
        """No call will follow: the thread goes back, at once or after the call that it runs."""
        if not self.shares_count and not self._ends_session(self.free):  # else with the last of them
            self.pool.release(self)

    def share(self) -> None:
        """A request begins inside this one's context: it keeps the thread to its end."""
        self.shares_count += 1

    def loosen(self) -> None:
        """A handshake is over, its socket begins: the thread goes back as soon as nothing is open in it."""
        self._loosens = bool(self.shares_count)
        if not self._loosens and not self._ends_session(self.loosen):
            self.pool.loosen(self)

    def share_over(self, spoiled: bool) -> None:
        """A request inside this one's context needs the thread no more; the last of them does what had to wait."""
        self.shares_count -= 1
        self.spoil(spoiled)
        if self.shares_count:
            return
        if self.ended:
            self.end()
        elif self._loosens:
            self.loosen()

    def end(self, spoiled: bool = False) -> None:
        """The request or socket is over: the thread goes back after the last call, an open transaction or not.

        Args:
            spoiled: code that would have undone what it did to the thread was skipped: the thread ends.
        """
        self.ended = True
        self._spoiled = self._spoiled or spoiled
        if self.shares_count or self._ends_session(self.end):
            return  # the last of them ends it, or the call that is in progress on the loop
        self.session = None  # which knows this lease: only the garbage collector would free them
        pool = self.pool
        if self.worker is None and self.waits_since_s is None:  # and nobody else can give it one
            self.is_bound, self.tracks = False, True
        else:
            pool.release(self, self._spoiled, ends=True)
        if pool.waits.has_news:
            pool.waits.report(time.monotonic(), pool.thread_count, pool.waiting_count)

    def _ends_session(self, then: Callable[[], None]) -> bool:
        return self.session is not None and self.session.end(then, spoiled=self._spoiled)

    def spoil(self, spoiled: bool) -> None:
        """A request has, or has not, ended here without some of its hooks: then nobody has the thread after it."""
        if spoiled:
            self._spoiled = True
            if self.worker is not None:
                self.worker.spoiled = True

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self.end()


class SharedLease(Lease):
    """That of a request which is served inside another one's context: it uses that one's thread, and lets it stay."""

    __slots__ = ("_outer", "_shares")

    def __init__(self, outer: Lease) -> None:
        super().__init__(outer.pool, outer.idle_s)
        self._outer = outer
        self._shares = True
        outer.share()

    @property
    def is_busy(self) -> bool:
        return self._outer.is_busy

    @property
    def has_thread(self) -> bool:
        return self._outer.has_thread

    @property
    def root(self) -> Lease:
        return self._outer.root

    def put(self, call: Call) -> None:
        call.keeps_thread()
        self._outer.put(call)

    def free(self) -> None:
        pass

    def loosen(self) -> None:
        """A socket lives too long to keep the outer request's thread for it."""
        self._share_over(False)

    def share(self) -> None:
        self._outer.share()

    def share_over(self, spoiled: bool) -> None:
        self._outer.share_over(spoiled)

    def end(self, spoiled: bool = False) -> None:
        self.ended = True
        self._share_over(spoiled)

    def _share_over(self, spoiled: bool) -> None:
        if self._shares:
            self._shares = False
            self._outer.share_over(spoiled)

    def spoil(self, spoiled: bool) -> None:
        self._outer.spoil(spoiled)

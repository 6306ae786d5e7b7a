"""Leases on a pool in tests: who has which thread, and how to keep one busy."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from fullduplex.threads.calls import FutureCall
from fullduplex.threads.lease import Lease
from fullduplex.threads.pool import ThreadPool

T = TypeVar("T")
LONG_S = 60.0
DEADLINE_S = 30.0  # only ever reached by a hang


def thread_of(lease: Lease) -> threading.Thread:
    thread: threading.Thread = lease.submit(threading.current_thread).result(DEADLINE_S)
    return thread


def put(lease: Lease, function: Callable[..., T], *args: Any) -> Future[T]:
    """Queue a call as from a thread without a loop."""
    call = FutureCall(function, args, {})
    lease.put(call)
    return call.future


def settled(pool: ThreadPool) -> bool:
    """Wait until no thread of the pool runs a call."""
    deadline_s = time.monotonic() + DEADLINE_S
    while pool.running_count and time.monotonic() < deadline_s:
        time.sleep(0.001)  # a thread goes back just after its result has arrived
    return not pool.running_count


class Blocker:
    """A call that lasts until it is let go."""

    def __init__(self, lease: Lease) -> None:
        self.running, self._go = threading.Event(), threading.Event()
        self.future = put(lease, self._run)

    def _run(self) -> None:
        self.running.set()
        assert self._go.wait(DEADLINE_S)

    def end(self) -> None:
        self._go.set()
        self.future.result(DEADLINE_S)

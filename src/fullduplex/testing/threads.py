"""An event loop beside a synchronous test, and the test's own thread for the application's synchronous code.

Django binds a test's transaction to the thread of the test. The application runs in a loop in another thread;
what it gives to ``sync_to_async`` (every query of the ORM) comes back to the test's thread, and runs there while the
test waits for the socket.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from asgiref.current_thread_executor import CurrentThreadExecutor
from asgiref.sync import AsyncToSync

T = TypeVar("T")


class WaitingThread(CurrentThreadExecutor):
    """Runs calls in the thread that made it, whenever that thread waits.

    One of asgiref's own kind, since asgiref looks along a chain of them; theirs serves one wait, ours many.
    """

    def run_until(self, future: Future[T], timeout_s: float) -> T:
        """Run what is submitted until ``future`` is done, and return its result.

        Raises:
            TimeoutError: nothing came for ``timeout_s``.
        """
        future.add_done_callback(lambda _: self._wake())
        while not future.done():
            with self._work_ready:
                end_s = time.monotonic() + timeout_s
                while not self._work_items and not future.done():
                    if not self._work_ready.wait(end_s - time.monotonic()):
                        raise TimeoutError(f"the event loop of the application did not answer for {timeout_s:g} s")
                item = self._work_items.popleft() if self._work_items else None
            if item is not None:
                item.run()
        return future.result()

    def _wake(self) -> None:
        with self._work_ready:
            self._work_ready.notify()


class BackgroundLoop:
    """An event loop in a thread of its own, for as long as a socket of the test is open."""

    _of_thread = threading.local()

    def __init__(self) -> None:
        self.executor = WaitingThread(getattr(AsyncToSync.executors, "current", None))
        self._users = 0
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._started = threading.Event()
        self._ended: Future[None] = Future()
        threading.Thread(target=self._run, name="fullduplex-testing", daemon=True).start()
        self._started.wait()

    @classmethod
    def acquire(cls) -> BackgroundLoop:
        """Return the loop of this thread's tests; one for all sockets that are open at a time."""
        background: BackgroundLoop | None = getattr(cls._of_thread, "current", None)
        if background is None:
            background = cls._of_thread.current = cls()
        background._users += 1
        return background

    def release(self, timeout_s: float) -> None:
        """One socket less; after the last the loop ends, and cancels the tasks that are left in it."""
        self._users -= 1
        if not self._users:
            self._of_thread.current = None
            self._loop.call_soon_threadsafe(self._stop.set)
            self.executor.run_until(self._ended, timeout_s)

    def call(self, coroutine: Coroutine[Any, Any, T], timeout_s: float) -> T:
        """Run a coroutine to its end; meanwhile this thread is at the application's service."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return self.executor.run_until(future, timeout_s)
        finally:
            future.cancel()

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        finally:
            self._ended.set_result(None)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._started.set()
        await self._stop.wait()

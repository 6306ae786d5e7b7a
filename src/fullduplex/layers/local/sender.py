"""The connection over which a process publishes: one for all its threads and loops, so that they keep their order."""

from __future__ import annotations

import asyncio
import logging
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from fullduplex.exceptions import ChannelFull, LayerUnavailable
from fullduplex.layers.local.place import Place
from fullduplex.layers.local.starting import find

logger = logging.getLogger("fullduplex.layers")


class Sender:
    """Sends frames to the sequencer, each whole or not at all. It keeps none: whoever publishes waits. Without a
    sequencer nobody is subscribed, and nothing is to be done; when one was killed, its members are told of the gap.

    Args:
        place: where the sequencer is.
        timeout_s: how long a frame may take.
    """

    def __init__(self, place: Place, timeout_s: float) -> None:
        self._place = place
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._sock: socket.socket | None = None
        self._rest = memoryview(b"")  # of a frame that has begun
        self._waiting: deque[None] = deque()  # one for each frame that the thread is to send
        self._thread = _make_thread()

    def send(self, frame: bytes) -> None:
        """Send a frame, and wait until the kernel has all of it.

        Raises:
            ChannelFull: it was not taken in time.
            LayerUnavailable: the sequencer does not answer.
        """
        self._send_until(time.monotonic() + self._timeout_s, frame)

    async def asend(self, frame: bytes) -> None:
        """The same from a coroutine: what cannot be sent at once is sent by a thread, one after the other."""
        end_s = time.monotonic() + self._timeout_s
        if self._waiting or not self._lock.acquire(blocking=False):
            await self._in_thread(lambda: self._send_until(end_s, frame))
            return
        sent_bytes = self._send_now(frame)
        if not 0 < sent_bytes < len(frame):
            self._lock.release()
        if sent_bytes == len(frame):
            await asyncio.sleep(0)
        elif sent_bytes:
            await self._in_thread(lambda: self._finish(end_s, frame, sent_bytes))
        else:
            await self._in_thread(lambda: self._send_until(end_s, frame))

    def close(self) -> None:
        """Give back the connection; the next frame opens another."""
        with self._lock:
            self._drop()
            thread, self._thread = self._thread, _make_thread()
        thread.shutdown(wait=False)

    def forget(self) -> None:
        """In a fork: the connection is the parent's."""
        if self._sock is not None:
            self._sock.close()
        self.__init__(self._place, self._timeout_s)  # type: ignore[misc]  # locks and threads are the parent's, too

    # Inside ----------------------------------------------------------------------------------

    async def _in_thread(self, call: Callable[[], None]) -> None:
        """Call it in the thread, behind what waits there. It is called also when nobody waits for it any more."""

        def run() -> None:
            try:
                call()
            finally:
                self._waiting.pop()

        self._waiting.append(None)
        await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, run))

    def _send_now(self, frame: bytes) -> int:
        """Send what can be sent at once, the lock held; return how many bytes have gone: all, where nobody is there."""
        if self._rest:
            return 0
        try:
            if self._sock is None:
                self._sock = self._place.connect()
            if self._sock is None:
                return 0 if self._place.was_listened_at else len(frame)
            return self._sock.send(frame)
        except BlockingIOError:
            return 0
        except OSError:  # another sequencer will take it
            self._drop()
            return 0
        except BaseException:
            self._lock.release()
            raise

    def _send_until(self, end_s: float, frame: bytes) -> None:
        if not self._lock.acquire(timeout=max(0.0, end_s - time.monotonic())):
            raise self._full()
        self._finish(end_s, frame, 0)

    def _finish(self, end_s: float, frame: bytes, sent_bytes: int) -> None:
        """Send the rest of a frame; the lock is held, and is free afterwards."""
        try:
            while True:
                if self._sock is None:
                    sent_bytes = 0  # the part that another sequencer had means nothing to anybody
                    self._sock = find(self._place, max(0.0, end_s - time.monotonic()))
                    if self._sock is None:
                        return
                try:
                    self._write(self._sock, end_s)  # a frame whose publisher has given up
                    self._rest = memoryview(frame)[sent_bytes:]
                    self._write(self._sock, end_s)
                    return
                except TimeoutError:
                    raise self._full(frame) from None
                except OSError as error:
                    self._drop()
                    if time.monotonic() > end_s:
                        raise LayerUnavailable(f"the sequencer of the local layer is gone: {error}") from None
        finally:
            self._lock.release()

    def _write(self, sock: socket.socket, end_s: float) -> None:
        """Send what is in ``_rest``.

        Raises:
            TimeoutError: not in time.
        """
        poll = None
        while self._rest:
            try:
                self._rest = self._rest[sock.send(self._rest) :]
            except BlockingIOError:
                if poll is None:
                    poll = select.poll()
                    poll.register(sock, select.POLLOUT)
                left_s = end_s - time.monotonic()
                if left_s <= 0:
                    raise TimeoutError from None
                poll.poll(left_s * 1000)

    def _full(self, frame: bytes = b"") -> ChannelFull:
        """The error for who has waited too long. A frame that has begun is sent to its end by the next one: on a new
        connection that one would overtake what waits on this."""
        begun = ""
        if self._rest.obj is frame:
            if len(self._rest) == len(frame):
                self._rest = memoryview(b"")
            else:
                begun = "; a part has been taken, so that it may arrive later"
        return ChannelFull(
            f"the local layer has not taken a message in {self._timeout_s:g} s: a process that is to have it does not "
            f"read, or the machine is overloaded{begun}"
        )

    def _drop(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None
            self._rest = memoryview(b"")


def _make_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "fullduplex local layer")  # it begins with its first call

"""The body of a request on its way from the server."""

from __future__ import annotations

import asyncio
import io
import tempfile
import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from typing import IO, Any

from django.conf import settings
from django.core.exceptions import RequestAborted

from fullduplex.asgi import Receive, Scope
from fullduplex.threads.calls import call_on

# Bodies that have come in several events, of all requests of the process: so much of them is in memory. What is more
# goes to disk long before FILE_UPLOAD_MAX_MEMORY_SIZE, which a thousand stalled uploads would hold a thousand times.
BODIES_BYTES = 67_108_864
_DISK_BLOCK_BYTES = 65_536
# One that says its length is kept in memory up to so many times FILE_UPLOAD_MAX_MEMORY_SIZE, where there is room for it
# beforehand: only Django's parser writes the files in it to disk then. A quarter of the room is left to others.
TIMES_KEPT = 8
# Where there is none, it waits so long for what other bodies give back: on a busy core they are parsed all the sooner
# for it, and it would cost half as much again on disk. Its client is not read meanwhile.
ROOM_WAIT_S = 0.25
WAITING_COUNT = 16  # at a time; each holds what came first, up to 256 KB
_PART_BYTES = 65_536  # what is kept in smaller parts would cost an object for each


class _Room:
    """A wait for room for one body; over when it is granted, or after ``ROOM_WAIT_S``."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._loop = asyncio.get_running_loop()
        self._over = self._loop.create_future()

    async def wait(self) -> None:
        timer = self._loop.call_later(ROOM_WAIT_S, self._end)
        try:
            await self._over
        finally:
            timer.cancel()

    def wake(self) -> None:
        """End the wait; from any thread."""
        call_on(self._loop, self._end)

    def _end(self) -> None:
        if not self._over.done():
            self._over.set_result(None)


class _Budget:
    """Memory that all bodies share."""

    def __init__(self) -> None:
        self.used_bytes = 0
        self._waiting: deque[_Room] = deque()
        # Several loops may serve in one process, and the collector may close a body wherever something is called.
        self._lock = threading.RLock()

    def use(self, more_bytes: int) -> bool:
        """Note that so much more, or less, is held; return whether it is no more than may be."""
        with self._lock:
            self.used_bytes += more_bytes
            if more_bytes < 0 and self._waiting:
                self._grant()
            return self.used_bytes <= BODIES_BYTES

    async def reserve(self, size_bytes: int) -> bool:
        """Note so much more beforehand, if a quarter remains for others; return whether it does, now or in a moment."""
        with self._lock:
            if not self._waiting and self._take(size_bytes):
                return True
            if size_bytes > _most_reserved_bytes() or len(self._waiting) >= WAITING_COUNT:
                return False
            room = _Room(size_bytes)
            self._waiting.append(room)
        try:
            await room.wait()
        except BaseException:
            if self._leave(room):
                self.use(-size_bytes)
            raise
        return self._leave(room)

    def _leave(self, room: _Room) -> bool:
        """Wait no more; return whether the room was granted."""
        with self._lock:
            if room not in self._waiting:
                return True
            self._waiting.remove(room)
            self._grant()  # it may have stood before a smaller one
            return False

    def _grant(self) -> None:
        """Give what there is to those that wait, in their order. Under the lock."""
        waiting, most_bytes = self._waiting, _most_reserved_bytes()
        while waiting and self.used_bytes + waiting[0].size_bytes <= most_bytes:
            self.used_bytes += waiting[0].size_bytes  # counted before it leaves: a call may run the collector
            waiting.popleft().wake()

    def _take(self, size_bytes: int) -> bool:
        fits = self.used_bytes + size_bytes <= _most_reserved_bytes()
        self.used_bytes += size_bytes if fits else 0
        return fits


def _most_reserved_bytes() -> int:
    return BODIES_BYTES // 4 * 3


bodies = _Budget()


class _Kept(io.RawIOBase):
    """A body as it came, in parts: nobody has copied them when Django reads them.

    Args:
        size_bytes: reserved for it, and given back when it is closed.
    """

    def __init__(self, size_bytes: int) -> None:
        super().__init__()
        self._counted_bytes = size_bytes
        self._parts: list[bytes | bytearray] = []
        self._starts: list[int] = []  # where each part begins
        self._size_bytes = 0
        self._position = 0

    def take(self, part: bytes) -> None:
        if self._parts and len(self._parts[-1]) + len(part) <= _PART_BYTES:
            last = self._parts[-1]
            if not isinstance(last, bytearray):
                self._parts[-1] = last = bytearray(last)
            last += part
        elif part:
            self._starts.append(self._size_bytes)
            self._parts.append(part)
        self._size_bytes += len(part)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._position >= self._size_bytes:
            return 0
        at = bisect_right(self._starts, self._position) - 1
        start = self._position - self._starts[at]
        piece = memoryview(self._parts[at])[start : start + len(buffer)]
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base_bytes = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size_bytes}[whence]
        self._position = max(0, base_bytes + offset)
        return self._position

    def close(self) -> None:
        if not self.closed:
            bodies.use(-self._counted_bytes)
            self._parts.clear()
        super().close()


class _Body(io.BytesIO):
    """A body in memory, which counts until it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self._counted_bytes = 0

    def take(self, part: bytes) -> bool:
        """Append; return whether bodies hold no more than they may."""
        self.write(part)
        self._counted_bytes += len(part)
        return bodies.use(len(part))

    def close(self) -> None:
        if not self.closed:
            bodies.use(-self._counted_bytes)
        super().close()


def announced_bytes(scope: Scope) -> int:
    """The Content-Length of a request; 0 without one that is a number."""
    for name, value in scope.get("headers", ()):
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


async def read_body(receive: Receive, announced: Callable[[], int] = int) -> IO[bytes]:
    """Return the body, rewound: in memory up to FILE_UPLOAD_MAX_MEMORY_SIZE, above it on disk.

    Where bodies take more than ``BODIES_BYTES`` in all, it goes to disk sooner; where there is room for it, now or in a
    moment, not at all.

    Args:
        receive: of the request.
        announced: says how long it will be, where it has not come at once; 0: nobody knows.

    Raises:
        RequestAborted: the client left before its end.
    """
    event = await receive()
    if event["type"] == "http.disconnect":
        raise RequestAborted
    body, more = event.get("body", b""), event.get("more_body", False)
    del event  # it would hold the body, too
    if not more and (not body or len(body) <= settings.FILE_UPLOAD_MAX_MEMORY_SIZE):
        return io.BytesIO(body)
    most_bytes = settings.FILE_UPLOAD_MAX_MEMORY_SIZE
    length = announced()
    if most_bytes < length <= most_bytes * TIMES_KEPT and await bodies.reserve(length):
        return await _keep(receive, _Kept(length), body, more)
    memory = _Body()
    fits = memory.take(body)
    del body  # it would be held twice until the last of it has come
    return await _collect(receive, memory, fits, more)


async def _part(receive: Receive) -> tuple[bytes, bool]:
    """Return the next part, and whether there are more."""
    event = await receive()
    if event["type"] == "http.disconnect":
        raise RequestAborted
    return event.get("body", b""), event.get("more_body", False)


async def _keep(receive: Receive, kept: _Kept, part: bytes, more: bool) -> IO[bytes]:
    """Read a body that has its place in memory."""
    try:
        kept.take(part)
        while more:
            part, more = await _part(receive)
            kept.take(part)
    except BaseException:
        kept.close()
        raise
    return io.BufferedReader(kept)


async def _collect(receive: Receive, memory: _Body, fits: bool, more: bool) -> IO[bytes]:
    """Read a body of several events, of which the first has been taken."""
    disk: IO[bytes] | None = None
    loop = asyncio.get_running_loop()
    try:
        while True:
            most_bytes = settings.FILE_UPLOAD_MAX_MEMORY_SIZE
            if memory.tell() > (most_bytes if fits else min(most_bytes, _DISK_BLOCK_BYTES)):
                # In blocks, and in a thread: a disk may take its time.
                if disk is None:
                    disk = await loop.run_in_executor(None, tempfile.TemporaryFile)
                await loop.run_in_executor(None, disk.write, memory.getvalue())
                memory.close()
                memory = _Body()
            if not more:
                break
            part, more = await _part(receive)
            fits = memory.take(part)
            del part
        if disk is None:
            memory.seek(0)
            return memory
        await loop.run_in_executor(None, _finish, disk, memory.getvalue())
        memory.close()
        return disk
    except BaseException:
        memory.close()
        if disk is not None:
            disk.close()
        raise


def _finish(disk: IO[bytes], rest: bytes) -> None:
    disk.write(rest)
    disk.seek(0)

"""A transport and a clock under the test's control: the network without a network."""

from __future__ import annotations

import asyncio
from typing import Any, cast


class FakeTransport(asyncio.Transport):
    """Records what is written; the test says how much of it the peer has read.

    Args:
        protocol: told about pauses and about the end, as a real transport does.
        extra: answers of :meth:`get_extra_info`.

    Attributes:
        written: everything written so far.
        writes: the same, call by call.
        unread_bytes: written and not yet read by the peer. Stays 0 unless ``stalled``.
        stalled: whether the peer has stopped reading.
    """

    def __init__(self, protocol: asyncio.Protocol, **extra: Any) -> None:
        super().__init__({"peername": ("127.0.0.1", 50_000), "sockname": ("127.0.0.1", 8000), **extra})
        self.protocol = protocol
        self.writes: list[bytes] = []
        self.unread_bytes = 0
        self.stalled = False
        self.reading = True
        self.eof_written = False
        self._closing = False
        self._lost = False
        self._high = 65_536
        self._low = 16_384
        self._paused = False

    @property
    def written(self) -> bytes:
        return b"".join(self.writes)

    def take(self) -> bytes:
        """Return what was written since the last call."""
        data = self.written
        self.writes.clear()
        return data

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = cast(asyncio.Protocol, protocol)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing or self.eof_written:
            return
        self.writes.append(bytes(data))
        if self.stalled:
            self.unread_bytes += len(data)
            if self.unread_bytes > self._high and not self._paused:
                self._paused = True
                self.protocol.pause_writing()

    def peer_reads(self) -> None:
        """The peer reads everything, and goes on reading."""
        self.stalled = False
        self.unread_bytes = 0
        if self._paused:
            self._paused = False
            self.protocol.resume_writing()
        self._maybe_lose()

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True
        self._maybe_lose()

    def abort(self) -> None:
        self._closing = True
        self.unread_bytes = 0
        self._maybe_lose()

    def lose(self, error: Exception | None = None) -> None:
        """The connection breaks."""
        self._closing = True
        if not self._lost:
            self._lost = True
            self.protocol.connection_lost(error)

    def _maybe_lose(self) -> None:
        if self._closing and not self.unread_bytes:
            asyncio.get_running_loop().call_soon(self.lose)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.eof_written = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_reading(self) -> bool:
        return self.reading

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = 65_536 if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_size(self) -> int:
        return self.unread_bytes


class FakeClock:
    """A clock that stands still until it is told to go on. Patch a loop's ``time`` with it."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds

"""Rooms: publishers send, every member of the room must get every message, in order, exactly once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from bench.load import frames
from bench.load.connect import open_all, open_one
from bench.scenario import Failed

STALL_S = 5.0  # no delivery for so long: messages were lost
clock = time.perf_counter


class Room:
    """One room with its members and one publisher that keeps ``window`` messages under way.

    Args:
        name: a word; members connect to ``/room/NAME/``, the publisher to ``/publish/NAME/``.
        members: how many.
        payload_bytes: of every message; text that begins with its number.
    """

    def __init__(self, name: str, members: int, payload_bytes: int = 64) -> None:
        self.name = name
        self.members = [_Member(self) for _ in range(members)]
        self.publisher = _Publisher()
        self.frame_bytes = len(frames.server_frame(b"x" * payload_bytes))
        self.expected: list[bytes] = []  # the frame of each message, by number
        self.sent_s: list[float] = []
        self.latencies_s: list[float] = []
        self.deliveries = 0
        self.errors = 0
        self.window = 0
        self._payload_bytes = payload_bytes
        self._missing: list[int] = []  # members that have not got a message yet, by number
        self._complete = 0  # messages that everyone has

    async def open(self, port: int) -> None:
        """Connect all members, then the publisher."""
        await open_all(port, frames.handshake_request(port, f"/room/{self.name}/"), self.members)
        await open_one(port, frames.handshake_request(port, f"/publish/{self.name}/"), self.publisher)

    def start(self, window: int) -> None:
        self.window = window
        self.latencies_s = []
        for _ in range(window):
            self.publish()

    def publish(self) -> None:
        number = len(self.expected)
        payload = b"%08d " % number + b"x" * (self._payload_bytes - 9)
        self.expected.append(frames.server_frame(payload))
        self._missing.append(len(self.members))
        self.sent_s.append(clock())
        self.publisher.transport.write(frames.client_frame(payload))

    def delivered(self, number: int) -> None:
        """A member got the message with this number."""
        self.deliveries += 1
        self.latencies_s.append(clock() - self.sent_s[number])
        missing = self._missing
        missing[number] -= 1
        if missing[number] == 0:
            self._complete += 1
            if len(self.expected) - self._complete < self.window:
                self.publish()

    @property
    def outstanding(self) -> int:
        """Deliveries that are still to come."""
        return sum(self._missing)

    def close(self) -> None:
        for transport in (self.publisher.transport, *(member.transport for member in self.members)):
            transport.abort()


class _Member(asyncio.Protocol):
    """Compares what it gets with what was published; the hot path is one whole frame per read."""

    __slots__ = ("_buffer", "_next", "_room", "transport")

    def __init__(self, room: Room) -> None:
        self._room = room
        self._next = 0
        self._buffer = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        room = self._room
        number = self._next
        if not self._buffer and number < len(room.expected) and data == room.expected[number]:
            self._next = number + 1
            room.delivered(number)
        else:
            self._several(self._buffer + data)

    def _several(self, data: bytes) -> None:
        """Several messages, parts of messages, or pings."""
        room = self._room
        size = room.frame_bytes
        while len(data) >= 2:
            if data[0] == 0x80 | frames.PING and len(data) >= 2 + data[1]:
                self.transport.write(frames.client_frame(data[2 : 2 + data[1]], frames.PONG))
                data = data[2 + data[1] :]
                continue
            if len(data) < size and data[0] == 0x80 | frames.TEXT:
                break
            number = self._next
            if number >= len(room.expected) or data[:size] != room.expected[number]:
                room.errors += 1
                self.transport.abort()
                return
            data = data[size:]
            self._next = number + 1
            room.delivered(number)
        self._buffer = data


class _Publisher(asyncio.Protocol):
    """Only sends; what it gets are pings."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if data[0] == 0x80 | frames.PING:
            self.transport.write(frames.client_frame(data[2 : 2 + data[1]], frames.PONG))


class Rooms:
    """All the rooms of a run."""

    def __init__(self, rooms: Sequence[Room]) -> None:
        self.rooms = rooms

    async def open(self, port: int) -> None:
        for room in self.rooms:
            await room.open(port)

    async def run(self, window: int, seconds: float) -> tuple[float, list[float]]:
        """Publish for so long with ``window`` messages under way in each room.

        Returns:
            Deliveries per second, and the latencies in seconds; also of the messages that were under way at the end.

        Raises:
            Failed: a message does not arrive, or arrives wrong.
        """
        before, started_s = self._deliveries, clock()
        for room in self.rooms:
            room.start(window)
        await self._watch(seconds)
        rate = (self._deliveries - before) / (clock() - started_s)
        await self._settle()
        return rate, [latency_s for room in self.rooms for latency_s in room.latencies_s]

    async def _watch(self, seconds: float) -> None:
        end_s = clock() + seconds
        while (now_s := clock()) < end_s:
            await asyncio.sleep(min(STALL_S, end_s - now_s))
            self._check()

    async def _settle(self) -> None:
        """Publish no more; wait until all has arrived."""
        for room in self.rooms:
            room.window = 0
        last, since_s = self._deliveries, clock()
        while any(room.outstanding for room in self.rooms):
            await asyncio.sleep(0.02)
            self._check()
            if self._deliveries != last:
                last, since_s = self._deliveries, clock()
            elif clock() - since_s > STALL_S:
                raise Failed(f"{sum(room.outstanding for room in self.rooms):,} deliveries were lost")

    def _check(self) -> None:
        errors = sum(room.errors for room in self.rooms)
        if errors:
            raise Failed(f"{errors} members got something else than what was published")

    @property
    def _deliveries(self) -> int:
        return sum(room.deliveries for room in self.rooms)

    def close(self) -> None:
        for room in self.rooms:
            room.close()

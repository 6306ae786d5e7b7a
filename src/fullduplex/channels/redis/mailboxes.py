"""The channels and groups of one event loop: what has arrived and was not received yet."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable

#: Besides the capacity in messages; one message fits always. As much as may wait for one slow WebSocket.
MAX_MAILBOX_BYTES = 1_048_576


class Mailbox:
    """One channel. Messages are kept as they came; each receiver gets a copy of its own by deserializing."""

    __slots__ = ("capacity", "dropped_count", "messages", "size_bytes", "waiters")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.messages: deque[tuple[float, bytes]] = deque()
        self.size_bytes = 0
        self.waiters: deque[asyncio.Future[None]] = deque()
        self.dropped_count = 0

    def put(self, data: bytes, expires_at_s: float) -> bool:
        """Keep a message; False when there is no room."""
        if not self._has_room(len(data)):
            self.drop_expired(time.monotonic())
            if not self._has_room(len(data)):
                self.dropped_count += 1
                return False
        self.messages.append((expires_at_s, data))
        self.size_bytes += len(data)
        self._wake()
        return True

    async def get(self) -> bytes:
        """Take the oldest message; wait for one. When cancelled, nothing is lost."""
        while True:
            self.drop_expired(time.monotonic())
            if self.messages:
                _, data = self.messages.popleft()
                self.size_bytes -= len(data)
                return data
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake()  # it was for us: the next one takes it
                raise
            finally:
                if waiter in self.waiters:
                    self.waiters.remove(waiter)

    def drop_expired(self, now_s: float) -> None:
        while self.messages and self.messages[0][0] <= now_s:
            self.size_bytes -= len(self.messages.popleft()[1])

    @property
    def is_idle(self) -> bool:
        return not self.messages and not self.waiters

    def _has_room(self, size_bytes: int) -> bool:
        if len(self.messages) >= self.capacity:
            return False
        return not self.messages or self.size_bytes + size_bytes <= MAX_MAILBOX_BYTES

    def _wake(self) -> None:
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return


class Mailboxes:
    """All channels and groups of one loop.

    Args:
        capacity: tells how many messages may wait on a channel.
        expiry_s: how long a message waits.
        group_expiry_s: how long a member stays that does not receive.
        on_empty: called with a group that has lost its last member by that.

    Attributes:
        groups: of each group the channels, with the time of joining.
    """

    def __init__(
        self,
        *,
        capacity: Callable[[str], int],
        expiry_s: float,
        group_expiry_s: float,
        on_empty: Callable[[str], None],
    ) -> None:
        self._capacity = capacity
        self._on_empty = on_empty
        self._expiry_s = expiry_s
        self._group_expiry_s = group_expiry_s
        self._boxes: dict[str, Mailbox] = {}
        self.groups: dict[str, dict[str, float]] = {}
        self._groups_of: dict[str, set[str]] = {}
        self._next_sweep_s = 0.0

    def put(self, channel: str, data: bytes) -> bool:
        """Keep a message for ``channel``; False when there is no room."""
        now_s = time.monotonic()
        if now_s >= self._next_sweep_s:
            self._sweep(now_s)
        return self._box(channel).put(data, now_s + self._expiry_s)

    def put_all(self, channels: Iterable[str], data: bytes) -> int:
        """Keep a message for each of ``channels``; return how many had no room."""
        return sum(not self.put(channel, data) for channel in channels)

    async def get(self, channel: str) -> bytes:
        box = self._box(channel)
        try:
            return await box.get()
        finally:
            if box.is_idle and self._boxes.get(channel) is box:
                del self._boxes[channel]

    @property
    def awaited(self) -> list[str]:
        """Channels that somebody receives from now."""
        return [channel for channel, box in self._boxes.items() if box.waiters]

    def join(self, group: str, channel: str) -> None:
        self.groups.setdefault(group, {})[channel] = time.monotonic()
        self._groups_of.setdefault(channel, set()).add(group)

    def leave(self, group: str, channel: str) -> bool:
        """End a membership; whether the group has no member left here."""
        groups = self._groups_of.get(channel)
        if groups is not None:
            groups.discard(group)
            if not groups:
                del self._groups_of[channel]
        members = self.groups.get(group)
        if members is None:
            return False
        members.pop(channel, None)
        if members:
            return False
        del self.groups[group]
        return True

    def forget(self, channel: str) -> list[str]:
        """Drop what waits on a channel, and end its memberships; return the groups that have no member left here."""
        self._boxes.pop(channel, None)
        return [group for group in tuple(self._groups_of.get(channel, ())) if self.leave(group, channel)]

    def _box(self, channel: str) -> Mailbox:
        box = self._boxes.get(channel)
        if box is None:
            box = self._boxes[channel] = Mailbox(self._capacity(channel))
        return box

    def _sweep(self, now_s: float) -> None:
        """Forget what nobody will ask for any more: consumers that ended without a word leave it behind."""
        self._next_sweep_s = now_s + max(self._expiry_s, 1.0)
        for channel, box in tuple(self._boxes.items()):
            box.drop_expired(now_s)
            if box.is_idle:
                del self._boxes[channel]
        for group, members in tuple(self.groups.items()):
            for channel, joined_s in tuple(members.items()):
                awaited = channel in self._boxes and bool(self._boxes[channel].waiters)
                if not awaited and joined_s + self._group_expiry_s <= now_s and self.leave(group, channel):
                    self._on_empty(group)

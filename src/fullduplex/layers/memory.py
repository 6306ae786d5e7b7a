"""The in-process layer: from any thread and loop of one process to the loops of that process."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import weakref
from collections import deque
from sys import getsizeof
from typing import ClassVar, Protocol

from fullduplex.exceptions import ChannelFull
from fullduplex.layers.base import BaseLayer, Deliver, Delivered, Gap, Message, data_of
from fullduplex.layers.history import Keep, Kept, Missed, Position
from fullduplex.sequencer.windows import Windows

logger = logging.getLogger("fullduplex.layers")


class Channels(Protocol):
    """What hands a message on to the consumers in a group: the in-process channel layer."""

    def take(self, group: str, message: Message) -> None: ...

    async def atake(self, group: str, message: Message) -> None: ...


class MemoryLayer(BaseLayer):
    """Reaches the members in this process, without I/O.

    Args:
        max_pending_bytes: published and not yet taken by an event loop; above it ``publish`` waits. Only
            a publisher in another thread can be faster than the loop.
        publish_timeout_s: how long ``publish`` waits for room; then :class:`ChannelFull`.
        slice_s: a loop hands out messages for so long, then its other work has a turn.
        history_max_bytes: kept of all groups together; above it the groups that were quiet for longest lose theirs.

    Attributes:
        channels: those of consumers, which are members of the same groups; None before there are any.
    """

    in_process: ClassVar[bool] = True
    supports_history: ClassVar[bool] = True

    def __init__(
        self,
        *,
        max_pending_bytes: int = 16_777_216,
        publish_timeout_s: float = 5.0,
        slice_s: float = 0.005,
        history_max_bytes: int = 67_108_864,
    ) -> None:
        self.max_pending_bytes = max_pending_bytes
        self.publish_timeout_s = publish_timeout_s
        self.slice_s = slice_s
        self.channels: Channels | None = None
        self._changed = threading.Condition()
        self._mailboxes: dict[asyncio.AbstractEventLoop, _Mailbox] = {}
        self._subscriptions: dict[str, dict[_Mailbox, _Subscription]] = {}
        self._history_max_bytes = history_max_bytes
        self._forget_history()
        _layers.add(self)

    async def close(self) -> None:
        with self._changed:
            self._forget(asyncio.get_running_loop())

    def publish(self, group: str, message: Message) -> None:
        self.publish_to_sockets(group, message)
        if self.channels is not None:
            self.channels.take(group, message)

    async def apublish(self, group: str, message: Message) -> None:
        await self.apublish_to_sockets(group, message)
        if self.channels is not None:
            await self.channels.atake(group, message)

    def publish_kept(self, group: str, kept: Kept) -> None:
        self.publish_to_sockets(group, kept)
        if self.channels is not None:
            self.channels.take(group, kept.data)

    async def apublish_kept(self, group: str, kept: Kept) -> None:
        await self.apublish_to_sockets(group, kept)
        if self.channels is not None:
            await self.channels.atake(group, kept.data)

    # History ---------------------------------------------------------------------------------

    def append(self, group: str, data: Message, keep: Keep, *, key: str = "") -> Position:
        with self._changed:
            self._wait_for_room(group)
            position, is_new = self._append(group, data, keep, key)
        if is_new and self.channels is not None:
            self.channels.take(group, data)
        return position

    async def aappend(self, group: str, data: Message, keep: Keep, *, key: str = "") -> Position:
        with self._changed:
            has_room = self._has_room(group)
            if has_room:
                position, is_new = self._append(group, data, keep, key)
        if not has_room:
            return await asyncio.to_thread(self.append, group, data, keep, key=key)
        await asyncio.sleep(0)
        if is_new and self.channels is not None:
            await self.channels.atake(group, data)
        return position

    def read(
        self, group: str, keep: Keep, *, after: Position | None, max_count: int = 1_000, max_bytes: int = 1_048_576
    ) -> Missed:
        with self._changed:
            found = self._windows.read(group, after, age_s=keep.age_s, max_count=max_count, max_bytes=max_bytes)
        return Missed(found.items, Position(found.offset, found.epoch), found.recovered, found.complete)

    async def aread(
        self, group: str, keep: Keep, *, after: Position | None, max_count: int = 1_000, max_bytes: int = 1_048_576
    ) -> Missed:
        missed = self.read(group, keep, after=after, max_count=max_count, max_bytes=max_bytes)
        await asyncio.sleep(0)  # a loop that only reads lets the others go on
        return missed

    # Sockets ---------------------------------------------------------------------------------

    def has_sockets(self, group: str) -> bool:
        """Whether a loop has subscribed to ``group``."""
        return group in self._subscriptions

    def publish_to_sockets(self, group: str, message: Delivered) -> None:
        """Like :meth:`publish`, without the consumers."""
        with self._changed:
            self._wait_for_room(group)
            self._post(group, message)

    async def apublish_to_sockets(self, group: str, message: Delivered) -> None:
        """Like :meth:`apublish`, without the consumers."""
        with self._changed:
            has_room = self._has_room(group)
            if has_room:
                self._post(group, message)
        if has_room:
            await asyncio.sleep(0)
        else:
            await asyncio.to_thread(self.publish_to_sockets, group, message)

    async def subscribe(self, group: str, deliver: Deliver, on_gap: Gap | None = None) -> None:
        loop = asyncio.get_running_loop()
        with self._changed:
            for closed in [other for other in self._mailboxes if other.is_closed()]:
                self._forget(closed)
            mailbox = self._mailboxes.get(loop)
            if mailbox is None:
                mailbox = self._mailboxes[loop] = _Mailbox(loop, self._changed, self.slice_s)
            self._end(group, mailbox)
            mailbox.groups.add(group)
            self._subscriptions.setdefault(group, {})[mailbox] = _Subscription(deliver)

    async def unsubscribe(self, group: str) -> None:
        loop = asyncio.get_running_loop()
        with self._changed:
            mailbox = self._mailboxes.get(loop)
            if mailbox is not None:
                self._end(group, mailbox)
                if not mailbox.groups:
                    self._forget(loop)

    def _forget_history(self) -> None:
        self._windows: Windows[str, Kept] = Windows(self._history_max_bytes)

    # With the lock held ----------------------------------------------------------------------

    def _append(self, group: str, data: Message, keep: Keep, key: str) -> tuple[Position, bool]:
        """Keep and post a message, unless one with its key is there; return its place, and whether it is new."""
        if key:
            kept = self._windows.find(group, key, keep.age_s)
            if kept is not None:
                return kept.position, False
        kept = self._windows.append(
            group,
            lambda offset, epoch: Kept(data, Position(offset, epoch), key),
            len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode()),
            count=keep.count,
            age_s=keep.age_s,
            max_bytes=keep.max_bytes,
            key=key,
        )
        self._post(group, kept)
        return kept.position, True

    def _wait_for_room(self, group: str) -> None:
        if not self._changed.wait_for(lambda: self._has_room(group), self.publish_timeout_s):
            raise ChannelFull(
                f"{self.max_pending_bytes} bytes wait for an event loop of this process, which has not taken "
                f"them in {self.publish_timeout_s:g} s: is something blocking it?"
            )

    def _has_room(self, group: str) -> bool:
        """Whether every loop that ``group`` goes to takes one more message."""
        mailboxes = self._subscriptions.get(group, ())
        return all(box.pending_bytes < self.max_pending_bytes or box.loop.is_closed() for box in mailboxes)

    def _post(self, group: str, message: Delivered) -> None:
        size_bytes = getsizeof(data_of(message))
        for mailbox, subscription in tuple(self._subscriptions.get(group, {}).items()):
            if not mailbox.post(subscription, message, size_bytes):
                self._forget(mailbox.loop)

    def _end(self, group: str, mailbox: _Mailbox) -> None:
        subscriptions = self._subscriptions.get(group, {})
        subscription = subscriptions.pop(mailbox, None)
        if subscription is not None:
            subscription.deliver = None
            mailbox.groups.discard(group)
            if not subscriptions:
                del self._subscriptions[group]

    def _forget(self, loop: asyncio.AbstractEventLoop) -> None:
        mailbox = self._mailboxes.pop(loop, None)
        if mailbox is not None:
            for group in tuple(mailbox.groups):
                self._end(group, mailbox)


class _Subscription:
    """One group on one loop; messages that wait when it ends are not delivered."""

    __slots__ = ("deliver",)

    def __init__(self, deliver: Deliver) -> None:
        self.deliver: Deliver | None = deliver


class _Mailbox:
    """What waits for one loop, in order, for all of its groups."""

    __slots__ = ("_changed", "_pending", "_scheduled", "_slice_s", "groups", "loop", "pending_bytes")

    def __init__(self, loop: asyncio.AbstractEventLoop, changed: threading.Condition, slice_s: float) -> None:
        self.loop = loop
        self.groups: set[str] = set()
        self.pending_bytes = 0
        self._changed = changed
        self._slice_s = slice_s
        self._pending: deque[tuple[_Subscription, Delivered, int]] = deque()
        self._scheduled = False

    def post(self, subscription: _Subscription, message: Delivered, size_bytes: int) -> bool:
        """Leave a message, the lock held; False when the loop is closed."""
        if self.loop.is_closed():
            return False
        if not self._scheduled:
            try:
                self.loop.call_soon_threadsafe(self._empty)
            except RuntimeError:  # it has been closed just now
                return False
            self._scheduled = True
        self._pending.append((subscription, message, size_bytes))
        self.pending_bytes += size_bytes
        return True

    def _empty(self) -> None:
        """Hand out what waits, on the loop, within one slice of time."""
        end_s = self.loop.time() + self._slice_s
        while True:
            with self._changed:
                if not self._pending:
                    self._scheduled = False
                    self._changed.notify_all()
                    return
                subscription, message, size_bytes = self._pending.popleft()
                self.pending_bytes -= size_bytes
            if subscription.deliver is not None:
                try:
                    subscription.deliver(message)
                except Exception:
                    logger.exception("A subscriber failed to take a message")
            if self.loop.time() >= end_s:
                self.loop.call_soon(self._empty)
                with self._changed:
                    self._changed.notify_all()
                return


_layers: weakref.WeakSet[MemoryLayer] = weakref.WeakSet()


def _after_fork() -> None:
    """Two processes must not go on with one count."""
    for layer in [*_layers]:
        layer._forget_history()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

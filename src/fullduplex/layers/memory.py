"""The in-process layer: from any thread and loop of one process to the loops of that process."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from sys import getsizeof
from typing import ClassVar, Protocol

from fullduplex.exceptions import ChannelFull
from fullduplex.layers.base import BaseLayer, Deliver, Gap, Message

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

    Attributes:
        channels: those of consumers, which are members of the same groups; None before there are any.
    """

    in_process: ClassVar[bool] = True

    def __init__(
        self, *, max_pending_bytes: int = 16_777_216, publish_timeout_s: float = 5.0, slice_s: float = 0.005
    ) -> None:
        self.max_pending_bytes = max_pending_bytes
        self.publish_timeout_s = publish_timeout_s
        self.slice_s = slice_s
        self.channels: Channels | None = None
        self._changed = threading.Condition()
        self._mailboxes: dict[asyncio.AbstractEventLoop, _Mailbox] = {}
        self._subscriptions: dict[str, dict[_Mailbox, _Subscription]] = {}

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

    def has_sockets(self, group: str) -> bool:
        """Whether a loop has subscribed to ``group``."""
        return group in self._subscriptions

    def publish_to_sockets(self, group: str, message: Message) -> None:
        """Like :meth:`publish`, without the consumers."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._has_room(group), self.publish_timeout_s):
                raise ChannelFull(
                    f"{self.max_pending_bytes} bytes wait for an event loop of this process, which has not taken "
                    f"them in {self.publish_timeout_s:g} s: is something blocking it?"
                )
            self._post(group, message)

    async def apublish_to_sockets(self, group: str, message: Message) -> None:
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

    # With the lock held ----------------------------------------------------------------------

    def _has_room(self, group: str) -> bool:
        """Whether every loop that ``group`` goes to takes one more message."""
        mailboxes = self._subscriptions.get(group, ())
        return all(box.pending_bytes < self.max_pending_bytes or box.loop.is_closed() for box in mailboxes)

    def _post(self, group: str, message: Message) -> None:
        for mailbox, subscription in tuple(self._subscriptions.get(group, {}).items()):
            if not mailbox.post(subscription, message):
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
        self._pending: deque[tuple[_Subscription, Message]] = deque()
        self._scheduled = False

    def post(self, subscription: _Subscription, message: Message) -> bool:
        """Leave a message, the lock held; False when the loop is closed."""
        if self.loop.is_closed():
            return False
        if not self._scheduled:
            try:
                self.loop.call_soon_threadsafe(self._empty)
            except RuntimeError:  # it has been closed just now
                return False
            self._scheduled = True
        self._pending.append((subscription, message))
        self.pending_bytes += getsizeof(message)
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
                subscription, message = self._pending.popleft()
                self.pending_bytes -= getsizeof(message)
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

"""The in-process channel layer: dict messages between the consumers of one process, in any thread and loop."""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import threading
import time
from collections import deque
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, ClassVar

from asgiref.sync import async_to_sync

from fullduplex.exceptions import ChannelFull
from fullduplex.layers import base
from fullduplex.layers.channels import BaseChannelLayer, Message
from fullduplex.layers.events import as_event, as_message
from fullduplex.layers.memory import MemoryLayer
from fullduplex.layers.serving import check_in_process

logger = logging.getLogger("fullduplex.layers")

# How long group_send waits for a member that is full: a busy loop needs a moment, a stuck receiver gets no more.
_PATIENCE_S = 0.25
_POLL_S = 0.001

_IMMUTABLE = frozenset({str, int, float, bool, bytes, type(None)})


class InMemoryChannelLayer(BaseChannelLayer):
    """Reaches the consumers of this process, without I/O.

    Each receiver gets a copy of its own. Unlike that of Channels it may be used from any thread and loop, and what
    it has to drop it logs and counts.

    Args:
        expiry, capacity, channel_capacity: see :class:`BaseChannelLayer`.
        group_expiry: seconds after which a membership ends that was not renewed.

    Attributes:
        channels: those on which messages or receivers wait, by name.
        groups: of each group the channels, with the time of joining (``time.time()``).
        dropped_count: messages that were dropped: expired, or sent to a group with a member that was full.
        sockets: the layer of :class:`fullduplex.Group`, whose groups are the same; None: a world of its own.
        guards_reach: refuse to send where the members in other processes would not hear of it.
    """

    extensions: ClassVar[list[str]] = ["groups", "flush"]
    in_process: ClassVar[bool] = True

    def __init__(
        self,
        expiry: float = 60,
        group_expiry: float = 86_400,
        capacity: int = 100,
        channel_capacity: Mapping[Any, int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(expiry=expiry, capacity=capacity, channel_capacity=channel_capacity, **kwargs)
        self.group_expiry = group_expiry
        self.channels: dict[str, _Channel] = {}
        self.groups: dict[str, dict[str, float]] = {}
        self.dropped_count = 0
        self.sockets: MemoryLayer | None = None
        self.guards_reach = False
        self._lock = threading.RLock()
        self._groups_of: dict[str, set[str]] = {}
        # No message expires, and no membership ends, before these moments: until then there is nothing to look for.
        self._next_expiry_s = math.inf
        self._next_membership_s = math.inf

    async def send(self, channel: str, message: Message) -> None:
        _require_dict(message)
        self.require_valid_channel_name(channel)
        self._check_reach()
        with self._lock:
            if not self._put(channel, message):
                raise ChannelFull(f"{self.get_capacity(channel)} messages wait on the channel {channel!r}")
        await asyncio.sleep(0)  # a loop that only sends lets the receivers go on

    async def receive(self, channel: str) -> Message:
        self.require_valid_channel_name(channel)
        queue: _Channel | None = None
        while True:
            with self._lock:
                self._drop_expired()
                if queue is None or not queue.messages:  # else it was woken for one, though the channel be dropped
                    queue = self._channel(channel)
                if queue.messages:
                    _, message = queue.messages.popleft()
                    queue.stuck = False
                    self._tidy(channel, queue)
                    return message
                waiter = asyncio.get_running_loop().create_future()
                queue.waiters.append(waiter)
            try:
                await waiter
            finally:
                with self._lock:
                    queue.leave(waiter)
                    self._tidy(channel, queue)

    async def new_channel(self, prefix: str = "specific") -> str:
        return f"{prefix.rstrip('.')}.inmemory!{secrets.token_hex(8)}"

    async def discard_channel(self, channel: str) -> None:
        with self._lock:
            queue = self.channels.get(channel)
            if queue is not None:
                queue.messages.clear()
                self._tidy(channel, queue)
            for group in self._groups_of.pop(channel, ()):
                self._discard(group, channel)

    async def flush(self) -> None:
        with self._lock:
            for name, queue in tuple(self.channels.items()):
                queue.messages.clear()
                self._tidy(name, queue)
            self.groups.clear()
            self._groups_of.clear()

    async def close(self) -> None:
        """Nothing is held open."""

    # Groups ----------------------------------------------------------------------------------

    async def group_add(self, group: str, channel: str) -> None:
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        now_s = time.time()
        with self._lock:
            self.groups.setdefault(group, {})[channel] = now_s
            self._groups_of.setdefault(channel, set()).add(group)
            self._next_membership_s = min(self._next_membership_s, now_s + self.group_expiry)

    async def group_discard(self, group: str, channel: str) -> None:
        self.require_valid_channel_name(channel)
        self.require_valid_group_name(group)
        with self._lock:
            self._discard(group, channel)

    async def group_send(self, group: str, message: Message) -> None:
        """Send to each channel of the group; one that stays full does not get it, which is logged and counted.

        Raises:
            TypeError, ValueError: the group has sockets, and JSON cannot say the event; nothing was sent.
        """
        _require_dict(message)
        self.require_valid_group_name(group)
        self._check_reach()
        sockets = self.sockets if self.sockets is not None and self.sockets.has_sockets(group) else None
        text = as_message(message) if sockets is not None else ""
        full = self._put_all(group, message)
        if sockets is not None:
            await sockets.apublish_to_sockets(group, text)
        else:
            await asyncio.sleep(0)
        if full:
            await self._insist(full, message)

    def share_groups(self, sockets: MemoryLayer) -> None:
        """Have one world of groups with ``sockets``: who sends to either reaches the members of both."""
        self.sockets = sockets
        sockets.channels = self

    def take(self, group: str, message: base.Message) -> None:
        """Hand what was sent with :class:`fullduplex.Group` to the channels of the group."""
        event = as_event(message)
        if full := self._put_all(group, event):
            async_to_sync(self._insist)(full, event)

    async def atake(self, group: str, message: base.Message) -> None:
        event = as_event(message)
        if full := self._put_all(group, event):
            await self._insist(full, event)

    def _put_all(self, group: str, message: Message) -> list[str]:
        """Put copies on all channels of a group; return those that are full."""
        with self._lock:
            self._end_memberships()
            return [name for name in self.groups.get(group, ()) if not self._put(name, message, for_group=True)]

    async def _insist(self, channels: list[str], message: Message) -> None:
        """Give channels that are full a moment; those that stay so get no other before they have been emptied."""
        deadline_s = time.monotonic() + _PATIENCE_S
        while channels and time.monotonic() < deadline_s:
            await asyncio.sleep(_POLL_S)
            with self._lock:
                channels = [name for name in channels if not self._put(name, message, for_group=True)]
        with self._lock:
            for name in channels:
                self._channel(name).stuck = True
                self.dropped_count += 1
                logger.warning(
                    "The channel %r is full (capacity %d) and its receiver too slow: messages to its groups are "
                    "dropped until it has received.",
                    name,
                    self.get_capacity(name),
                )

    def _check_reach(self) -> None:
        if self.guards_reach:
            check_in_process()

    # With the lock held ----------------------------------------------------------------------

    def _channel(self, name: str) -> _Channel:
        queue = self.channels.get(name)
        if queue is None:
            queue = self.channels[name] = _Channel(self.get_capacity(name))
        return queue

    def _put(self, name: str, message: Message, for_group: bool = False) -> bool:
        """Put a copy on a channel; False when it is full. For a group, a stuck receiver is passed over."""
        queue = self._channel(name)
        if len(queue.messages) >= queue.capacity:
            self._drop_expired()
        if len(queue.messages) >= queue.capacity:
            if for_group and queue.stuck:
                self.dropped_count += 1
                return True
            return False
        expires_s = time.monotonic() + self.expiry
        queue.messages.append((expires_s, _copy(message)))
        self._next_expiry_s = min(self._next_expiry_s, expires_s)
        queue.wake_one()
        return True

    def _discard(self, group: str, channel: str) -> None:
        members = self.groups.get(group, {})
        members.pop(channel, None)
        if not members:
            self.groups.pop(group, None)
        joined = self._groups_of.get(channel)
        if joined is not None:
            joined.discard(group)
            if not joined:
                del self._groups_of[channel]

    def _drop_expired(self) -> None:
        now_s = time.monotonic()
        if now_s < self._next_expiry_s:
            return
        self._next_expiry_s = math.inf
        for name, queue in tuple(self.channels.items()):
            count = queue.drop_expired(now_s)
            if count:
                self.dropped_count += count
                logger.warning("%d messages on the channel %r have expired: nobody received them.", count, name)
            if queue.messages:
                self._next_expiry_s = min(self._next_expiry_s, queue.messages[0][0])
            self._tidy(name, queue)

    def _end_memberships(self) -> None:
        now_s = time.time()
        if now_s < self._next_membership_s:
            return
        for group, members in tuple(self.groups.items()):
            for channel, joined_s in tuple(members.items()):
                if joined_s + self.group_expiry <= now_s:
                    self._discard(group, channel)
        joins = [joined_s for members in self.groups.values() for joined_s in members.values()]
        self._next_membership_s = min(joins, default=math.inf) + self.group_expiry

    def _tidy(self, name: str, queue: _Channel) -> None:
        if not queue.messages and not queue.waiters and self.channels.get(name) is queue:
            del self.channels[name]


class _Channel:
    """What waits on one channel: messages, each with the time of its expiry, or receivers."""

    __slots__ = ("capacity", "messages", "stuck", "waiters")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.messages: deque[tuple[float, Message]] = deque()
        self.waiters: deque[asyncio.Future[None]] = deque()
        self.stuck = False

    def wake_one(self) -> None:
        """Wake a receiver, which looks for itself; those of loops that have been closed are forgotten."""
        while self.waiters:
            waiter = self.waiters.popleft()
            try:
                waiter.get_loop().call_soon_threadsafe(_wake, waiter)
            except RuntimeError:
                continue
            return

    def leave(self, waiter: asyncio.Future[None]) -> None:
        """A receiver stops waiting; the message that it was woken for is the next one's."""
        if waiter in self.waiters:
            self.waiters.remove(waiter)
        if self.messages:
            self.wake_one()

    def drop_expired(self, now_s: float) -> int:
        count = 0
        while self.messages and self.messages[0][0] <= now_s:
            self.messages.popleft()
            count += 1
        return count


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _require_dict(message: Message) -> None:
    if not isinstance(message, dict):
        raise AssertionError(f"a message is a dict, not {type(message).__name__}")


def _copy(value: Any) -> Any:
    """``deepcopy``, quickly for what messages usually hold."""
    kind = type(value)
    if kind in _IMMUTABLE:
        return value
    if kind is dict:
        return {key: _copy(item) for key, item in value.items()}
    if kind is list:
        return [_copy(item) for item in value]
    return deepcopy(value)

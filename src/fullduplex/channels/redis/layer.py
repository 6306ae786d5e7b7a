"""What both channel layers on Redis share: groups by pub/sub, and channels that live in a process.

A channel with ``!`` in its name belongs to the event loop that made it. What is sent there goes to the loop's
*inbox*, one subscription for all of its channels; without a listener it waits on the server. A group is that of
:class:`fullduplex.Group`: all channels of a loop are one member of the hub, beside the sockets.
An envelope on an inbox is::

    m<channel>\\n<message>              a message
    +<channel>\\n<group> <reply>        join, from another loop; the answer goes to the channel <reply>
    -<channel>\\n<group> <reply>        leave
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import random
import threading
import time
import uuid
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar

from django.core.exceptions import ImproperlyConfigured
from redis.asyncio import ConnectionPool, Redis

from fullduplex.channels.redis.mailboxes import Mailboxes
from fullduplex.channels.redis.serializers import registry
from fullduplex.conf import get_settings
from fullduplex.exceptions import ConfigurationError, LayerUnavailable
from fullduplex.layers import get_layer
from fullduplex.layers.base import Delivered, Event, data_of
from fullduplex.layers.channels import BaseChannelLayer, Message
from fullduplex.layers.events import as_event
from fullduplex.layers.redis import RedisLayer
from fullduplex.layers.redis.loop_state import start
from fullduplex.realtime.hub import Hub, get_hub
from fullduplex.realtime.prepared import Prepared

logger = logging.getLogger("fullduplex.layers")

_MESSAGE, _JOIN, _LEAVE = b"m", b"+", b"-"
_ANSWER_TIMEOUT_S = 5.0
_LOG_INTERVAL_S = 1.0
_GATHER_S = 0.05  # confirmations of one reconnect come close together

#: The message to a consumer after a gap; its handler is ``channel_layer_gap``.
GAP_TYPE = "channel_layer.gap"

Told = Callable[[], Any]


class ProcessChannelLayer(BaseChannelLayer):
    """Channels of processes, and groups of them.

    Args:
        hosts, prefix, cluster, symmetric_encryption_keys, limits: see :class:`RedisLayer`.
        expiry: seconds that a message waits for its receiver.
        group_expiry: seconds after which a member that does not receive is no member any more.
        capacity, channel_capacity: messages that may wait on one channel.
        serializer_format: ``msgpack``, ``json``, or what was registered with ``serializers.registry``.
        random_prefix_length: random bytes in front of each message, for serializers that know the option.
        on_disconnect, on_reconnect: called, or awaited, when the connection that listens is lost, and is back.
        layer: use this one, with its hosts, prefix and keys.

    Attributes:
        layer: the layer beneath, which groups of :class:`fullduplex.Group` can use as well.
        client_prefix: part of the names of all channels of this object.
        dropped_count: messages that found a channel full.
    """

    extensions: ClassVar[list[str]] = ["groups", "flush"]

    def __init__(
        self,
        hosts: Sequence[Any] | None = None,
        prefix: str = "asgi",
        expiry: float = 60,
        group_expiry: float = 86_400,
        capacity: int = 100,
        channel_capacity: Mapping[Any, int] | None = None,
        symmetric_encryption_keys: Sequence[str | bytes] | None = None,
        random_prefix_length: int = 12,
        serializer_format: str = "msgpack",
        *,
        on_disconnect: Told | None = None,
        on_reconnect: Told | None = None,
        layer: RedisLayer | None = None,
        **limits: Any,
    ) -> None:
        super().__init__(expiry=expiry, capacity=capacity, channel_capacity=channel_capacity)
        self.layer = layer or RedisLayer(
            hosts=hosts, prefix=prefix, symmetric_encryption_keys=symmetric_encryption_keys, **limits
        )
        self.prefix = self.layer.prefix
        self.group_expiry = group_expiry
        self.layer.watchers.on_disconnect = on_disconnect or self.layer.watchers.on_disconnect
        self.layer.watchers.on_reconnect = on_reconnect or self.layer.watchers.on_reconnect
        self.dropped_count = 0
        prefixed = {"random_prefix_length": random_prefix_length} if random_prefix_length else {}
        self._serializer = registry.get_serializer(serializer_format, **prefixed)
        self._begin()
        if hasattr(os, "register_at_fork"):
            itself = weakref.ref(self)
            os.register_at_fork(after_in_child=lambda: _forked(itself))

    def serialize(self, message: Message) -> bytes:
        data: bytes = self._serializer.serialize(message)
        return data

    def deserialize(self, message: bytes) -> Message:
        read: Message = self._serializer.deserialize(message)
        return read

    # Channels --------------------------------------------------------------------------------

    async def new_channel(self, prefix: str = "specific") -> str:
        here = self._get_layer()
        await here.listen()
        return f"{prefix.rstrip('.')}.{here.client}!{uuid.uuid4().hex[:20]}"

    async def send(self, channel: str, message: Message) -> None:
        self.require_valid_channel_name(channel)
        self._check(message)
        data = self.serialize(message)
        if "!" in channel:
            await self._send_specific(channel, data)
        else:
            await self.send_general(channel, data)

    async def receive(self, channel: str) -> Message:
        self.require_valid_channel_name(channel)
        if "!" in channel:
            return self.deserialize(await self._receive_specific(channel))
        return self.deserialize(await self._receive_general(channel))

    async def discard_channel(self, channel: str) -> None:
        """Forget a channel of this loop: what waits on it, and its groups."""
        here = self._get_layer()
        here.watching.discard(channel)
        for group in here.mailboxes.forget(channel):
            await here.hub.leave(group, here)

    def watch_gaps(self, channel: str) -> None:
        """Have ``channel`` of this loop get ``{"type": "channel_layer.gap", "groups": [...]}`` when the connection was
        lost and is back, so that messages to these groups may be missing. Until the channel is discarded."""
        self._get_layer().watching.add(channel)

    # Groups ----------------------------------------------------------------------------------

    async def group_add(self, group: str, channel: str) -> None:
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        here = self._get_layer()
        if "!" in channel and _client(channel) != here.client:
            await self._tell_owner(_JOIN, channel, group)
        else:
            await here.join(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        here = self._get_layer()
        if "!" in channel and _client(channel) != here.client:
            await self._tell_owner(_LEAVE, channel, group)
        else:
            await here.leave(group, channel)

    async def group_send(self, group: str, message: Message) -> None:
        self.require_valid_group_name(group)
        self._check(message)
        await self.layer.apublish(group, Event(self.serialize(message)))

    # Beside the layer ------------------------------------------------------------------------

    def connection(self, index: int) -> Redis:
        """Return a client of redis-py for one of ``hosts``, for what a project keeps there beside the layer.

        It takes connections of the running loop, which end with that; ``async with`` gives them back.

        Raises:
            IndexError: there are not so many hosts.
        """
        return Redis(connection_pool=self._get_layer().pool(index))

    # Ends ------------------------------------------------------------------------------------

    async def flush(self) -> None:
        """Drop all messages that wait on the server, and what this loop holds; its connections close, too."""
        await self.layer.flush_queues()
        await self.close()

    async def close(self) -> None:
        """Give back what the running loop holds; the layer may be used again."""
        here = self._layers.get(asyncio.get_running_loop())
        if here is not None:
            await here.close()
        await self.layer.close()

    close_pools = close

    # Inside ----------------------------------------------------------------------------------

    def _begin(self) -> None:
        """At first, and again in each process that is forked: names must differ between processes."""
        self.client_prefix = uuid.uuid4().hex[:20]
        self._lock = threading.Lock()
        self._layers: dict[asyncio.AbstractEventLoop, _Loop] = {}
        self._numbers = itertools.count()

    def _check(self, message: object) -> None:
        if not isinstance(message, dict):
            raise AssertionError("message is not a dict")

    async def send_general(self, channel: str, data: bytes) -> None:
        raise NotImplementedError

    async def _receive_general(self, channel: str) -> bytes:
        raise NotImplementedError

    def _get_layer(self) -> _Loop:
        loop = asyncio.get_running_loop()
        with self._lock:
            here = self._layers.get(loop)
            if here is None:
                for closed in [other for other in self._layers if other.is_closed()]:
                    del self._layers[closed]
                client = f"{self.client_prefix}{next(self._numbers):x}"
                here = self._layers[loop] = _Loop(self, client, lambda: self._forget(loop))
        return here

    def _forget(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            self._layers.pop(loop, None)

    def _group_key(self, group: str) -> bytes:
        """Return the name of a group on the server: that of its subscriptions."""
        return f"{self.prefix}:{group}".encode()

    async def _send_specific(self, channel: str, data: bytes) -> None:
        """To the inbox of its loop; or, when nobody listens there (a connection is being opened anew, or the loop
        has ended), on a queue of its own."""
        if not await self.layer.apublish_counted(_inbox(channel), _envelope(_MESSAGE, channel, data)):
            await self.layer.push(channel, data, capacity=self.get_capacity(channel), expiry_s=self.expiry)

    async def _receive_specific(self, channel: str) -> bytes:
        client = _client(channel)
        if not client.startswith(self.client_prefix):
            raise AssertionError(f"{channel!r} belongs to another process: only that one can receive from it")
        here = self._get_layer()
        if client == here.client:
            await here.listen()
            return await here.mailboxes.get(channel)
        return _bytes(await self.layer.pop(channel))  # made on another loop of this process, which has ended

    async def _tell_owner(self, verb: bytes, channel: str, group: str) -> None:
        """Have the loop of ``channel`` change a membership, and wait until it has."""
        reply = await self.new_channel("reply")
        here = self._get_layer()
        if not await self.layer.apublish_counted(
            _inbox(channel), _envelope(verb, channel, f"{group} {reply}".encode())
        ):
            return  # its process is gone, and its channel with it
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                problem = await here.mailboxes.get(reply)
        except TimeoutError as error:
            raise LayerUnavailable(f"the process of {channel!r} has not answered") from error
        if problem:
            raise LayerUnavailable(problem.decode())


class _Loop:
    """One event loop's part: its inbox, its channels, its groups. It ends with the loop.

    Attributes:
        hub: that of the sockets where :class:`fullduplex.Group` uses the same layer, else one for these channels.
        groups: the rooms of the hub that it is in; the hub's.
    """

    def __init__(self, layer: ProcessChannelLayer, client: str, on_close: Callable[[], None]) -> None:
        self.client = client
        self.channel_layer = layer
        self._on_close = on_close
        self._tasks: set[asyncio.Task[None]] = set()
        self._next_log_s = 0.0
        self.watching: set[str] = set()
        self.hub = _hub(layer.layer)
        self.groups: list[str] = []
        self._gaps: dict[str, list[str]] = {}
        self.mailboxes = Mailboxes(
            capacity=layer.get_capacity,
            expiry_s=layer.expiry,
            group_expiry_s=layer.group_expiry,
            on_empty=lambda group: self._start(self.hub.leave(group, self)),
        )
        self._pools: dict[int, ConnectionPool] = {}
        self._end = self._until_the_loop_ends()
        start(self._end)

    def pool(self, index: int) -> ConnectionPool:
        """That of a host, for what is no message."""
        if index not in self._pools:
            self._pools[index] = self.channel_layer.layer.hosts[index].pool()
        return self._pools[index]

    async def listen(self) -> None:
        """Subscribe to the inbox, if that has not been done."""
        await self.channel_layer.layer.subscribe(f"inbox:{self.client}", self._take, self._fetch_missed)

    async def join(self, group: str, channel: str) -> None:
        self.mailboxes.join(group, channel)
        joining = asyncio.get_running_loop().create_task(self.hub.join(group, self))
        joining.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            await asyncio.shield(joining)  # for other channels, too, when who waits is cancelled
        except BaseException:
            if self.mailboxes.leave(group, channel):
                self._start(self.hub.leave(group, self))
            raise

    async def leave(self, group: str, channel: str) -> None:
        if self.mailboxes.leave(group, channel):
            await self.hub.leave(group, self)

    async def close(self) -> None:
        await self.hub.leave_all(self)
        await self._end.aclose()

    async def _until_the_loop_ends(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            self._on_close()
            for task in tuple(self._tasks):
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)
            for pool in self._pools.values():
                await pool.disconnect()

    # What comes ------------------------------------------------------------------------------

    def deliver(self, prepared: Prepared) -> None:
        """Hand what was sent with :class:`fullduplex.Group` to the channels of the group. Called by the hub."""
        self.take(prepared.group, self.channel_layer.serialize(as_event(prepared.data)))

    def take(self, group: str, data: bytes) -> None:
        members = self.mailboxes.groups.get(group, {})
        full_count = 0
        for channel in tuple(members):
            if "!" not in channel:
                self._start(self._forward(channel, data))
            elif not self.mailboxes.put(channel, data):
                full_count += 1
        if full_count:
            self._note_dropped(full_count, f"{full_count} of {len(members)} channels over capacity in group {group}")

    def _take(self, envelope: Delivered) -> None:
        head, _, body = _bytes(data_of(envelope)).partition(b"\n")
        verb, channel = head[:1], head[1:].decode()
        if verb == _MESSAGE:
            if not self.mailboxes.put(channel, body):
                self._note_dropped(1, f"channel {channel} over capacity")
        else:
            group, _, reply = body.decode().partition(" ")
            change = self.join if verb == _JOIN else self.leave
            self._start(self._answer(change(group, channel), reply))

    def note_gap(self, group: str) -> None:
        """Collect the groups of one reconnect, so that each member is told once."""
        if not self._gaps:
            asyncio.get_running_loop().call_later(_GATHER_S, self._tell_gaps)
        for channel in self.mailboxes.groups.get(group, {}):
            if channel in self.watching:
                self._gaps.setdefault(channel, []).append(group)

    def _tell_gaps(self) -> None:
        gaps, self._gaps = self._gaps, {}
        settings = get_settings()
        spread_s = settings.gap_spread_s if settings.gap_policy == "disconnect" else 0
        for channel, groups in gaps.items():
            message = self.channel_layer.serialize({"type": GAP_TYPE, "groups": groups})
            asyncio.get_running_loop().call_later(random.uniform(0, spread_s), self._tell_gap, channel, message)

    def _tell_gap(self, channel: str, message: bytes) -> None:
        if channel in self.watching:
            self.mailboxes.put(channel, message)

    def _note_dropped(self, count: int, what: str) -> None:
        """Count, and log once a second at most: who is stuck is so for many messages."""
        self.channel_layer.dropped_count += count
        now_s = time.monotonic()
        if now_s >= self._next_log_s:
            self._next_log_s = now_s + _LOG_INTERVAL_S
            total = self.channel_layer.dropped_count
            logger.warning("Messages were dropped: %s (%d since this process started)", what, total)

    def _fetch_missed(self) -> None:
        """The inbox was lost for a while: what was sent meanwhile waits on queues."""
        for channel in self.mailboxes.awaited:
            if "!" in channel:
                self._start(self._fetch(channel))

    async def _fetch(self, channel: str) -> None:
        while (data := await self.channel_layer.layer.pop_now(channel)) is not None:
            self.mailboxes.put(channel, _bytes(data))

    async def _forward(self, channel: str, data: bytes) -> None:
        """A general channel is a member: some worker receives from it."""
        await self.channel_layer.send_general(channel, data)

    async def _answer(self, change: Awaitable[None], reply: str) -> None:
        problem = b""
        try:
            await change
        except LayerUnavailable as error:
            problem = str(error).encode()
        await self.channel_layer.layer.apublish(_inbox(reply), _envelope(_MESSAGE, reply, problem))

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception:
            logger.exception("A channel layer failed in the background")


def _hub(layer: RedisLayer) -> Hub:
    try:
        is_shared = get_layer() is layer
    except (ConfigurationError, ImproperlyConfigured):  # the layer is used alone, perhaps without settings
        is_shared = False
    return get_hub() if is_shared else Hub(lambda: layer, lambda group: None)


def _client(channel: str) -> str:
    """The loop that a channel belongs to: between the last full stop before the ``!``, and the ``!``."""
    return channel.partition("!")[0].rpartition(".")[2]


def _inbox(channel: str) -> str:
    return f"inbox:{_client(channel)}"


def _envelope(verb: bytes, channel: str, body: bytes) -> bytes:
    return verb + channel.encode() + b"\n" + body


def _bytes(message: str | bytes) -> bytes:
    return message if isinstance(message, bytes) else message.encode()


def _forked(reference: weakref.ref[ProcessChannelLayer]) -> None:
    layer = reference()
    if layer is not None:
        layer._begin()

"""The layer itself: the contract of layers/base.py over Redis pub/sub."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from fullduplex.exceptions import ChannelFull
from fullduplex.layers.base import BaseLayer, Deliver, Gap, Message
from fullduplex.layers.history import Keep, Kept, Missed, Position
from fullduplex.layers.redis.appending import known
from fullduplex.layers.redis.commands import Once
from fullduplex.layers.redis.envelopes import Parts, publishing, read_position, with_position
from fullduplex.layers.redis.history import Histories
from fullduplex.layers.redis.hosts import read_hosts
from fullduplex.layers.redis.limits import RedisLimits
from fullduplex.layers.redis.loop_state import LoopState
from fullduplex.layers.redis.queues import PUSH
from fullduplex.layers.redis.sealing import Seal
from fullduplex.layers.redis.subscriber import Watchers
from fullduplex.layers.redis.threads import ThreadConnections
from fullduplex.layers.redis.topology import Cluster, Hosts, Topology

logger = logging.getLogger("fullduplex.layers")


class RedisLayer(BaseLayer):
    """Reaches the members in all processes that use the same Redis or Valkey.

    Each event loop has one connection that listens and one that publishes, to each server it has to do with;
    threads without a loop share a small pool. Nothing is stored but histories and queues: who is a member, only its own
    process knows.

    Args:
        hosts: see hosts.py; several are independent servers, and a group lives on one of them.
        cluster: ``hosts`` are nodes of one Redis Cluster (Redis 7 or Valkey; sharded pub/sub).
        prefix: in front of every name, so that projects can share a server.
        symmetric_encryption_keys: the first encrypts, all decrypt; takes the package ``cryptography``.
        limits: fields of :class:`RedisLimits`.

    Attributes:
        watchers: may be given callbacks for the loss and the return of a connection that listens.

    Raises:
        ConfigurationError: ``hosts`` or the keys make no sense.
    """

    supports_history: ClassVar[bool] = True
    supports_queues: ClassVar[bool] = True
    reports_gaps: ClassVar[bool] = True

    def __init__(
        self,
        *,
        hosts: Sequence[Any] | None = None,
        cluster: bool = False,
        prefix: str = "fullduplex",
        symmetric_encryption_keys: Sequence[str | bytes] | None = None,
        **limits: Any,
    ) -> None:
        self.limits = RedisLimits(**limits)
        self.prefix = prefix
        self.watchers = Watchers()
        self._seal = Seal(symmetric_encryption_keys)
        self.hosts = read_hosts(hosts)
        self._topology: Topology = Cluster(self.hosts) if cluster else Hosts(self.hosts)
        self._histories = Histories(
            self._topology.publish, self.limits.publish_timeout_s, self._seal.close, self._seal.open_keyed
        )
        self._forget_everything()
        if hasattr(os, "register_at_fork"):
            itself = weakref.ref(self)
            os.register_at_fork(after_in_child=lambda: _forked(itself))

    # The contract ----------------------------------------------------------------------------

    async def open(self) -> None:
        await self._loop_state().call(b"", "PING")

    async def close(self) -> None:
        with self._lock:
            state = self._loops.get(asyncio.get_running_loop())
        if state is not None:
            await state.close()
        self._threads.close()

    def publish(self, group: str, message: Message) -> None:
        name = self._name(group)
        self._threads.make(name, self._publishing(name, self._seal.close(message)))

    async def apublish(self, group: str, message: Message) -> None:
        await self.apublish_counted(group, message)

    async def subscribe(self, group: str, deliver: Deliver, on_gap: Gap | None = None) -> None:
        await self._loop_state().subscribe(self._name(group), self._opener(group, deliver), on_gap)

    async def unsubscribe(self, group: str) -> None:
        with self._lock:
            state = self._loops.get(asyncio.get_running_loop())
        if state is not None:
            await state.unsubscribe(self._name(group))

    def append(self, group: str, data: Message, keep: Keep, *, key: str = "") -> Position:
        name = self._name(group)
        call = self._histories.append(name, keep, [self._histories.entry(data, key)])
        return known(self._histories.appended(self._threads.make(name, call))[0])

    async def aappend(self, group: str, data: Message, keep: Keep, *, key: str = "") -> Position:
        entry = self._histories.entry(data, key)
        return await self._loop_state().appends.append(self._name(group), keep, entry)

    def read(
        self, group: str, keep: Keep, *, after: Position | None, max_count: int = 1_000, max_bytes: int = 1_048_576
    ) -> Missed:
        name = self._name(group)
        answer = self._threads.make(name, self._histories.read(name, keep, after, max_count, max_bytes))
        return self._histories.missed(answer, after is not None)

    async def aread(
        self, group: str, keep: Keep, *, after: Position | None, max_count: int = 1_000, max_bytes: int = 1_048_576
    ) -> Missed:
        name = self._name(group)
        answer = await self._loop_state().read(name, self._histories.read(name, keep, after, max_count, max_bytes))
        return self._histories.missed(answer, after is not None)

    def publish_kept(self, group: str, kept: Kept) -> None:
        name = self._name(group)
        self._threads.make(name, self._publishing(name, self._kept(kept)))

    async def apublish_kept(self, group: str, kept: Kept) -> None:
        name = self._name(group)
        await self._loop_state().make(name, self._publishing(name, self._kept(kept)))

    async def push(self, queue: str, message: Message, *, capacity: int, expiry_s: float) -> None:
        key = self._key(queue)
        data, expiry_ms = self._seal.close(message), int(expiry_s * 1000)
        taken = await self._loop_state().call(
            key, "EVAL", PUSH, 1, key, data, capacity, expiry_ms, self._topology.publish
        )
        if not taken:
            raise ChannelFull(f"{capacity} messages wait on {queue!r}")

    async def pop(self, queue: str) -> Message:
        while True:
            data = await self._loop_state().pop(self._key(queue))
            try:
                return self._seal.open(data)
            except ValueError as error:
                logger.error("A message on %r cannot be read: %s", queue, error)

    async def pop_now(self, queue: str) -> Message | None:
        """Like :meth:`pop`; None when nothing is there."""
        data = await self._loop_state().pop_now(self._key(queue))
        return None if data is None else self._seal.open(data)

    # Beyond it -------------------------------------------------------------------------------

    async def apublish_counted(self, group: str, message: Message) -> int:
        """Like :meth:`apublish`; return how many event loops it went to."""
        name = self._name(group)
        count: int = await self._loop_state().make(name, self._publishing(name, self._seal.close(message)))
        return count

    async def flush_queues(self) -> None:
        """Delete all queues with this prefix, on all servers."""
        state = self._loop_state()
        pattern = glob_escape(self._key("")) + b"*"
        for host in await state.servers():
            cursor = b"0"
            while True:
                cursor, keys = await state.ask(host, "SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
                for key in keys:  # one by one: in a cluster they live in different slots
                    await state.ask(host, "DEL", key)
                if cursor == b"0":
                    break

    # Inside ----------------------------------------------------------------------------------

    def _key(self, queue: str) -> bytes:
        return f"{self.prefix}:queue:{queue}".encode()

    def _name(self, group: str) -> bytes:
        return f"{self.prefix}:{group}".encode()

    def _publishing(self, name: bytes, data: bytes) -> Once:
        return publishing(self._topology.publish, name, data)

    def _kept(self, kept: Kept) -> bytes:
        return with_position(self._seal.close(kept.data, kept.key), kept.position)

    def _opener(self, group: str, deliver: Deliver) -> Callable[[bytes], None]:
        parts = Parts()

        def take(data: bytes) -> None:
            whole = parts.take(data)
            if whole is None:
                return
            try:
                position, sealed = read_position(whole)
                message: Message | Kept
                message, key = self._seal.open_keyed(sealed)
                if position is not None:
                    message = Kept(message, position, key)
            except ValueError as error:
                logger.error("A message to %r cannot be read: %s", group, error)
                return
            try:
                deliver(message)
            except Exception:
                logger.exception("A subscriber failed to take a message")

        return take

    def _loop_state(self) -> LoopState:
        loop = asyncio.get_running_loop()
        with self._lock:
            state = self._loops.get(loop)
            if state is None:
                for closed in [other for other in self._loops if other.is_closed()]:
                    del self._loops[closed]
                state = self._loops[loop] = LoopState(
                    self._topology, self.limits, self.watchers, self._histories, lambda: self._forget(loop)
                )
        return state

    def _forget(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            self._loops.pop(loop, None)

    def _forget_everything(self) -> None:
        self._lock = threading.Lock()
        self._loops: dict[asyncio.AbstractEventLoop, LoopState] = {}
        self._threads = ThreadConnections(self._topology, self.limits)

    def after_fork(self) -> None:
        """In the child: leave the parent's connections alone. Closing them would write to them, or take them out of
        the selector that parent and child share; so they are kept, unused."""
        self._of_parent = (self._loops, self._threads)
        self._forget_everything()
        self._histories.begin()


def glob_escape(name: bytes) -> bytes:
    """Source: the KEYS command, "Use \\ to escape special characters"."""
    return re.sub(rb"([\\*?\[\]^-])", rb"\\\1", name)


def _forked(reference: weakref.ref[RedisLayer]) -> None:
    layer = reference()
    if layer is not None:
        layer.after_fork()

"""The connection that listens: what was subscribed stays so, whatever happens to the server.

A lost connection is opened again with back-off, and every name subscribed anew; who subscribed is then told
of the gap, after the server's confirmation, so that what is published from then on arrives.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from redis.exceptions import ResponseError

from fullduplex.exceptions import LayerUnavailable
from fullduplex.layers.base import Gap
from fullduplex.layers.redis.connecting import NotSent, Refused, backoff_s, open_async, translate
from fullduplex.layers.redis.hosts import AsyncConnection, Host
from fullduplex.layers.redis.limits import RedisLimits
from fullduplex.layers.redis.topology import FAILURES, Topology
from fullduplex.watched import watched

logger = logging.getLogger("fullduplex.layers")

_CHUNK_COUNT = 500  # names subscribed in one write, when all of them are

_MESSAGES = frozenset({b"message", b"smessage"})


class Subscription:
    """One name on one loop.

    Attributes:
        confirmed: the server has it; what arrives before that belongs to an earlier subscription.
        lost: it was confirmed once, and then its connection was lost.
        waiters: those who wait until it is confirmed.
    """

    __slots__ = ("confirmed", "deliver", "lost", "name", "on_gap", "waiters")

    def __init__(self, name: bytes, deliver: Callable[[bytes], None], on_gap: Gap | None) -> None:
        self.name = name
        self.deliver = deliver
        self.on_gap = on_gap
        self.confirmed = False
        self.lost = False
        self.waiters: set[asyncio.Future[None]] = set()

    async def wait_confirmed(self) -> None:
        """
        Raises:
            LayerUnavailable: the server refused it, or it was ended.
        """
        if self.confirmed:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiters.add(waiter)
        try:
            await waiter
        finally:
            self.waiters.discard(waiter)

    def confirm(self) -> None:
        self.confirmed = True
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)
        if self.lost:
            self.lost = False
            if self.on_gap is not None:
                _guarded(self.on_gap)

    def lose(self) -> None:
        self.lost = self.lost or self.confirmed
        self.confirmed = False

    def refuse(self, error: LayerUnavailable) -> None:
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_exception(error)


class Watchers:
    """Who is told when a connection that listens is lost, and when it is back; what they return is awaited."""

    def __init__(self) -> None:
        self.on_disconnect: Callable[[], Any] | None = None
        self.on_reconnect: Callable[[], Any] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def tell(self, callback: Callable[[], Any] | None) -> None:
        if callback is not None:
            task = asyncio.get_running_loop().create_task(self._tell(callback))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _tell(self, callback: Callable[[], Any]) -> None:
        try:
            result = callback()
            if inspect.isawaitable(result):
                await result
        except Exception:
            logger.exception("A callback of the Redis layer failed")


class Subscriber:
    """One connection of one loop to one server, from the first subscription on.

    Args:
        on_trouble: awaited when the connection is lost; it may :meth:`take` subscriptions and add them elsewhere.
        on_stray: called with a subscription that this server has let go of, because its slot moved.
    """

    def __init__(
        self,
        host: Host,
        topology: Topology,
        limits: RedisLimits,
        watchers: Watchers,
        on_trouble: Callable[[Subscriber], Awaitable[None]],
        on_stray: Callable[[Subscription], None],
    ) -> None:
        self.host = host
        self.last_error: LayerUnavailable | None = None
        self._topology = topology
        self._limits = limits
        self._watchers = watchers
        self._on_trouble = on_trouble
        self._on_stray = on_stray
        self._subscriptions: dict[bytes, Subscription] = {}
        self._expected: deque[tuple[bytes, bytes, Subscription | None]] = deque()  # replies to come, in order
        self._connection: AsyncConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._received_count = 0
        self._closed = False

    @property
    def subscriptions(self) -> list[Subscription]:
        return list(self._subscriptions.values())

    async def add(self, subscription: Subscription) -> None:
        """Subscribe now, or as soon as there is a connection; ``subscription.wait_confirmed()`` waits."""
        if self._closed:
            raise LayerUnavailable("the layer was closed")
        self._subscriptions[subscription.name] = subscription
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        elif self._connection is not None:
            await self._send(self._topology.subscribe, [subscription.name])

    async def remove(self, subscription: Subscription) -> None:
        """End a subscription; nothing is delivered to it any more."""
        if self.take(subscription) and self._connection is not None:
            await self._send(self._topology.unsubscribe, [subscription.name])

    def take(self, subscription: Subscription) -> bool:
        """Forget a subscription without telling the server; whether it was here."""
        if self._subscriptions.get(subscription.name) is not subscription:
            return False
        del self._subscriptions[subscription.name]
        subscription.lose()
        return True

    async def close(self) -> None:
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        for subscription in self.subscriptions:
            self.take(subscription)
            subscription.refuse(LayerUnavailable("the layer was closed"))

    # The connection --------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            await watched(f"Listening to Redis at {self.host.label}", self._listen, logger)
        finally:
            self._task = None

    async def _listen(self) -> None:
        attempt = 0
        while self._subscriptions:
            received_count = self._received_count
            try:
                await self._listen_once()
            except LayerUnavailable as error:
                self.last_error = error
            if self._received_count != received_count:
                attempt = 0
            await self._on_trouble(self)
            await asyncio.sleep(backoff_s(attempt, self._limits))
            attempt += 1

    async def _listen_once(self) -> None:
        """Connect, subscribe to everything, and hand out what comes, until the connection is lost.

        Raises:
            LayerUnavailable: why it ended.
        """
        try:
            connection = await open_async(self.host, self._limits.connect_timeout_s)
        except Refused as error:
            self._refuse(error)
            raise
        self._connection = connection
        loop = asyncio.get_running_loop()
        alive: asyncio.Task[None] | None = None
        try:
            self._tell_return()
            async with asyncio.timeout(None) as deadline:
                alive = asyncio.create_task(self._keep_alive(connection, deadline))
                await self._subscribe_all()
                await self._read(connection)
        except FAILURES as error:
            raise self._lost(error) from error
        finally:
            self._connection = None
            self._expected.clear()
            for subscription in self.subscriptions:
                subscription.lose()
            if not loop.is_closed():  # a loop that is closed under its tasks takes no more part in anything
                if alive is not None:
                    alive.cancel()
                await connection.disconnect(nowait=True)

    def _tell_return(self) -> None:
        lost_count = sum(subscription.lost for subscription in self.subscriptions)
        if lost_count:
            logger.warning("Redis at %s is back: subscribing to %d names anew.", self.host.label, lost_count)
            self._watchers.tell(self._watchers.on_reconnect)

    def _lost(self, error: BaseException) -> LayerUnavailable:
        told = translate(error, self.host.label)
        if self._subscriptions:
            logger.warning("%s. Messages to %d names are missed until it is back.", told, len(self._subscriptions))
            self._watchers.tell(self._watchers.on_disconnect)
        return told

    def _refuse(self, error: LayerUnavailable) -> None:
        """Let go of what was never subscribed, and tell those who wait; the others go on trying."""
        for subscription in self.subscriptions:
            if not subscription.lost:
                self.take(subscription)
                subscription.refuse(error)

    async def _keep_alive(self, connection: AsyncConnection, deadline: asyncio.Timeout) -> None:
        """A peer that vanished without a word says nothing: ask when it has been silent, then give it a deadline."""
        while True:
            seen_count = self._received_count
            await asyncio.sleep(self._limits.ping_interval_s)
            if self._received_count != seen_count:
                continue
            self._expected.append((b"pong", b"", None))
            try:
                await connection.send_command("PING", check_health=False)
            except FAILURES:
                return  # the reader meets the same loss, and deals with it
            except Exception:
                logger.exception("Redis at %s could not be asked whether it is there", self.host.label)
                deadline.reschedule(0)
                return
            await asyncio.sleep(self._limits.ping_timeout_s)
            if self._received_count == seen_count:
                deadline.reschedule(0)

    async def _subscribe_all(self) -> None:
        names = list(self._subscriptions)
        for start in range(0, len(names), _CHUNK_COUNT):
            wanted = [name for name in names[start : start + _CHUNK_COUNT] if name in self._subscriptions]
            await self._send(self._topology.subscribe, wanted)

    async def _send(self, verb: str, names: list[bytes]) -> None:
        connection = self._connection
        if connection is None or not names:
            return
        kind = verb.lower().encode()
        self._expected.extend((kind, name, self._subscriptions.get(name)) for name in names)
        # One command for each name: of a sharded SUBSCRIBE all names must be in one slot.
        packed = connection.pack_commands([(verb, name) for name in names])
        try:
            await connection.send_packed_command(packed, check_health=False)
        except FAILURES:
            pass  # the reader meets the same loss, and deals with it

    # What comes ------------------------------------------------------------------------------

    async def _read(self, connection: AsyncConnection) -> None:
        loop = asyncio.get_running_loop()
        slice_end_s = loop.time() + self._limits.slice_s
        while True:
            try:
                reply = await connection.read_response(disconnect_on_error=False)
            except ResponseError as error:
                self._take_error(error)
                continue
            self._received_count += 1
            if type(reply) is list:
                self._take_reply(reply)
            elif self._expected and self._expected[0][0] == b"pong":
                self._expected.popleft()  # outside of subscriptions PING is answered like that
            now_s = loop.time()
            if now_s >= slice_end_s:
                await asyncio.sleep(0)
                slice_end_s = loop.time() + self._limits.slice_s

    def _take_reply(self, reply: list[Any]) -> None:
        kind = reply[0]
        if kind in _MESSAGES:
            subscription = self._subscriptions.get(reply[1])
            if subscription is not None and subscription.confirmed:
                subscription.deliver(reply[2])
        elif self._expected and self._expected[0][:2] == (kind, reply[1]):
            subscription = self._expected.popleft()[2]
            if subscription is not None and self._subscriptions.get(subscription.name) is subscription:
                subscription.confirm()
        elif kind == b"sunsubscribe":
            self._stray(self._subscriptions.get(reply[1]))

    def _take_error(self, error: ResponseError) -> None:
        """The reply to the oldest command that has none: commands are answered in order."""
        if not self._expected:
            raise error
        subscription = self._expected.popleft()[2]
        told = translate(error, self.host.label)
        if isinstance(told, NotSent):
            self._stray(subscription)
        elif subscription is not None and self.take(subscription):
            subscription.refuse(told)

    def _stray(self, subscription: Subscription | None) -> None:
        if subscription is not None and self.take(subscription):
            self._on_stray(subscription)


def _guarded(callback: Callable[[], None]) -> None:
    try:
        callback()
    except Exception:
        logger.exception("A subscriber failed to take note of a gap")

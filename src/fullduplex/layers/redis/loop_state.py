"""What one event loop holds of the layer: its connections, its subscriptions, its queues."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from redis.exceptions import ResponseError

from fullduplex.exceptions import ChannelFull, LayerUnavailable
from fullduplex.layers.base import Gap
from fullduplex.layers.history import Keep, Position
from fullduplex.layers.redis.appending import Appends
from fullduplex.layers.redis.commands import Argument, Once, pack
from fullduplex.layers.redis.connecting import NotSent, ask_async, backoff_s, translate
from fullduplex.layers.redis.history import Entry, Histories
from fullduplex.layers.redis.hosts import Host
from fullduplex.layers.redis.limits import RedisLimits
from fullduplex.layers.redis.pipeline import Pipeline
from fullduplex.layers.redis.queues import GIVE_BACK, POP, STAMP_LENGTH, Poppers
from fullduplex.layers.redis.subscriber import Subscriber, Subscription, Watchers
from fullduplex.layers.redis.topology import Topology
from fullduplex.watched import watched

logger = logging.getLogger("fullduplex.layers")


class LoopState:
    """What one event loop holds: its connections and its subscriptions.

    Args:
        on_close: called when everything was given back.
    """

    def __init__(
        self,
        topology: Topology,
        limits: RedisLimits,
        watchers: Watchers,
        histories: Histories,
        on_close: Callable[[], None],
    ) -> None:
        self._topology = topology
        self._limits = limits
        self._watchers = watchers
        self._on_close = on_close
        self._pipelines: dict[Host, Pipeline] = {}
        self._subscribers: dict[Host, Subscriber] = {}
        self._subscriptions: dict[bytes, Subscription] = {}
        self._strays: list[Subscription] = []
        self._rehoming: asyncio.Task[None] | None = None
        self._poppers: dict[bytes, Poppers] = {}
        self._histories = histories
        self._reading = asyncio.Semaphore(limits.max_reads_count)
        self.appends = Appends(self._append, limits)
        self._end = self._until_the_loop_ends()
        start(self._end)

    async def close(self) -> None:
        await self._end.aclose()

    async def _until_the_loop_ends(self) -> AsyncGenerator[None]:
        """Closes everything with the loop: ``asyncio.run`` and ``async_to_sync`` end their loops with
        ``shutdown_asyncgens()``, and nothing else tells that a loop is about to end."""
        try:
            yield
        finally:
            self._on_close()
            if self._rehoming is not None:
                self._rehoming.cancel()
            for poppers in tuple(self._poppers.values()):
                await poppers.close()
            for subscriber in self._subscribers.values():
                await subscriber.close()
            for pipeline in self._pipelines.values():
                await pipeline.close()
            await self.appends.close()
            await asyncio.sleep(0)  # transports close in the loop's next turn

    # Commands --------------------------------------------------------------------------------

    async def call(self, name: bytes, *command: Argument) -> Any:
        """Send a command to the server of ``name`` and return the reply; otherwise like :meth:`make`."""
        return await self.make(name, Once(*command))

    async def make(self, name: bytes, call: Once) -> Any:
        """Have the server of ``name`` do what is called for, and return the reply.

        Raises:
            LayerUnavailable: not answered within ``publish_timeout_s``; when the connection was lost before the
                answer, whether it was done is unknown.
            ChannelFull: so much waits for the server already that there was no room within that time.
        """
        host = self._topology.host_for(name)
        problem: LayerUnavailable | None = None
        attempt = 0
        try:
            async with asyncio.timeout(self._limits.publish_timeout_s):
                while True:
                    try:
                        host = await self._locate(name)
                        return await self._pipeline(host).call(call.packed())
                    except LayerUnavailable as error:
                        problem = error
                    except ResponseError as error:
                        problem = translate(error, host.label if host else "")
                        problem.__cause__ = error
                    if call.can_spell_out(problem):
                        continue
                    if not call.may_repeat(problem):
                        raise problem
                    await asyncio.sleep(backoff_s(attempt, self._limits))
                    attempt += 1
                    await self._refresh()
        except TimeoutError as error:
            raise self._too_late(host, problem) from (problem or error)

    async def _append(self, name: bytes, keep: Keep, entries: Sequence[Entry]) -> list[Position | None]:
        return self._histories.appended(await self.make(name, self._histories.append(name, keep, entries)))

    async def read(self, name: bytes, call: Once) -> Any:
        """Like :meth:`make`, of what has a long answer; of those only so many are under way.

        Raises:
            LayerUnavailable: see there; also, it had no turn within ``publish_timeout_s``.
        """
        try:
            async with asyncio.timeout(self._limits.publish_timeout_s):
                await self._reading.acquire()
        except TimeoutError as error:
            count, waited_s = self._limits.max_reads_count, self._limits.publish_timeout_s
            raise LayerUnavailable(
                f"Redis: {count} reads are under way, and it had no turn within {waited_s:g} s"
            ) from error
        try:
            return await self.make(name, call)
        finally:
            self._reading.release()

    def _too_late(self, host: Host | None, problem: BaseException | None) -> Exception:
        if problem is None and host is not None and self._pipeline(host).is_full:
            return ChannelFull(
                f"Redis at {host.label}: {self._limits.max_pending_bytes} bytes wait to be written to it"
            )
        told = problem or f"Redis at {host.label if host else 'unknown'}: no answer"
        return LayerUnavailable(f"{told} (gave up after {self._limits.publish_timeout_s:g} s)")

    async def _locate(self, name: bytes) -> Host:
        host = self._topology.host_for(name)
        if host is None:
            await ask_async(self._topology.refresh(), self._limits.connect_timeout_s)
            host = self._topology.host_for(name)
        if host is None:
            raise NotSent("no node of the cluster serves this slot")
        return host

    async def _refresh(self) -> None:
        try:
            await ask_async(self._topology.refresh(), self._limits.connect_timeout_s)
        except LayerUnavailable:
            pass  # the next attempt fails the same way, and tells

    def _pipeline(self, host: Host) -> Pipeline:
        pipeline = self._pipelines.get(host)
        if pipeline is None:
            pipeline = self._pipelines[host] = Pipeline(host, self._limits)
        return pipeline

    # Subscriptions ---------------------------------------------------------------------------

    async def subscribe(self, name: bytes, deliver: Callable[[bytes], None], on_gap: Gap | None) -> None:
        """Return when the server has confirmed.

        Raises:
            LayerUnavailable: it did not within ``subscribe_timeout_s``; nothing is subscribed then.
        """
        subscription = self._subscriptions.get(name)
        if subscription is None:
            subscription = self._subscriptions[name] = Subscription(name, deliver, on_gap)
            former = None
        else:
            former = (subscription.deliver, subscription.on_gap)
            subscription.deliver, subscription.on_gap = deliver, on_gap
        try:
            async with asyncio.timeout(self._limits.subscribe_timeout_s):
                if former is None:
                    await self._place(subscription)
                await subscription.wait_confirmed()
        except BaseException as error:
            await self._take_back(subscription, former)
            if isinstance(error, TimeoutError):
                raise self._unconfirmed(name) from error
            raise

    async def _place(self, subscription: Subscription) -> None:
        host = self._topology.host_for(subscription.name)
        if host is None:
            self._stray(subscription)
        else:
            await self._subscriber(host).add(subscription)

    async def _take_back(
        self, subscription: Subscription, former: tuple[Callable[[bytes], None], Gap | None] | None
    ) -> None:
        """A caller of subscribe gave up: others may be waiting for the same name, or had it before."""
        if subscription.lost and former is not None:
            subscription.deliver, subscription.on_gap = former
        elif not subscription.waiters:
            await self._drop(subscription)

    async def unsubscribe(self, name: bytes) -> None:
        subscription = self._subscriptions.get(name)
        if subscription is not None:
            await self._drop(subscription)

    def _unconfirmed(self, name: bytes) -> LayerUnavailable:
        host = self._topology.host_for(name)
        problem = self._subscriber(host).last_error if host is not None else None
        told = problem or "Redis has not confirmed"
        return LayerUnavailable(f"{told} (gave up subscribing after {self._limits.subscribe_timeout_s:g} s)")

    async def _drop(self, subscription: Subscription) -> None:
        if self._subscriptions.get(subscription.name) is subscription:
            del self._subscriptions[subscription.name]
        if subscription in self._strays:
            self._strays.remove(subscription)
        subscription.refuse(LayerUnavailable("the subscription was ended before it was confirmed"))
        for subscriber in tuple(self._subscribers.values()):
            await subscriber.remove(subscription)

    def _subscriber(self, host: Host) -> Subscriber:
        subscriber = self._subscribers.get(host)
        if subscriber is None:
            subscriber = self._subscribers[host] = Subscriber(
                host, self._topology, self._limits, self._watchers, self._move, self._stray
            )
        return subscriber

    # Queues ----------------------------------------------------------------------------------

    async def pop(self, key: bytes) -> bytes:
        """Take the oldest entry of a queue; wait for one."""
        poppers = self._poppers.get(key)
        if poppers is None:
            poppers = self._poppers[key] = self._make_poppers(key)
        return (await poppers.pop())[STAMP_LENGTH:]

    async def pop_now(self, key: bytes) -> bytes | None:
        """Take the oldest entry of a queue; None when there is none."""
        entry: bytes | None = await self.call(key, "EVAL", POP, 1, key)
        return None if entry is None else entry[STAMP_LENGTH:]

    def _make_poppers(self, key: bytes) -> Poppers:
        return Poppers(
            take=lambda: self.call(key, "EVAL", POP, 1, key),
            give_back=lambda entry: self.call(key, "EVAL", GIVE_BACK, 1, key, entry, self._topology.publish),
            subscribe=lambda wake: self.subscribe(key, lambda data: wake(), wake),
            unsubscribe=lambda: self.unsubscribe(key),
            on_end=lambda: self._poppers.pop(key),
        )

    # Single servers --------------------------------------------------------------------------

    async def servers(self) -> list[Host]:
        """All servers there are, as far as is known."""
        await self._refresh()
        return self._topology.servers()

    async def ask(self, host: Host, *command: Argument) -> Any:
        """Send a command to one server, whatever it serves.

        Raises:
            LayerUnavailable: no answer.
        """
        try:
            async with asyncio.timeout(self._limits.publish_timeout_s):
                return await self._pipeline(host).call(pack(*command))
        except (TimeoutError, ResponseError) as error:
            raise translate(error, host.label) from error

    # When names move between the nodes of a cluster ------------------------------------------

    async def _move(self, subscriber: Subscriber) -> None:
        """A connection was lost: perhaps others serve its names now."""
        await self._refresh()
        for subscription in subscriber.subscriptions:
            host = self._topology.host_for(subscription.name)
            if host not in (None, subscriber.host) and subscriber.take(subscription):
                self._stray(subscription)

    def _stray(self, subscription: Subscription) -> None:
        self._strays.append(subscription)
        if self._rehoming is None:
            self._rehoming = asyncio.get_running_loop().create_task(self._rehome())

    async def _rehome(self) -> None:
        try:
            await watched("Subscribing to names that have moved", self._place_strays, logger)
        finally:
            self._rehoming = None

    async def _place_strays(self) -> None:
        attempt = 0
        while self._strays:
            await asyncio.sleep(backoff_s(attempt, self._limits))
            attempt += 1
            await self._refresh()
            for subscription in [*self._strays]:
                host = self._topology.host_for(subscription.name)
                if host is not None and subscription in self._strays:
                    self._strays.remove(subscription)
                    try:
                        await self._subscriber(host).add(subscription)
                    except BaseException:
                        if self._subscriptions.get(subscription.name) is subscription:
                            self._strays.append(subscription)
                        raise


def start(generator: AsyncGenerator[None]) -> None:
    """Run to the first ``yield``, which makes the loop know of it: it is closed when the loop ends."""
    try:
        generator.asend(None).send(None)
    except StopIteration:
        pass

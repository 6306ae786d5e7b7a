"""One event stream: its groups, and the bytes that wait for the server to take them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from functools import partial
from typing import Any

from fullduplex.conf import get_settings
from fullduplex.endpoint import answers, grammar
from fullduplex.endpoint.subscription import Subscription
from fullduplex.exceptions import Disconnected
from fullduplex.layers.history import Position
from fullduplex.realtime.prepared import Prepared
from fullduplex.threads.hop import arelease_thread

#: The close code of who comes over plain HTTP.
GONE = 1006

_KIND = "event-stream"  # of a frame, among those of a message

_RETRY = b"retry: 1000\n\n"
_HEARTBEAT = b":\n\n"


class StreamWay:
    """The way to the client of one event stream. What waits is bounded; beyond it the stream ends, and is resumed.

    Attributes:
        ended: there is nothing to wait for any more.
    """

    def __init__(self) -> None:
        self._max_bytes = get_settings().outbox_max_bytes
        self._chunks: list[bytes] = []
        self._bytes = 0
        self._news = asyncio.Event()
        self._taken = asyncio.Event()
        self._taken.set()
        self.ended = False
        self.held_bytes = 0
        self.piece_bytes = self._max_bytes // 4
        self.turn = asyncio.Lock()

    def deliver(self, prepared: Prepared) -> None:
        if self._bytes + prepared.size_bytes > self._max_bytes:
            self.end()
        else:
            self._put(prepared)

    async def drained(self) -> None:
        await self._taken.wait()
        if self.ended:
            raise Disconnected()

    async def send_large(self, prepared: Prepared) -> None:
        await self.drained()
        self._put(prepared)
        await self.drained()

    def end(self) -> None:
        """End the stream; what waits is dropped."""
        self.ended = True
        self._chunks.clear()
        self.wake()
        self._taken.set()

    def wake(self) -> None:
        """Have ``take`` return."""
        self._news.set()

    async def take(self, wait_s: float) -> bytes:
        """Return what waits; nothing, when nothing has come for so long."""
        if not self._chunks and not self.ended:
            self._taken.set()
            self._news.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self._news.wait()
            except TimeoutError:
                return b""
        taken = b"".join(self._chunks)
        self._chunks.clear()
        self._bytes = 0
        return taken

    def _put(self, prepared: Prepared) -> None:
        if self.ended:
            return
        chunk = prepared.frames.get(_KIND)
        if chunk is None:
            chunk = prepared.frames[_KIND] = event_of(str(prepared.data))
        self._chunks.append(chunk)
        self._bytes += len(chunk)
        self._taken.clear()
        self._news.set()


class EventStream:
    """Serves one client of an endpoint by server-sent events.

    Args:
        after: the position in each group from which the client goes on; None: from now on.
        expires_in_s: the stream ends then, since its token does.
    """

    def __init__(
        self, hooks: answers.Hooks, groups: list[str], after: list[Position | None], expires_in_s: float | None
    ) -> None:
        self._hooks = hooks
        self._way = StreamWay()
        self._after = dict(zip(groups, after, strict=True))
        self._subscriptions: dict[str, Subscription] = {}
        self._expires_in_s = expires_in_s
        self._tasks: set[asyncio.Task[None]] = set()
        self._events = self._serve()
        self._has_begun = False

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> bytes:
        self._has_begun = True
        return await anext(self._events)

    async def aclose(self) -> None:
        """End it, also where the client left before it began."""
        if self._has_begun:
            await self._events.aclose()
        else:
            self._has_begun = True
            await self._hooks.on_disconnect(GONE)

    @property
    def groups(self) -> list[str]:
        return list(self._subscriptions)

    async def _serve(self) -> AsyncGenerator[bytes, None]:
        """Subscribe, and give what there is, until the client leaves or nothing more can come."""
        hooks, way = self._hooks, self._way
        expiry = subscribing = None
        if self._expires_in_s is not None:
            expiry = asyncio.get_running_loop().call_later(self._expires_in_s, way.end)
        hooks.serving = self
        try:
            yield _RETRY + event_of(answers.welcome(hooks))
            subscribing = self._start(self._subscribe_all())  # however long that takes, the client gets its heartbeat
            subscribing.add_done_callback(self._note_subscribed)
            while True:
                taken = await way.take(hooks.heartbeat_s)
                if taken:
                    yield taken + b"id: " + self._event_id().encode() + b"\n\n"
                if way.ended:
                    return
                if subscribing.done():
                    subscribing.result()
                    if not self._subscriptions:
                        return
                if not taken:
                    yield _HEARTBEAT
        finally:
            if expiry is not None:
                expiry.cancel()
            hooks.serving = None
            try:
                if subscribing is not None:
                    subscribing.cancel()
                await self._stop()
            finally:
                await hooks.on_disconnect(GONE)

    def end(self, group: str, code: str, reason: str) -> None:
        """End a subscription, and tell the client."""
        subscription = self._subscriptions.pop(group, None)
        if subscription is None:
            return
        self._after[group] = None
        self._tell_unsubscribed(group, code, reason)
        self._start(subscription.stop())

    async def _subscribe_all(self) -> None:
        for group in self._after:
            await self._subscribe(group)
        await arelease_thread()

    def _note_subscribed(self, subscribing: asyncio.Task[None]) -> None:
        if not self._subscriptions or subscribing.cancelled() or subscribing.exception() is not None:
            self._way.wake()

    async def _subscribe(self, group: str) -> None:
        refused = await answers.answered(self._hooks, None, "subscribe", partial(self._begin, group))
        if refused is not None:
            error = grammar.read_message(refused)
            self._after[group] = None
            self._tell_unsubscribed(group, error["code"], error["message"])

    async def _begin(self, group: str) -> None:
        await answers.check_subscribe(self._hooks, group)
        subscription = Subscription(group, self._way, self._ended)
        await subscription.start(None, self._after[group])
        if self._way.ended:
            await subscription.stop()
        else:
            self._subscriptions[group] = subscription

    async def _stop(self) -> None:
        self._way.end()
        while self._subscriptions:  # in tasks of their own, which go on when this call is cancelled
            _, subscription = self._subscriptions.popitem()
            self._start(subscription.stop())
        if self._tasks:
            await asyncio.wait([*self._tasks])

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _ended(self, subscription: Subscription, code: str, reason: str) -> None:
        if self._subscriptions.get(subscription.group) is subscription:
            self.end(subscription.group, code, reason)

    def _tell_unsubscribed(self, group: str, code: str, reason: str) -> None:
        self._way.deliver(Prepared(grammar.write(grammar.unsubscribed(group, code, reason))))

    def _event_id(self) -> str:
        """Where the client is in each group, when it has read what was taken."""
        positions = []
        for group, after in self._after.items():
            subscription = self._subscriptions.get(group)
            positions.append(subscription.position if subscription is not None else after)
        return grammar.write_event_id(positions)


def event_of(text: str) -> bytes:
    """Return an event; ``text`` is one line."""
    return b"data: " + text.encode() + b"\n\n"

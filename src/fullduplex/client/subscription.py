"""One subscription: its position, and what waits for the application.

::

    WAITING ──subscribe──> ASKED ──subscribed──> LIVE ──too much waits for the application──> FULL
       ^                     │  ^                  │                                            │
       └──── connection lost ┴──┼──────────────────┘                    the application has taken half of it
                                └───────────────────────────────────────────────────────────────┘

What waits is bounded. At the bound the connection is not read for a moment, in which an application that takes what
comes makes room, however small the buffer: nothing is sent twice. Behind one that is slower the client unsubscribes
from the group and drops what still comes; when the application has taken half of what waits, it subscribes again where
it was. So a slow loop costs no memory, delays no other group for longer than that moment, and in a group that keeps a
history loses nothing.
"""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Protocol

from fullduplex.client.messages import Event, Gap, Message, Position, Subscribed, data_of, position_of

PATIENCE_S = 0.5  # for so long a subscription may keep the connection from being read, until it begins again


class State(enum.Enum):
    WAITING = enum.auto()
    ASKED = enum.auto()
    LIVE = enum.auto()
    FULL = enum.auto()
    ENDED = enum.auto()


class Owner(Protocol):
    """The client, as its subscriptions see it."""

    def subscribe_again(self, subscription: Subscription) -> None: ...

    def pause(self, subscription: Subscription) -> None: ...

    async def end_subscription(self, subscription: Subscription) -> None: ...


class Subscription:
    """The events of one group, for ``async for``; one task at a time iterates. Leaving ``async with`` unsubscribes.

    Attributes:
        group: its name.
        position: of the last message that the client was sent; keep it, to go on from there with another client.
    """

    def __init__(self, owner: Owner, group: str, after: Position | None, max_buffer_bytes: int) -> None:
        self.group = group
        self.position = after
        self.state = State.WAITING
        self.attempt = 0  # how often it was refused for now
        self._owner = owner
        self._max_bytes = max_buffer_bytes
        self._events: deque[tuple[Event, int]] = deque()
        self._bytes = 0
        self._news = asyncio.Event()
        self._taken = asyncio.Event()
        self._error: Exception | None = None
        self._was_live = False
        self._patience_s = PATIENCE_S

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        """Return the next event; the iteration ends with the subscription.

        Raises:
            RequestFailed: the server refuses it.
            ClientClosed: the server has closed the client for good.
        """
        while not self._events:
            if self.state is State.ENDED:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        event, size_bytes = self._events.popleft()
        self._bytes -= size_bytes
        self._taken.set()
        if self.state is State.FULL and self._bytes <= self._max_bytes // 2:
            self._owner.subscribe_again(self)
        return event

    async def messages(self) -> AsyncIterator[Message]:
        """The messages alone, for those to whom gaps mean nothing."""
        async for event in self:
            if isinstance(event, Message):
                yield event

    async def unsubscribe(self) -> None:
        """End it; what waits can still be read."""
        if self.state is not State.ENDED:
            await self._owner.end_subscription(self)

    async def __aenter__(self) -> Subscription:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.unsubscribe()

    # From the client -------------------------------------------------------------------------

    def take(self, told: dict[str, Any], size_bytes: int) -> None:
        """Take what the server says of this group."""
        if told["type"] == "subscribed":
            self.state = State.LIVE
            self._subscribed(told)
        elif self.state is not State.LIVE:
            return  # of the subscription before
        elif told["type"] == "message":
            self._message(told, size_bytes)
        else:
            self.position = position_of(told)
            self._put(Gap(self.group, self.position), 0)

    def has_room(self, size_bytes: int) -> bool:
        return self._bytes + size_bytes <= self._max_bytes or not self._events

    async def make_room(self, size_bytes: int) -> None:
        """Wait until the application has taken enough, or patience is at its end."""
        loop = asyncio.get_running_loop()
        begin_s = loop.time()
        try:
            async with asyncio.timeout(self._patience_s):
                while self.state is State.LIVE and not self.has_room(size_bytes):
                    self._taken.clear()
                    await self._taken.wait()
        except TimeoutError:
            pass
        self._patience_s = max(self._patience_s - (loop.time() - begin_s), 0.0)

    def lost(self) -> None:
        """The connection is gone."""
        if self.state is not State.ENDED:
            self.state = State.WAITING if self._bytes <= self._max_bytes // 2 else State.FULL

    def end(self, error: Exception | None) -> None:
        if self.state is not State.ENDED:
            self.state = State.ENDED
            self._error = error
            self._news.set()
            self._taken.set()

    def _subscribed(self, told: dict[str, Any]) -> None:
        # Without a position nothing was asked for, so the server knows of nothing that is missing.
        recovered = told["recovered"] and (self.position is not None or not self._was_live)
        self._was_live = True
        self.attempt = 0
        self._patience_s = PATIENCE_S
        self.position = position_of(told)
        self._put(Subscribed(self.group, recovered, self.position, told.get("latest")), 0)

    def _message(self, told: dict[str, Any], size_bytes: int) -> None:
        offset, position = told.get("offset"), self.position
        if offset is not None and position is not None:
            if offset <= position.offset:
                return  # a duplicate
            if not self.has_room(size_bytes):
                self._fill()
                return
            position = self.position = Position(offset, position.epoch)
        else:
            if not self.has_room(size_bytes):
                self._fill()
                return
            position = None
        self._put(Message(self.group, data_of(told), position), size_bytes)

    def _fill(self) -> None:
        self.state = State.FULL
        self._owner.pause(self)

    def _put(self, event: Event, size_bytes: int) -> None:
        self._events.append((event, size_bytes + _ENTRY_BYTES))
        self._bytes += size_bytes + _ENTRY_BYTES
        self._news.set()


_ENTRY_BYTES = 256  # what an event costs beside its text

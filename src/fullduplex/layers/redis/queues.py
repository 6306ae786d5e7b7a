"""Queues: what is pushed waits on the server until one of those who pop takes it.

No command blocks on the server. A push wakes the poppers by pub/sub, over the subscription connection that
there is anyway, and they then take without waiting; so a popper that is cancelled can give back what it took.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

# Each entry begins with the time of its expiry, 13 digits of milliseconds by the server's clock.
# KEYS[1] the queue; ARGV: data, capacity, expiry in ms, the command that wakes.
PUSH = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local head = redis.call('LINDEX', KEYS[1], 0)
while head and tonumber(string.sub(head, 1, 13)) <= now do
  redis.call('LPOP', KEYS[1])
  head = redis.call('LINDEX', KEYS[1], 0)
end
if redis.call('LLEN', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('RPUSH', KEYS[1], string.format('%013.0f', now + ARGV[3]) .. ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call(ARGV[4], KEYS[1], '')
return 1
"""
# Returns the whole entry, so that it can be given back as it was.
POP = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local head = redis.call('LPOP', KEYS[1])
while head and tonumber(string.sub(head, 1, 13)) <= now do
  head = redis.call('LPOP', KEYS[1])
end
return head
"""
# ARGV: the entry, and the command that wakes.
GIVE_BACK = """
local t = redis.call('TIME')
local left = tonumber(string.sub(ARGV[1], 1, 13)) - t[1] * 1000
if left <= 0 then return 0 end
redis.call('LPUSH', KEYS[1], ARGV[1])
if redis.call('PTTL', KEYS[1]) < left then redis.call('PEXPIRE', KEYS[1], math.ceil(left)) end
redis.call(ARGV[2], KEYS[1], '')
return 1
"""
STAMP_LENGTH = 13

# A popper asks that often without having been woken: only a wake-up lost with its connection makes it wait so long.
_POLL_S = 5.0
# The subscription to wake-ups outlives the last popper for so long: workers come back for the next message at once.
_LINGER_S = 10.0


class Poppers:
    """Those who pop from one queue on one loop.

    Args:
        take: takes one entry, or returns None.
        give_back: puts an entry in front again.
        subscribe, unsubscribe: start and end the wake-ups, which call :meth:`wake`.
        on_end: called when nobody has popped for a while.
    """

    def __init__(
        self,
        *,
        take: Callable[[], Awaitable[bytes | None]],
        give_back: Callable[[bytes], Awaitable[Any]],
        subscribe: Callable[[Callable[[], None]], Awaitable[None]],
        unsubscribe: Callable[[], Awaitable[None]],
        on_end: Callable[[], object],
    ) -> None:
        self._take = take
        self._give_back = give_back
        self._subscribe = subscribe
        self._unsubscribe = unsubscribe
        self._on_end = on_end
        self._woken: set[asyncio.Event] = set()
        self._subscribing: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._closed = False

    def wake(self) -> None:
        for event in self._woken:
            event.set()

    async def pop(self) -> bytes:
        woken = asyncio.Event()
        self._woken.add(woken)
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        try:
            await self._ready()
            while True:
                woken.clear()
                entry = await self._take_safely()
                if entry is not None:
                    return entry
                try:
                    async with asyncio.timeout(_POLL_S):
                        await woken.wait()
                except TimeoutError:
                    pass
        finally:
            self._woken.discard(woken)
            if not self._woken and not self._closed:
                self._ending = asyncio.get_running_loop().create_task(self._end())

    async def close(self) -> None:
        """Before the connections close: those who wait then ask, and hear of it."""
        self._closed = True
        self.wake()
        if self._ending is not None:
            self._ending.cancel()
            await asyncio.wait({self._ending})

    # Inside ----------------------------------------------------------------------------------

    async def _ready(self) -> None:
        """Wait until wake-ups arrive; several poppers share one attempt."""
        if self._subscribing is None or (self._subscribing.done() and self._failed(self._subscribing)):
            self._subscribing = asyncio.get_running_loop().create_task(self._subscribe(self.wake))  # type: ignore[arg-type]
        await asyncio.shield(self._subscribing)

    @staticmethod
    def _failed(task: asyncio.Task[None]) -> bool:
        return task.cancelled() or task.exception() is not None

    async def _take_safely(self) -> bytes | None:
        """Take an entry; when cancelled meanwhile, give it back before the cancellation goes on."""
        taking = asyncio.ensure_future(self._take())
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            entry = await taking
            if entry is not None:
                await self._give_back(entry)
            raise

    async def _end(self) -> None:
        await asyncio.sleep(_LINGER_S)
        self._subscribing = None
        self._on_end()
        await self._unsubscribe()

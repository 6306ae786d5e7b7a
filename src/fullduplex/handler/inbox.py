"""The way in of one socket: messages, and the news that the client left.

In ASGI both come out of one queue, so a disconnect shows only when all that came before it has been
taken. A view that pushes and never receives would keep a dead socket for ever; one that reads
everything ahead lets the client fill the memory. So the inbox reads ahead within a byte bound: up to
it a disconnect is noticed at once, above it the server's flow control holds the client, and the
disconnect shows when the view receives or sends.

Our own server reads ahead itself and tells of the end (``on_disconnect`` of ``fullduplex.prepared``): there, sockets
have no inbox.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from sys import getsizeof

from fullduplex.asgi import Event, Receive
from fullduplex.exceptions import Disconnected


class Inbox:
    """Reads ahead from the server's ``receive``, at most ``max_bytes`` and one message.

    Args:
        receive: the server's.
        max_bytes: the bound.
        on_left: called once, with code and reason, when the client is gone.

    Attributes:
        left: the news that the client is gone, or None.
    """

    def __init__(self, receive: Receive, max_bytes: int, on_left: Callable[[int, str], None]) -> None:
        self.left: Disconnected | None = None
        self._server_receive = receive
        self._max_bytes = max_bytes
        self._on_left = on_left
        self._events: deque[Event] = deque()
        self._event_bytes = 0
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    async def pump(self) -> None:
        """Read until the client is gone. Cancelled, it tells nobody but who receives: the socket is being closed."""
        try:
            while self.left is None:
                await self._room.wait()
                event = await self._server_receive()
                if event["type"] == "websocket.disconnect":
                    self.lost(event.get("code") or 1005, event.get("reason") or "")
                else:
                    self._put(event)
        except OSError:
            pass
        except asyncio.CancelledError:
            self._on_left = _tell_nobody
            raise
        finally:
            self.lost()

    async def receive(self) -> Event:
        """The ASGI ``receive`` of the view: messages in order, then ``websocket.disconnect`` each time."""
        while not self._events:
            if self.left is not None:
                return {"type": "websocket.disconnect", "code": self.left.code, "reason": self.left.reason}
            self._news.clear()
            await self._news.wait()
        event = self._events.popleft()
        self._event_bytes -= _size(event)
        if self._event_bytes <= self._max_bytes:
            self._room.set()
        return event

    def lost(self, code: int = 1006, reason: str = "") -> None:
        """Note that the client is gone; the first news counts."""
        if self.left is None:
            self.left = Disconnected(code, reason)
            self._news.set()
            self._on_left(code, reason)

    def _put(self, event: Event) -> None:
        self._events.append(event)
        self._event_bytes += _size(event)
        if self._event_bytes > self._max_bytes:
            self._room.clear()
        self._news.set()


def _tell_nobody(code: int, reason: str) -> None:
    pass


def _size(event: Event) -> int:
    """Bytes that the event holds in memory: an empty message is not free."""
    return getsizeof(event) + getsizeof(event.get("text")) + getsizeof(event.get("bytes"))

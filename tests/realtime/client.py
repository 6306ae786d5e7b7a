"""A client under the test's control, as an outbox sees it: with the server's extension, and without."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fullduplex.exceptions import Disconnected
from fullduplex.realtime.outbox import Outbox
from fullduplex.realtime.prepared import Prepared


class FakeClient:
    """Takes messages at once, unless it is ``slow``.

    Args:
        extension: the server has ``fullduplex.prepared``.
        options: of the outbox.

    Attributes:
        received: messages, and of other events the type, in the order of the wire.
        overflow: what ``on_overflow`` was told.
        slow: with the extension: what is written stays in the server's buffer; without: ``send`` waits.
        error: what ``write`` and ``send`` raise.
        sending: how many calls of ``send`` have not returned.
    """

    def __init__(self, *, extension: bool, **options: Any) -> None:
        self.received: list[str | bytes] = []
        self.overflow: list[tuple[int, str]] = []
        self.slow = False
        self.error: Exception | None = None
        self.sending = 0
        self.buffered_bytes = 0
        self._drained = asyncio.Event()
        self._callbacks: list[Callable[[], None]] = []
        prepared = {"version": 1, "write": self._write, "on_drain": self._on_drain}
        scope = {"extensions": {"fullduplex.prepared": prepared} if extension else {}}
        self.outbox = Outbox(scope, self._send, lambda code, reason: self.overflow.append((code, reason)), **options)

    def deliver(self, *messages: str | bytes, group: str = "g") -> None:
        for message in messages:
            self.outbox.deliver(Prepared(message, group))

    async def send(self, text: str) -> None:
        await self.outbox.send({"type": "websocket.send", "text": text})

    def reads(self) -> None:
        """Take everything, and go on taking."""
        self.slow = False
        self.buffered_bytes = 0
        self._drained.set()
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def _write(self, prepared: Prepared) -> int:
        if self.error is not None:
            raise self.error
        self.received.append(prepared.data)
        if self.slow:
            self.buffered_bytes += prepared.size_bytes
        return self.buffered_bytes

    def _on_drain(self, callback: Callable[[], None]) -> None:
        if self.buffered_bytes:
            self._callbacks.append(callback)
        else:
            callback()

    async def _send(self, event: Any) -> None:
        if self.error is not None:
            raise self.error
        data = event.get("text", event.get("bytes"))
        self.received.append(data if data is not None else event["type"].removeprefix("websocket."))
        self.sending += 1
        try:
            while self.slow and event["type"] == "websocket.send":
                self._drained.clear()
                await self._drained.wait()
        finally:
            self.sending -= 1


GONE = Disconnected(1001, "away")

"""A channel layer of a third party under our groups: anything that has ``group_send``, unchanged.

Each event loop has one channel on it, from which one task receives for all groups. What such a layer promises is its
own business: most of them drop messages above a capacity.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from asgiref.sync import async_to_sync

from fullduplex.layers.base import BaseLayer, Deliver, Gap, Message
from fullduplex.watched import watched

logger = logging.getLogger("fullduplex.layers")

# Layers of Channels forget members after a day ("group_expiry").
_RENEWAL_S = 3600.0

_TYPE = "fullduplex.message"


class AdoptedLayer(BaseLayer):
    """Carries the messages of groups over a channel layer.

    Args:
        channel_layer: with ``new_channel``, ``receive``, ``group_add``, ``group_discard`` and ``group_send``.
    """

    def __init__(self, channel_layer: Any) -> None:
        self.channel_layer = channel_layer
        self._receivers: dict[asyncio.AbstractEventLoop, _Receiver] = {}

    async def close(self) -> None:
        receiver = self._receivers.pop(asyncio.get_running_loop(), None)
        if receiver is not None:
            await receiver.close()

    def publish(self, group: str, message: Message) -> None:
        async_to_sync(self.apublish)(group, message)

    async def apublish(self, group: str, message: Message) -> None:
        kind = "text" if isinstance(message, str) else "bytes"
        await self.channel_layer.group_send(group, {"type": _TYPE, "group": group, kind: message})

    async def subscribe(self, group: str, deliver: Deliver, on_gap: Gap | None = None) -> None:
        """It cannot tell of gaps: ``on_gap`` is not called."""
        loop = asyncio.get_running_loop()
        for closed in [other for other in self._receivers if other.is_closed()]:
            del self._receivers[closed]
        receiver = self._receivers.get(loop)
        if receiver is None:
            receiver = self._receivers[loop] = _Receiver(self.channel_layer)
        await receiver.subscribe(group, deliver)

    async def unsubscribe(self, group: str) -> None:
        receiver = self._receivers.get(asyncio.get_running_loop())
        if receiver is not None:
            await receiver.unsubscribe(group)
            if not receiver.groups:
                await self.close()


class _Receiver:
    """The channel of one loop."""

    def __init__(self, channel_layer: Any) -> None:
        self.groups: dict[str, Deliver] = {}
        self._layer = channel_layer
        self._opening = asyncio.Lock()
        self._channel = ""
        self._tasks: list[asyncio.Task[None]] = []

    async def subscribe(self, group: str, deliver: Deliver) -> None:
        async with self._opening:
            if not self._channel:
                self._channel = await self._layer.new_channel()
                loop = asyncio.get_running_loop()
                self._tasks = [
                    loop.create_task(watched("Receiving from the channel layer", self._receive, logger)),
                    loop.create_task(watched("Renewing memberships in groups", self._renew, logger)),
                ]
        is_new = group not in self.groups
        self.groups[group] = deliver
        if is_new:
            try:
                await self._layer.group_add(group, self._channel)
            except BaseException:
                self.groups.pop(group, None)
                raise

    async def unsubscribe(self, group: str) -> None:
        if self.groups.pop(group, None) is not None:
            await self._layer.group_discard(group, self._channel)

    async def close(self) -> None:
        for group in tuple(self.groups):
            await self.unsubscribe(group)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _receive(self) -> None:
        while True:
            event = await self._layer.receive(self._channel)
            deliver = self.groups.get(event["group"])
            if deliver is not None:
                text = event.get("text")
                deliver(text if text is not None else bytes(event["bytes"]))

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(_RENEWAL_S)
            for group in tuple(self.groups):
                try:
                    await self._layer.group_add(group, self._channel)
                except Exception:
                    logger.exception("The membership in the group %r could not be renewed", group)

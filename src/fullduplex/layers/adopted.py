"""A channel layer of a third party under our groups: anything that has ``group_send``, unchanged.

Each event loop has one channel on it for each of its groups, from which a task receives: what comes is whatever was
sent to the group, by us or by a consumer, and does not name it. What such a layer promises is its own business: most
of them drop messages above a capacity.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from asgiref.sync import async_to_sync

from fullduplex.failures import failures
from fullduplex.layers.base import BaseLayer, Deliver, Gap, Message
from fullduplex.layers.events import as_event, as_message
from fullduplex.watched import watched

logger = logging.getLogger("fullduplex.layers")

# Layers of Channels forget members after a day ("group_expiry").
_RENEWAL_S = 3600.0


class AdoptedLayer(BaseLayer):
    """Carries the messages of groups over a channel layer.

    Args:
        channel_layer: with ``new_channel``, ``receive``, ``group_add``, ``group_discard`` and ``group_send``.
    """

    def __init__(self, channel_layer: Any) -> None:
        self.channel_layer = channel_layer
        self._members: dict[asyncio.AbstractEventLoop, dict[str, _Member]] = {}

    async def close(self) -> None:
        for member in self._members.pop(asyncio.get_running_loop(), {}).values():
            await member.leave()

    def publish(self, group: str, message: Message) -> None:
        async_to_sync(self.apublish)(group, message)

    async def apublish(self, group: str, message: Message) -> None:
        await self.channel_layer.group_send(group, as_event(message))

    async def subscribe(self, group: str, deliver: Deliver, on_gap: Gap | None = None) -> None:
        """It cannot tell of gaps: ``on_gap`` is not called."""
        loop = asyncio.get_running_loop()
        for closed in [other for other in self._members if other.is_closed()]:
            del self._members[closed]
        members = self._members.setdefault(loop, {})
        if group in members:
            members[group].deliver = deliver
            return
        member = members[group] = _Member(self.channel_layer, group, deliver)
        try:
            await member.join()
        except BaseException:
            members.pop(group, None)
            raise

    async def unsubscribe(self, group: str) -> None:
        member = self._members.get(asyncio.get_running_loop(), {}).pop(group, None)
        if member is not None:
            await member.leave()


class _Member:
    """The channel of one loop in one group."""

    def __init__(self, channel_layer: Any, group: str, deliver: Deliver) -> None:
        self.deliver = deliver
        self._layer = channel_layer
        self._group = group
        self._channel = ""
        self._tasks: list[asyncio.Task[None]] = []

    async def join(self) -> None:
        self._channel = await self._layer.new_channel()
        await self._layer.group_add(self._group, self._channel)
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(watched("Receiving from the channel layer", self._receive, logger)),
            loop.create_task(watched("Renewing a membership in a group", self._renew, logger)),
        ]

    async def leave(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._channel:
            await self._layer.group_discard(self._group, self._channel)

    async def _receive(self) -> None:
        while True:
            event = await self._layer.receive(self._channel)
            try:
                message = as_message(event)
            except (TypeError, ValueError) as error:
                if failures().admits(logger, "Events cannot be sent to sockets", error):
                    logger.error("An event to the group %r cannot be sent to its sockets: %s", self._group, error)
                continue
            self.deliver(message)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(_RENEWAL_S)
            try:
                await self._layer.group_add(self._group, self._channel)
            except Exception:
                logger.exception("The membership in the group %r could not be renewed", self._group)

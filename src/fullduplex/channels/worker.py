"""A process that takes messages from channels of a layer and runs consumers for them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from asgiref.server import StatelessServer

from fullduplex.asgi import Application


class Worker(StatelessServer):
    """Runs one consumer for each channel, with the scope ``{"type": "channel", "channel": name}``.

    Raises:
        ValueError: there is no layer.
    """

    def __init__(
        self, application: Application, channels: Sequence[str], channel_layer: Any, max_applications: int = 1000
    ) -> None:
        super().__init__(application, max_applications)  # type: ignore[no-untyped-call]
        self.channels = channels
        self.channel_layer = channel_layer
        if self.channel_layer is None:
            raise ValueError("Channel layer is not valid")

    async def handle(self) -> None:
        """Listen on all channels; the first error ends the worker, and not only its channel as in Channels."""
        async with asyncio.TaskGroup() as listeners:
            for channel in self.channels:
                listeners.create_task(self.listener(channel))

    async def listener(self, channel: str) -> None:
        while True:
            message = await self.channel_layer.receive(channel)
            if not message.get("type"):
                raise ValueError("Worker received message with no type.")
            scope = {"type": "channel", "channel": channel}
            queue = self.get_or_create_application_instance(channel, scope)  # type: ignore[no-untyped-call]
            await queue.put(message)

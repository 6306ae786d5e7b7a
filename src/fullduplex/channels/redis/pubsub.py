"""``RedisPubSubChannelLayer``: general channels are broadcasts to whoever receives at the moment."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from fullduplex.channels.redis.layer import ProcessChannelLayer
from fullduplex.layers.base import Delivered, data_of


class RedisPubSubChannelLayer(ProcessChannelLayer):
    """Takes the CONFIG of ``channels_redis.pubsub.RedisPubSubChannelLayer``.

    Channels are bounded in bytes; in messages only where ``capacity`` or ``channel_capacity`` say so.
    """

    def __init__(
        self, hosts: Sequence[Any] | None = None, prefix: str = "asgi", *, capacity: int = sys.maxsize, **options: Any
    ) -> None:
        super().__init__(hosts, prefix, capacity=capacity, **{"random_prefix_length": 0, **options})

    async def new_channel(self, prefix: str = "specific.") -> str:
        return await super().new_channel(prefix)

    async def group_add(self, group: str, channel: str) -> None:
        """
        Raises:
            RuntimeError: ``channel`` was not made by this layer object.
        """
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        if "!" not in channel or self.client_prefix not in channel:
            raise RuntimeError(
                "You can only call group_add() on channels that exist in-process.\n"
                "Consumers are encouraged to use the common pattern:\n"
                f"   self.channel_layer.group_add({group!r}, self.channel_name)"
            )
        await super().group_add(group, channel)

    def _check(self, message: object) -> None:
        """Whatever the serializer takes."""

    async def send_general(self, channel: str, data: bytes) -> None:
        await self.layer.apublish(f"channel:{channel}", data)

    async def _receive_general(self, channel: str) -> bytes:
        boxes = self._get_layer().mailboxes

        def take(delivered: Delivered) -> None:
            boxes.put(channel, _bytes(data_of(delivered)))

        await self.layer.subscribe(f"channel:{channel}", take)
        try:
            return await boxes.get(channel)
        finally:
            if channel not in boxes.awaited:
                await self.layer.unsubscribe(f"channel:{channel}")


def _bytes(message: str | bytes) -> bytes:
    return message if isinstance(message, bytes) else message.encode()

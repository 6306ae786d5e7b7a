"""``RedisChannelLayer``: general channels are queues, from which one worker takes each message."""

from __future__ import annotations

from fullduplex.channels.redis.layer import ProcessChannelLayer
from fullduplex.exceptions import ChannelFull

__all__ = ["ChannelFull", "RedisChannelLayer"]


class RedisChannelLayer(ProcessChannelLayer):
    """Takes the CONFIG of ``channels_redis.core.RedisChannelLayer``.

    What is sent to a general channel waits on the server until a worker receives it, for ``expiry`` seconds, and
    up to the capacity of the channel; above it ``send`` raises :class:`ChannelFull`.
    """

    async def send_general(self, channel: str, data: bytes) -> None:
        await self.layer.push(channel, data, capacity=self.get_capacity(channel), expiry_s=self.expiry)

    async def _receive_general(self, channel: str) -> bytes:
        message = await self.layer.pop(channel)
        return message if isinstance(message, bytes) else message.encode()

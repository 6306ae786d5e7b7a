"""The channel layers of channels_redis by name: ``core.RedisChannelLayer`` and ``pubsub.RedisPubSubChannelLayer``.

Both stand on :class:`fullduplex.layers.redis.RedisLayer`. Redis stores what is sent to general channels, until a
worker takes it, and nothing else: who is in a group, only the process of the channel knows, and it subscribes once.
"""

import fullduplex.layers.redis  # noqa: F401  # first: it says which extra is missing

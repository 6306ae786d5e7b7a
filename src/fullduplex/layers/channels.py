"""The channel layer API of Channels: dict messages to named channels, and to groups of channels.

Consumers speak it. ``get_channel_layer()`` finds the layer in ``CHANNEL_LAYERS``, the same setting that
:func:`fullduplex.layers.get_layer` reads: one entry serves consumers and :class:`~fullduplex.Group` alike.

Source: https://channels.readthedocs.io/en/stable/channel_layer_spec.html
"""

from __future__ import annotations

import fnmatch
import re
import warnings
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from fullduplex.exceptions import ConfigurationError, InvalidChannelLayerError
from fullduplex.layers.base import BaseLayer
from fullduplex.layers.configured import MEMORY_LAYER, entry, implied, own_layer
from fullduplex.layers.serving import SETTING, in_process_allowed

DEFAULT_CHANNEL_LAYER = "default"

Message = dict[str, Any]

# What stands in a project's settings, and the class that speaks this API for it. By path: the layers of brokers come
# with their own dependencies.
_MEMORY = "fullduplex.layers.channels_memory.InMemoryChannelLayer"
_REDIS_LAYER = "fullduplex.layers.redis.RedisLayer"
_REDIS = "fullduplex.channels.redis.core.RedisChannelLayer"
_REDIS_PUBSUB = "fullduplex.channels.redis.pubsub.RedisPubSubChannelLayer"
_ALIASES = {
    "fullduplex.layers.memory.MemoryLayer": _MEMORY,
    "channels.layers.InMemoryChannelLayer": _MEMORY,
    _REDIS_LAYER: _REDIS,
    "channels_redis.core.RedisChannelLayer": _REDIS,
    "channels_redis.pubsub.RedisPubSubChannelLayer": _REDIS_PUBSUB,
}


class BaseChannelLayer:
    """What channel layers have in common: rules for names, and capacities.

    Args:
        expiry: seconds after which a message that nobody has received is dropped.
        capacity: messages that may wait on one channel.
        channel_capacity: other capacities, by glob or compiled pattern of the channel's name; the first match counts.
    """

    MAX_NAME_LENGTH = 100

    channel_name_regex = re.compile(r"[a-zA-Z\d\-_.]+(![\w\-.]*)?", re.ASCII)
    group_name_regex = re.compile(r"[a-zA-Z\d\-_.]+", re.ASCII)
    invalid_name_error = (
        f"{{}} name must be a valid unicode string with length < {MAX_NAME_LENGTH} "
        "containing only ASCII alphanumerics, hyphens, underscores, or periods."
    )

    def __init__(
        self, expiry: float = 60, capacity: int = 100, channel_capacity: Mapping[Any, int] | None = None
    ) -> None:
        self.expiry = expiry
        self.capacity = capacity
        self.channel_capacity: Any = self.compile_capacities(channel_capacity or {})

    # Capacities ------------------------------------------------------------------------------

    def compile_capacities(self, channel_capacity: Mapping[Any, int]) -> list[tuple[re.Pattern[str], int]]:
        """Return pairs of pattern and capacity, as :meth:`get_capacity` looks for them."""
        return [
            (key if hasattr(key, "match") else re.compile(fnmatch.translate(key)), capacity)
            for key, capacity in channel_capacity.items()
        ]

    def get_capacity(self, channel: str) -> int:
        """Return how many messages may wait on ``channel``."""
        for pattern, capacity in self.channel_capacity:
            if pattern.match(channel):
                return int(capacity)
        return self.capacity

    # Names -----------------------------------------------------------------------------------

    def match_type_and_length(self, name: object) -> bool:
        return isinstance(name, str) and len(name) < self.MAX_NAME_LENGTH

    def require_valid_channel_name(self, name: str, receive: bool = False) -> bool:
        """Return True.

        Raises:
            TypeError: ``name`` is no name for a channel, or with ``receive`` is none to receive from.
        """
        if not (self.match_type_and_length(name) and self.channel_name_regex.fullmatch(name)):
            raise TypeError(self.invalid_name_error.format("Channel"))
        if receive and "!" in name and not name.endswith("!"):
            raise TypeError("Specific channel names in receive() must end at the !")
        return True

    def require_valid_group_name(self, name: str) -> bool:
        """Return True.

        Raises:
            TypeError: ``name`` is no name for a group.
        """
        if not (self.match_type_and_length(name) and self.group_name_regex.fullmatch(name)):
            raise TypeError(self.invalid_name_error.format("Group"))
        return True

    def valid_channel_names(self, names: list[str], receive: bool = False) -> bool:
        if not (names and isinstance(names, list)):
            raise AssertionError("names must be a non-empty list")
        return all(self.require_valid_channel_name(name, receive=receive) for name in names)

    def non_local_name(self, name: str) -> str:
        """Return the part that processes share: up to and with the ``!`` where there is one."""
        head, mark, _ = name.partition("!")
        return head + mark

    def valid_channel_name(self, channel_name: str, receive: bool = False) -> bool:
        """Deprecated by Channels in favour of :meth:`require_valid_channel_name`."""
        _deprecated("valid_channel_name", "require_valid_channel_name")
        return self.require_valid_channel_name(channel_name, receive=receive)

    def valid_group_name(self, group_name: str) -> bool:
        """Deprecated by Channels in favour of :meth:`require_valid_group_name`."""
        _deprecated("valid_group_name", "require_valid_group_name")
        return self.require_valid_group_name(group_name)

    # What a layer does -----------------------------------------------------------------------

    async def send(self, channel: str, message: Message) -> None:
        """Send to one channel.

        Raises:
            ChannelFull: too many messages wait on it.
        """
        raise NotImplementedError("send() should be implemented in a channel layer")

    async def receive(self, channel: str) -> Message:
        """Return the next message of a channel; of several receivers one gets it."""
        raise NotImplementedError("receive() should be implemented in a channel layer")

    async def new_channel(self, prefix: str = "specific") -> str:
        """Return the name of a channel that this process alone receives from."""
        raise NotImplementedError("new_channel() should be implemented in a channel layer")

    async def flush(self) -> None:
        raise NotImplementedError("flush() not implemented (flush extension)")

    async def group_add(self, group: str, channel: str) -> None:
        raise NotImplementedError("group_add() not implemented (groups extension)")

    async def group_discard(self, group: str, channel: str) -> None:
        raise NotImplementedError("group_discard() not implemented (groups extension)")

    async def group_send(self, group: str, message: Message) -> None:
        raise NotImplementedError("group_send() not implemented (groups extension)")

    async def discard_channel(self, channel: str) -> None:
        """Forget a channel of this process whose receiver has ended: what waits on it, and its groups.

        Ours beside Channels' API; consumers call it where a layer has it.
        """


class ChannelLayerManager:
    """The channel layers of ``CHANNEL_LAYERS`` by alias, each made when it is first asked for.

    Attributes:
        backends: those that have been made.
    """

    def __init__(self) -> None:
        self.backends: dict[str, Any] = {}
        setting_changed.connect(self._reset_backends)

    @property
    def configs(self) -> dict[str, Any]:
        """``CHANNEL_LAYERS``; without it the in-process layer, where that reaches every member."""
        configs: dict[str, Any] = getattr(settings, SETTING, None) or {}
        if not configs and in_process_allowed() and implied() == MEMORY_LAYER:
            return {DEFAULT_CHANNEL_LAYER: {"BACKEND": _MEMORY}}
        return configs

    def make_backend(self, name: str) -> Any:
        """Make a layer with its CONFIG.

        Raises:
            KeyError: there is no such alias.
            InvalidChannelLayerError: its entry is wrong.
        """
        return self._make_backend(name, self.configs[name].get("CONFIG", {}))

    def make_test_backend(self, name: str) -> Any:
        """Make a layer with its TEST_CONFIG.

        Raises:
            InvalidChannelLayerError: it has none, or its entry is wrong.
        """
        try:
            config = self.configs[name]["TEST_CONFIG"]
        except KeyError:
            raise InvalidChannelLayerError(f"No TEST_CONFIG specified for {name}") from None
        return self._make_backend(name, config)

    def set(self, key: str, layer: Any) -> Any:
        """Put ``layer`` in the place of an alias; return the one that was there, or None."""
        old = self.backends.get(key)
        self.backends[key] = layer
        if key == DEFAULT_CHANNEL_LAYER:
            _share_groups(layer)
        return old

    def __getitem__(self, key: str) -> Any:
        if key not in self.backends:
            self.set(key, self.make_backend(key))
        return self.backends[key]

    def __contains__(self, key: str) -> bool:
        return key in self.configs

    def _make_backend(self, name: str, options: dict[str, Any]) -> Any:
        config = self.configs[name]
        if "ROUTING" in config:
            raise InvalidChannelLayerError(
                f"ROUTING key found for {name}: it is no longer needed since Channels 2; routes belong to URLRouter "
                f"or to your URLconf."
            )
        if "BACKEND" not in config:
            raise InvalidChannelLayerError(f"No BACKEND specified for {name}")
        path = config["BACKEND"]
        try:
            backend = import_string(_ALIASES.get(path, path))
        except ImportError as error:
            raise InvalidChannelLayerError(f"Cannot import BACKEND {path!r} specified for {name}: {error}") from error
        if path == _REDIS_LAYER and name == DEFAULT_CHANNEL_LAYER and options == config.get("CONFIG", {}):
            return backend(layer=own_layer())  # consumers and groups share its connections
        layer = backend(**options)
        if hasattr(layer, "in_process"):
            layer.guards_reach = True
        return layer

    def _reset_backends(self, setting: str, **kwargs: Any) -> None:
        if setting == SETTING:
            self.backends = {}


def get_channel_layer(alias: str = DEFAULT_CHANNEL_LAYER) -> Any:
    """Return a channel layer, or None where none is configured, or one that carries groups of sockets alone."""
    try:
        layer = channel_layers[alias]
    except KeyError:
        return None
    return None if isinstance(layer, BaseLayer) else layer


channel_layers = ChannelLayerManager()


def _share_groups(layer: Any) -> None:
    """Have consumers and sockets in the same groups, where both layers are in-process."""
    try:
        if hasattr(layer, "share_groups") and entry()[0] == MEMORY_LAYER:
            layer.share_groups(own_layer())
    except ConfigurationError:
        pass  # there is no layer for sockets


def _deprecated(old: str, new: str) -> None:
    warnings.warn(f"{old} is deprecated, use {new} instead.", DeprecationWarning, stacklevel=3)

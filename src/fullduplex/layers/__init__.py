"""Layers carry messages between processes; ``get_layer()`` is the configured one.

``CHANNEL_LAYERS`` has Channels' format::

    CHANNEL_LAYERS = {"default": {"BACKEND": "fullduplex.layers.memory.MemoryLayer", "CONFIG": {}}}
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from django.core.signals import setting_changed

from fullduplex.exceptions import ConfigurationError, LayerError
from fullduplex.layers.adopted import AdoptedLayer
from fullduplex.layers.base import BaseLayer
from fullduplex.layers.channels import channel_layers
from fullduplex.layers.configured import MEMORY_LAYER, entry, import_backend, is_kept, own_layer
from fullduplex.layers.local import LocalLayer
from fullduplex.layers.serving import (
    SETTING,
    allow_in_process,
    check_in_process,
    in_process_allowed,
    in_several_workers,
    is_configured,
    is_single_worker,
    note_serving,
)

__all__ = [
    "BaseLayer",
    "allow_in_process",
    "check_in_process",
    "close_layer",
    "get_layer",
    "in_process_allowed",
    "note_serving",
    "open_layer",
]

logger = logging.getLogger("fullduplex.layers")

# Channel layers that stand on a layer of ours: groups use the same one, and its connections.
_CHANNEL_LAYERS = frozenset(
    {
        "channels_redis.core.RedisChannelLayer",
        "channels_redis.pubsub.RedisPubSubChannelLayer",
        "fullduplex.channels.redis.core.RedisChannelLayer",
        "fullduplex.channels.redis.pubsub.RedisPubSubChannelLayer",
    }
)

_lock = threading.Lock()
_layer: BaseLayer | None = None


def get_layer() -> BaseLayer:
    """Return the layer of this process.

    Raises:
        LayerNotConfigured: it would not reach the members of other processes; the message says what to set.
        ConfigurationError: ``CHANNEL_LAYERS`` is wrong.
    """
    layer = _layer
    if layer is None:
        layer = _make_layer()
    if layer.in_process:
        check_in_process()
    return layer


async def open_layer() -> None:
    """Connect a configured layer, as workers do when they start. The local one, where it is implied, is shown to be
    there; its sequencer begins with the first member, or now, if it is to keep something: so it is the service's own,
    and nobody's who publishes from a shell.

    Raises:
        LayerUnavailable: the broker cannot be reached.
        ConfigurationError: ``CHANNEL_LAYERS`` is wrong.
    """
    if is_configured():
        await get_layer().open()
    elif in_several_workers() or is_single_worker():
        try:
            layer = get_layer()
            if isinstance(layer, LocalLayer):
                await layer.mark_served()
                if is_kept():
                    await layer.open()
        except (ConfigurationError, LayerError, OSError) as error:  # perhaps there are no groups; they meet it, too
            logger.warning("Groups will not reach other processes: %s", error)


async def close_layer() -> None:
    """Give back what the layer holds for the running loop, at the end of a process or a test."""
    if _layer is not None:
        await _layer.close()


def _make_layer() -> BaseLayer:
    global _layer
    with _lock:
        if _layer is None:
            _layer = _find()
        return _layer


def _find() -> BaseLayer:
    backend, _ = entry()
    if backend == MEMORY_LAYER and not is_configured():
        check_in_process()  # an error is not for ever: workers may begin beside this process
    if backend in _CHANNEL_LAYERS:
        beneath: BaseLayer = channel_layers["default"].layer
        return beneath
    found = import_backend(backend)
    if hasattr(found, "group_send") and hasattr(found, "new_channel"):
        return AdoptedLayer(channel_layers["default"])
    return own_layer()


def _forget(*, setting: str, **kwargs: Any) -> None:
    global _layer
    if setting == SETTING:
        with _lock:
            _layer = None


setting_changed.connect(_forget, dispatch_uid="fullduplex.layers")

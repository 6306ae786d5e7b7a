"""Layers carry messages between processes; ``get_layer()`` is the configured one.

``CHANNEL_LAYERS`` has Channels' format::

    CHANNEL_LAYERS = {"default": {"BACKEND": "fullduplex.layers.memory.MemoryLayer", "CONFIG": {}}}

Without it the in-process layer is implied where it reaches every member: in ``runserver``, in tests and in a
single fullduplex worker. Elsewhere it would deliver to some members and say nothing of the others, so that
is an error.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from fullduplex.exceptions import ConfigurationError, LayerNotConfigured
from fullduplex.layers.base import BaseLayer

__all__ = [
    "BaseLayer",
    "allow_in_process",
    "check_in_process",
    "close_layer",
    "get_layer",
    "in_process_allowed",
    "note_serving",
]

SETTING = "CHANNEL_LAYERS"
MEMORY_LAYER = "fullduplex.layers.memory.MemoryLayer"

# Channels' paths, and those options of theirs that have no meaning here: our bounds are in bytes, and a message is
# delivered at once or not at all.
_ALIASES = {
    "channels.layers.InMemoryChannelLayer": MEMORY_LAYER,
    "fullduplex.channels.layers.InMemoryChannelLayer": MEMORY_LAYER,
    "fullduplex.layers.channels_memory.InMemoryChannelLayer": MEMORY_LAYER,
}
# Channel layers that stand on a layer of ours: groups use the same one, and its connections.
_CHANNEL_LAYERS = frozenset(
    {
        "channels_redis.core.RedisChannelLayer",
        "channels_redis.pubsub.RedisPubSubChannelLayer",
        "fullduplex.channels.redis.core.RedisChannelLayer",
        "fullduplex.channels.redis.pubsub.RedisPubSubChannelLayer",
    }
)
_CHANNELS_OPTIONS = frozenset({"expiry", "group_expiry", "capacity", "channel_capacity"})

_lock = threading.Lock()
_layer: BaseLayer | None = None
_allowed_reason: str | None = None
_serving = False
_worker_count: int | None = None


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


async def close_layer() -> None:
    """Give back what the layer holds for the running loop, at the end of a process or a test."""
    if _layer is not None:
        await _layer.close()


def allow_in_process(reason: str) -> None:
    """Say that this process holds every socket of the site, so that the in-process layer reaches all of them.

    Args:
        reason: why, e.g. ``"runserver"``.
    """
    global _allowed_reason
    _allowed_reason = reason


def note_serving(worker_count: int | None) -> None:
    """Say that this process serves sockets.

    Args:
        worker_count: how many processes serve the site, as lifespan state ``fullduplex.worker_count``
            tells; None when the server does not say.
    """
    global _serving, _worker_count
    if worker_count == 1:
        allow_in_process("a single fullduplex worker")
    _serving = True
    _worker_count = worker_count


def in_process_allowed() -> bool:
    """Whether this process is known to hold every socket of the site, so that the in-process layer is implied."""
    return _allowed_reason is not None or _in_tests()


def check_in_process() -> None:
    """Hold an in-process layer against the processes there are.

    Raises:
        LayerNotConfigured: it does not reach every member from here.
    """
    if in_process_allowed():
        return
    configured = bool(getattr(settings, SETTING, None))
    if configured and _serving and _worker_count is None:
        return  # the project chose it and the server does not tell: the choice counts
    raise LayerNotConfigured(
        f"{_obstacle(configured)} Set {SETTING} = {{'default': {{'BACKEND': ...}}}} to a layer that connects "
        f"processes. The in-process layer is for runserver, tests and a single worker."
    )


def _obstacle(configured: bool) -> str:
    if not _serving:
        return "This process serves no sockets, and the in-process layer reaches none outside of it."
    if _worker_count is not None:
        return f"{_worker_count} workers serve this site, and the in-process layer reaches the sockets of one."
    return "No layer is configured, and this server does not tell whether other workers serve the site, too."


def _in_tests() -> bool:
    """Whether Django's test environment is set up (by its runner, or by pytest-django)."""
    utils = sys.modules.get("django.test.utils")
    return utils is not None and hasattr(utils._TestState, "saved_data")


def _make_layer() -> BaseLayer:
    global _layer
    with _lock:
        if _layer is None:
            _layer = _read(getattr(settings, SETTING, None) or {"default": {"BACKEND": MEMORY_LAYER}})
        return _layer


def _read(layers: Any) -> BaseLayer:
    try:
        config = layers["default"]
        backend = config["BACKEND"]
        options = dict(config.get("CONFIG", {}))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ConfigurationError(
            f"{SETTING} must be {{'default': {{'BACKEND': 'path.to.Layer', 'CONFIG': {{...}}}}}}, not {layers!r}."
        ) from None
    if backend in _CHANNEL_LAYERS:
        from fullduplex.layers.channels import channel_layers  # which imports this module

        beneath: BaseLayer = channel_layers["default"].layer
        return beneath
    if backend in _ALIASES:
        options = {name: value for name, value in options.items() if name not in _CHANNELS_OPTIONS}
    return _build(_ALIASES.get(backend, backend), options)


def _build(backend: str, options: dict[str, Any]) -> BaseLayer:
    try:
        cls = import_string(backend)
    except ImportError as error:
        raise ConfigurationError(f"{SETTING}: the BACKEND {backend!r} cannot be imported: {error}") from error
    if hasattr(cls, "group_send") and hasattr(cls, "new_channel"):
        from fullduplex.layers.adopted import AdoptedLayer
        from fullduplex.layers.channels import channel_layers  # which imports this module

        return AdoptedLayer(channel_layers["default"])
    if not (isinstance(cls, type) and issubclass(cls, BaseLayer)):
        raise ConfigurationError(f"{SETTING}: the BACKEND {backend!r} is no subclass of fullduplex.layers.BaseLayer.")
    try:
        return cls(**options)
    except TypeError as error:
        raise ConfigurationError(f"{SETTING}: CONFIG does not fit {backend}: {error}") from error


def _forget(*, setting: str, **kwargs: Any) -> None:
    global _layer
    if setting == SETTING:
        with _lock:
            _layer = None


setting_changed.connect(_forget, dispatch_uid="fullduplex.layers")

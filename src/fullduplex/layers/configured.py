"""The layer that ``CHANNEL_LAYERS`` names, where it is one of ours or was written for us."""

from __future__ import annotations

import threading
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from fullduplex.conf import get_settings
from fullduplex.exceptions import ConfigurationError
from fullduplex.layers.base import BaseLayer
from fullduplex.layers.local.place import Place, is_possible
from fullduplex.layers.serving import SETTING, in_process_allowed, in_several_workers, is_single_worker, serves
from fullduplex.limits import shown

MEMORY_LAYER = "fullduplex.layers.memory.MemoryLayer"
LOCAL_LAYER = "fullduplex.layers.local.LocalLayer"

# Channels' paths, and those options of theirs that have no meaning here: our bounds are in bytes, and a message is
# delivered at once or not at all.
_ALIASES = {
    "channels.layers.InMemoryChannelLayer": MEMORY_LAYER,
    "fullduplex.channels.layers.InMemoryChannelLayer": MEMORY_LAYER,
    "fullduplex.layers.channels_memory.InMemoryChannelLayer": MEMORY_LAYER,
}
_CHANNELS_OPTIONS = frozenset({"expiry", "group_expiry", "capacity", "channel_capacity"})

_lock = threading.Lock()
_layer: BaseLayer | None = None


def own_layer() -> BaseLayer:
    """Return the layer of this process.

    Raises:
        ConfigurationError: ``CHANNEL_LAYERS`` is wrong, or names what is none of ours.
    """
    global _layer
    with _lock:
        if _layer is None:
            _layer = _build(*entry())
        return _layer


def entry() -> tuple[str, dict[str, Any]]:
    """Return path and options of the default layer; where none is configured, of the implied one.

    Raises:
        ConfigurationError: ``CHANNEL_LAYERS`` has another form.
    """
    layers = getattr(settings, SETTING, None)
    if not layers:
        return implied(), {}
    try:
        config = layers["default"]
        backend = config["BACKEND"]
        options = dict(config.get("CONFIG", {}))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ConfigurationError(
            f"{SETTING} must be {{'default': {{'BACKEND': 'path.to.Layer', 'CONFIG': {{...}}}}}}, not {shown(layers)}."
        ) from None
    if backend in _ALIASES:
        backend = _ALIASES[backend]
        options = {name: value for name, value in options.items() if name not in _CHANNELS_OPTIONS}
    return backend, options


def implied() -> str:
    """The layer without the setting. The in-process one refuses to work where it does not reach all members.

    It is not implied for what a single worker is to keep either: that would be gone with its process, at each restart.
    """
    if not is_possible():
        return MEMORY_LAYER
    if is_single_worker():
        return LOCAL_LAYER if is_kept() else MEMORY_LAYER
    local = not in_process_allowed() and (in_several_workers() or is_beside_workers())
    return LOCAL_LAYER if local else MEMORY_LAYER


def is_kept() -> bool:
    """Whether the layer is to keep something."""
    return any(rule.store == "layer" for rule in get_settings().history)


def is_beside_workers() -> bool:
    """Whether this process serves nothing, and several workers of ours serve this project for the same user."""
    return not serves() and is_possible() and Place().is_served()


def import_backend(backend: str) -> Any:
    """Import what BACKEND names.

    Raises:
        ConfigurationError: it cannot be imported.
    """
    try:
        return import_string(backend)
    except ImportError as error:
        raise ConfigurationError(f"{SETTING}: the BACKEND {backend!r} cannot be imported: {error}") from error


def _build(backend: str, options: dict[str, Any]) -> BaseLayer:
    cls = import_backend(backend)
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


setting_changed.connect(_forget, dispatch_uid="fullduplex.layers.configured")

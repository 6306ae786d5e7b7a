"""The helpers of Channels that others import."""

from __future__ import annotations

from typing import Any

from fullduplex.sockets.consumer import await_many_dispatch

__all__ = ["await_many_dispatch", "name_that_thing"]


def name_that_thing(thing: Any) -> str:
    """Return the dotted path of a class, a function or a method, or of an object's class."""
    if not (hasattr(thing, "__module__") and hasattr(thing, "__qualname__")):
        thing = type(thing)
    return f"{thing.__module__}.{thing.__qualname__}"

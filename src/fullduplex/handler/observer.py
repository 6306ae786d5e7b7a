"""What ``SOCKET_OBSERVER`` names: a context around each socket, for error trackers and tracers."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from django.utils.module_loading import import_string

from fullduplex.sockets.asgi import Scope

Observer = Callable[[Scope], Any]


@functools.cache
def observer(path: str) -> Observer:
    """Return the function at a dotted path.

    Raises:
        ImportError: there is none.
    """
    found: Observer = import_string(path)
    return found


@asynccontextmanager
async def entered(context: Any) -> AsyncIterator[None]:
    """Enter a context manager of either kind."""
    if hasattr(context, "__aenter__"):
        async with context:
            yield
    else:
        with context:
            yield

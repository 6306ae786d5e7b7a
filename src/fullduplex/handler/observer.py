"""What ``SOCKET_OBSERVER`` names: a context around the view of each socket, for error trackers and tracers."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from django.http import HttpRequest
from django.utils.module_loading import import_string

Observer = Callable[[HttpRequest], Any]


@functools.cache
def observer(path: str) -> Observer | None:
    """Return the function at a dotted path; None for an empty one.

    Raises:
        ImportError: there is none.
    """
    return import_string(path) if path else None


@asynccontextmanager
async def entered(context: Any) -> AsyncIterator[None]:
    """Enter a context manager of either kind."""
    if hasattr(context, "__aenter__"):
        async with context:
            yield
    else:
        with context:
            yield

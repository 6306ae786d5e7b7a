"""What ``SOCKET_OBSERVER`` and ``SOCKET_VIEW_OBSERVER`` name: contexts around sockets, for error trackers and tracers.

::

    SOCKET_OBSERVER(scope) ──────────────────────────────────────────────────────┐
    │  handshake: middleware, URLconf ─┬─ SOCKET_VIEW_OBSERVER(request) ────────┐│
    │                                  └─ the view; what it fails with is told ─┘│
    └────────────────────────────────────────────────────────────────────────────┘
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import TracebackType
from typing import Any

from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.http import Http404
from django.http.multipartparser import MultiPartParserError
from django.utils.module_loading import import_string

from fullduplex.exceptions import ThreadsExhausted

Observer = Callable[[Any], Any]

# What a view refuses a handshake with, and Django answers with a status below 500.
_REFUSALS = (Http404, PermissionDenied, SuspiciousOperation, BadRequest, MultiPartParserError, ThreadsExhausted)


@functools.cache
def observer(path: str) -> Observer:
    """Return the function at a dotted path.

    Raises:
        ImportError: there is none.
    """
    found: Observer = import_string(path)
    return found


def is_refusal(error: BaseException) -> bool:
    """Whether an exception of a view that has not accepted is no failure."""
    return isinstance(error, _REFUSALS)


class Entered:
    """Enters a context manager, plain or asynchronous.

    Args:
        context: what an observer has returned.
        hears: whether its end hears of an exception, which goes on in any case; else of all.
    """

    def __init__(self, context: Any, hears: Callable[[BaseException], bool] | None = None) -> None:
        self._context = context
        self._hears = hears
        self._is_async = hasattr(context, "__aenter__")

    async def __aenter__(self) -> None:
        if self._is_async:
            await self._context.__aenter__()
        else:
            self._context.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if error is None or self._hears is None or self._hears(error):
            return bool(await self._leave(kind, error, traceback))
        await self._leave(None, None, None)
        return False

    async def _leave(self, *failure: Any) -> Any:
        return await self._context.__aexit__(*failure) if self._is_async else self._context.__exit__(*failure)

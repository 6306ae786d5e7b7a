"""The ORM's ``a...`` methods without a thread, on PostgreSQL (docs/howto/async-orm.md)."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from fullduplex.db.stats import connection_stats
    from fullduplex.db.transactions import aatomic

__all__ = ["aatomic", "connection_stats", "database_only"]

MARK = "_fullduplex_database_only"
_HOMES = {"aatomic": "fullduplex.db.transactions", "connection_stats": "fullduplex.db.stats"}

F = TypeVar("F", bound=Callable[..., Any])


def database_only(function: F) -> F:
    """Say that a sync function waits for nothing but the database, so that ``sync_to_async`` of it needs no thread.

    With the engine ``fullduplex.db.postgresql`` it runs on the event loop, and gives the loop its turn while the
    database works. Whatever else it would wait for, it would have the whole server wait for.
    """
    setattr(function, MARK, True)
    return function


def __getattr__(name: str) -> Any:
    """Those that need Django's settings, and greenlet."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)

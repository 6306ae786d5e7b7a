"""``django.db.connections`` inside a turn: those of its session, and not of the thread or the context."""

from __future__ import annotations

from typing import Any

from django.db import connections

from fullduplex.db.turns import current_turn


class _Local:
    """In the place of asgiref's Local of the connection handler, which goes on to answer everybody else."""

    __slots__ = ("_others",)

    def __init__(self, others: Any) -> None:
        object.__setattr__(self, "_others", others)

    def __getattr__(self, alias: str) -> Any:
        turn = current_turn()
        if turn is None:
            return getattr(self._others, alias)
        try:
            return turn.owner.wrappers[alias]
        except KeyError:
            raise AttributeError(alias) from None

    def __setattr__(self, alias: str, wrapper: Any) -> None:
        turn = current_turn()
        if turn is None:
            setattr(self._others, alias, wrapper)
            return
        wrapper.inc_thread_sharing()  # a thread of the request may have it later
        turn.owner.wrappers[alias] = wrapper

    def __delattr__(self, alias: str) -> None:
        turn = current_turn()
        if turn is None:
            delattr(self._others, alias)
        elif turn.owner.wrappers.pop(alias, None) is None:
            raise AttributeError(alias)


def install() -> None:
    handler: Any = connections
    if not isinstance(handler._connections, _Local):
        handler._connections = _Local(handler._connections)

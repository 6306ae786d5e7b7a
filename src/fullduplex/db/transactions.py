"""A transaction around async code."""

from __future__ import annotations

from contextlib import AsyncExitStack
from types import TracebackType

from django.db import transaction

from fullduplex.db.calls import call, current_session
from fullduplex.db.sessions import current_inside, inside


class AsyncAtomic:
    """``transaction.atomic()`` for ``async with``."""

    def __init__(self, using: str | None, savepoint: bool, durable: bool) -> None:
        self._atomic = transaction.atomic(using, savepoint, durable)
        self._turn = AsyncExitStack()

    async def __aenter__(self) -> None:
        session = None if current_inside() is not None else current_session()
        async with AsyncExitStack() as turn:
            if session is not None and await session.enter():
                turn.callback(session.leave)
                turn.enter_context(inside(session))
            await call(self._atomic.__enter__)
            self._turn = turn.pop_all()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with self._turn:
            await call(self._atomic.__exit__, kind, error, trace)


def aatomic(using: str | None = None, savepoint: bool = True, durable: bool = False) -> AsyncAtomic:
    """Return a transaction for ``async with``; its arguments are those of ``transaction.atomic``.

    What the block awaits of the ORM is part of it, as are the tasks that it starts. Other tasks of the same request
    wait until the block is over, where the request has no thread.
    """
    return AsyncAtomic(using, savepoint, durable)

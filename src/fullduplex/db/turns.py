"""Sync code on the event loop that can wait: it runs in a greenlet, and gives its thread back to the loop meanwhile.

::

    task:  await run(...) ──switch──▶ greenlet: Django's own ORM, psycopg
                                        │  wait_for(awaitable)
           await awaitable ◀──switch────┘
                 │ result
                 └────────switch──────▶ goes on
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from greenlet import getcurrent, greenlet

T = TypeVar("T")


class Owner(Protocol):
    """Whose database connections the code uses."""

    @property
    def wrappers(self) -> dict[str, Any]: ...


class Turn(greenlet):
    """The greenlet of one call.

    Attributes:
        owner: whose connections it uses.
        is_dropped: its task is destroyed, and nobody can wait for it any more.
    """

    owner: Owner
    is_dropped = False


def current_turn() -> Turn | None:
    turn = getcurrent()
    return turn if type(turn) is Turn else None


def begin(owner: Owner, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> tuple[Turn, Any]:
    """Run ``function`` as far as it goes without waiting; return its turn, with its result if the turn is dead."""
    task = getcurrent()
    turn = Turn(function, task)
    turn.gr_context = task.gr_context  # the same one: what it sets in context variables stays
    turn.owner = owner
    return turn, turn.switch(*args, **kwargs)


async def finish(turn: Turn, outcome: Any) -> Any:
    """Wait for what it waits for, until it is over; return its result. A cancellation is raised where it waits."""
    while not turn.dead:
        try:
            value = await outcome
        except BaseException as error:
            turn.is_dropped = isinstance(error, GeneratorExit)
            outcome = turn.throw(*sys.exc_info())
        else:
            outcome = turn.switch(value)
    return outcome


async def run(owner: Owner, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    turn, outcome = begin(owner, function, *args, **kwargs)
    return outcome if turn.dead else await finish(turn, outcome)


def wait_for(awaitable: Awaitable[T]) -> T:
    """Wait, inside a turn, for ``awaitable``, while the loop goes on.

    Raises:
        RuntimeError: the task of this turn is gone.
    """
    turn: Any = getcurrent()
    if turn.is_dropped:
        if hasattr(awaitable, "close"):
            awaitable.close()
        raise RuntimeError("The task of this call was destroyed while it waited.")
    result: T = turn.parent.switch(awaitable)
    return result

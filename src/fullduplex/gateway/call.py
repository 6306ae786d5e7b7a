"""One call of the ASGI application.

Apart from those that make it, and never compiled: a list of tasks, a call graph or a debugger sees a coroutine of
Python's own, and through it the application's.
"""

from __future__ import annotations

from typing import Protocol

from fullduplex.asgi import Application, Event, Scope


class Called(Protocol):
    """Who has the application called: an exchange, a session."""

    async def receive(self) -> Event: ...

    async def send(self, message: Event) -> None: ...

    def ended(self, error: BaseException | None) -> None:
        """The call is over; ``error`` ended it."""


async def call(app: Application, called: Called, scope: Scope) -> None:
    """Call the application; only what is no ``Exception`` (its task was cancelled) goes on upwards."""
    try:
        await app(scope, called.receive, called.send)
    except Exception as error:
        called.ended(error)
    except BaseException as error:
        called.ended(error)
        raise
    else:
        called.ended(None)

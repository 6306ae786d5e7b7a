"""The lifespan protocol: the application starts before the first request and stops after the last.

Source: https://asgi.readthedocs.io/en/latest/specs/lifespan.html (version 2.0).
"""

from __future__ import annotations

import asyncio
import enum
import logging
from typing import Any

from fullduplex.asgi import Application, Event
from fullduplex.exceptions import FullduplexError, LocalProtocolError

logger = logging.getLogger("fullduplex.server")


class Support(enum.Enum):
    """Whether the application takes part."""

    UNKNOWN = enum.auto()
    ON = enum.auto()
    OFF = enum.auto()


class LifespanFailed(FullduplexError):
    """The application reported that it could not start or stop, or did not answer in time."""


class Lifespan:
    """One lifespan of one application.

    An application that raises before it answers ``startup`` does not support the protocol, which is
    fine; one that answers ``startup.failed`` must not be served.

    Attributes:
        state: the namespace that each request gets a shallow copy of, or None without support.
    """

    def __init__(self, app: Application, state: dict[str, Any]) -> None:
        self._app = app
        self._state = state
        self.support = Support.UNKNOWN
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._answer: asyncio.Future[Event] | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def state(self) -> dict[str, Any] | None:
        return self._state if self.support is Support.ON else None

    async def startup(self, timeout_s: float) -> None:
        """Start the application.

        Raises:
            LifespanFailed: it reported a failure, or did not answer in ``timeout_s``.
        """
        self._task = asyncio.ensure_future(self._run())
        answer = await self._ask("lifespan.startup", timeout_s)
        if answer is None:
            self.support = Support.OFF
        elif answer["type"] == "lifespan.startup.failed":
            await self._cancel()
            raise LifespanFailed(answer.get("message") or "the application reported lifespan.startup.failed")
        else:
            self.support = Support.ON

    async def shutdown(self, timeout_s: float) -> None:
        """Stop the application; a failure is logged, for there is nothing left to refuse."""
        try:
            if self.support is Support.ON:
                answer = await self._ask("lifespan.shutdown", timeout_s)
                if answer is not None and answer["type"] == "lifespan.shutdown.failed":
                    logger.error("The application failed to shut down: %s", answer.get("message") or "no reason given")
        except LifespanFailed as error:
            logger.error("%s", error)
        finally:
            await self._cancel()

    async def _ask(self, kind: str, timeout_s: float) -> Event | None:
        """Send an event and return its answer, or None when the application ended instead."""
        assert self._task is not None
        answer: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._answer = answer
        self._events.put_nowait({"type": kind})
        waited: set[asyncio.Future[Any]] = {answer, self._task}
        await asyncio.wait(waited, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        if self._task.done():
            return None
        await self._cancel()
        raise LifespanFailed(f"the application did not answer {kind} within {timeout_s:g} s")

    async def _cancel(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=5.0)

    async def _run(self) -> None:
        scope: dict[str, Any] = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self._state,
        }
        try:
            await self._app(scope, self._events.get, self._send)
        except Exception as error:
            if self.support is Support.ON:
                logger.error("Exception in the application's lifespan", exc_info=error)
            else:
                logger.debug("The application does not support lifespan", exc_info=error)

    async def _send(self, message: Event) -> None:
        if self._answer is None or self._answer.done():
            raise LocalProtocolError(f"{message['type']} answers nothing that was asked")
        self._answer.set_result(message)

"""The view of one socket: a task of its own in the context of its request, and what is told of its end."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, cast

from django.core.exceptions import SynchronousOnlyOperation
from django.core.handlers.asgi import ASGIRequest
from django.core.signals import got_request_exception
from django.http.response import HttpResponseBase

from fullduplex.exceptions import Disconnected, RemoteProtocolError
from fullduplex.handler.observer import Entered, is_refusal, observer
from fullduplex.handler.tasks import off_the_loop, start
from fullduplex.log_lines import escape, escape_line
from fullduplex.sockets.websocket import MAX_REASON_BYTES, WebSocket
from fullduplex.threads.context import HandshakeExecutor, current_executor, use_executor
from fullduplex.threads.lease import Lease

logger = logging.getLogger("django.request")

Answer = HttpResponseBase | None

NAMED_CHARS = 200  # of a path, in the name of a task


class View:
    """Runs a socket's view, from within the chain of middleware.

    Args:
        socket: what the view gets.
        lease: whose thread it has; None below a sync caller, who has one.

    Attributes:
        task: that it runs in, once it has begun.
        has_decided: it has accepted, or closed.
        is_judged: its end has been the answer to the handshake.
    """

    __slots__ = (
        "_context",
        "_lease",
        "_loop",
        "_request",
        "_stopped",
        "_told",
        "has_decided",
        "is_judged",
        "socket",
        "task",
    )

    def __init__(self, socket: WebSocket, request: ASGIRequest, lease: Lease | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._request = request
        self._lease = lease
        self._stopped = False  # cancelled by us, not from within
        self._told: BaseException | None = None  # what it failed with, as its observer knows
        self._context = contextvars.copy_context()
        self.task: asyncio.Task[Answer]
        self.has_decided = False
        self.is_judged = False
        self.socket = socket

    def start(self, function: Callable[[], Awaitable[Answer]], observer_path: str) -> None:
        """Begin; where tasks are eager it may accept in here.

        Args:
            function: the view, with its arguments.
            observer_path: of SOCKET_VIEW_OBSERVER, or empty.
        """
        during = current_executor()
        if during is not None and self._lease is not None:
            self._context.run(use_executor, HandshakeExecutor(during, self._lease))
        running = self._observed(observer_path, function) if observer_path else function()
        self.task = start(cast("Coroutine[Any, Any, Answer]", running), self._loop, self._context)
        if not self.task.done():
            self.task.set_name(f"Socket view of {escape(self._request.path[:NAMED_CHARS])}")

    def stop(self) -> None:
        """Cancel it, once, so that it can clean up."""
        if not self._stopped:
            self._stopped = self.task.cancel()

    async def judge(self, close_code: int) -> tuple[int, str]:
        """Return the close code and reason that its end asks for; what it failed with is told."""
        try:
            response = await self.task
            if not self.has_decided:
                _close_unsent(response)  # it refuses, and the client has left
            elif response is not None:
                raise TypeError(f"The socket view returned {response!r} after it had accepted; only None is possible.")
        except BaseException as error:
            advise(error)
            if self._is_failure(error):
                if error is not self._told:
                    await self._in_context(self._tell(error))
                return 1011, ""
            if isinstance(error, RemoteProtocolError):
                await self._in_context(self._warn(error))
                return error.close_code, str(error).encode()[:MAX_REASON_BYTES].decode(errors="ignore")
        return close_code, ""

    async def _observed(self, path: str, function: Callable[[], Awaitable[Answer]]) -> Answer:
        """Run the view inside its observer: what it fails with is told there, and leaves through it."""
        async with Entered(observer(path)(self._request), self._is_failure):
            try:
                return await function()
            except (Exception, asyncio.CancelledError) as error:
                advise(error)
                if self.has_decided and self._lease is not None and self._is_failure(error):
                    self._told = error
                    await self._tell(error)
                raise
        return None  # the observer does not let it out

    def _is_failure(self, error: BaseException) -> bool:
        """Whether it failed: not if it was cancelled, or the client left, broke the protocol or was refused."""
        if isinstance(error, asyncio.CancelledError):
            return not self._stopped
        if isinstance(error, RemoteProtocolError) or _is_disconnect(error):
            return False
        return self.has_decided or not is_refusal(error)

    async def _in_context(self, telling: Coroutine[Any, Any, None]) -> None:
        """What is told of it has the ids of its request."""
        if self._lease is None:  # a sync caller further up has its thread, and it is not the view's
            await telling
        else:
            await start(telling, self._loop, self._context)

    async def _warn(self, error: RemoteProtocolError) -> None:
        told = escape_line(str(error)), escape(self._request.scope["path"])
        await off_the_loop(self._lease, logger.warning, "%s: %s", *told, extra={"request": self._request})

    async def _tell(self, error: BaseException) -> None:
        """Tell the log of an error, and ``got_request_exception`` while it is being handled (``sys.exc_info()``)."""
        message = "Exception in WebSocket: %s"
        if isinstance(error, asyncio.CancelledError):
            message = "The socket view was cancelled from within: %s"
        await off_the_loop(self._lease, self._tell_here, error, message)

    def _tell_here(self, error: BaseException, message: str) -> None:
        path = escape(self._request.scope["path"])
        extra = {"status_code": 500, "request": self._request}
        try:
            raise error  # so that sys.exc_info() has it
        except BaseException:
            logger.error(message, path, exc_info=error, extra=extra)
            got_request_exception.send(sender=None, request=self._request)


_ASYNC = {
    "django.contrib.auth": "In async code: `user = await socket.request.auser()`, in the place of `request.user`.",
    "django.contrib.sessions": "In async code sessions have `await session.aget(key)`, `aset`, `asave` and others.",
}


def advise(error: BaseException) -> None:
    """Name what async code has, where sync code of users and sessions has refused to run on the loop."""
    if not isinstance(error, SynchronousOnlyOperation) or getattr(error, "__notes__", None):
        return
    modules = [str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    for package, advice in _ASYNC.items():
        if any(f"{module}.".startswith(f"{package}.") for module in modules):
            error.add_note(advice)
            return


def _close_unsent(response: Answer) -> None:
    """Close what a refusal holds that nobody will get; ``close()`` would send ``request_finished`` once more."""
    for closer in getattr(response, "_resource_closers", ()):
        with contextlib.suppress(Exception):
            closer()


def _is_disconnect(error: BaseException) -> bool:
    """Whether ``error`` is only the news that the client left, alone or from a task group."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_disconnect, error.exceptions))
    return isinstance(error, Disconnected)

"""The base of all communicators."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext
from asgiref.testing import ApplicationCommunicator as BaseCommunicator

from fullduplex.sockets.database import connections_kept
from fullduplex.threads.context import current_executor, use_executor


class ApplicationCommunicator(BaseCommunicator):
    """Runs an ASGI application in a task, and exchanges events with it.

    Its sync code runs where that of the test runs, so that both see one database and one transaction: in the test's
    own thread, or in that of ``sync_to_async`` where the test has no other.
    """

    _future: asyncio.Future[Any] | None = None  # for __del__ of one whose arguments were wrong

    def __init__(self, application: Any, scope: dict[str, Any]) -> None:
        super().__init__(application, scope)  # type: ignore[no-untyped-call]

    @property
    def future(self) -> asyncio.Future[Any]:
        if self._future is None:
            # An empty context, as a server's: context variables of the test are not the application's.
            context = contextvars.Context()
            executor = current_executor()
            if executor is not None:
                context.run(use_executor, executor)
            task = asyncio.get_running_loop().create_task(self._run(), context=context)
            self._future = task
        return self._future

    async def send_input(self, message: Any) -> None:
        await super().send_input(message)  # type: ignore[no-untyped-call]

    async def receive_output(self, timeout: float = 1) -> Any:
        return await super().receive_output(timeout)  # type: ignore[no-untyped-call]

    async def wait(self, timeout: float = 1) -> None:
        await super().wait(timeout)  # type: ignore[no-untyped-call]

    async def _run(self) -> Any:
        if current_executor() is None:
            # Entered and never left: it lasts as long as the context of this task, and of those it starts.
            await ThreadSensitiveContext(executor=SyncToAsync.single_thread_executor).__aenter__()  # type: ignore[no-untyped-call]
        with connections_kept():
            return await self.application(self.scope, self.input_queue.get, self.output_queue.put)

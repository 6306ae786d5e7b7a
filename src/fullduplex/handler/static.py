"""Static files in development, by our way with requests: whatever a client does, its file is closed."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.http import HttpRequest

from fullduplex.asgi import Receive, Scope, Send
from fullduplex.handler.http import handle, serve_http
from fullduplex.handler.tasks import complete
from fullduplex.threads.hop import hop


class StaticFilesHandler(ASGIStaticFilesHandler):
    """Django's, which reads a whole file before it sends it, and forgets one whose client has left (Django 5.2)."""

    # As in fullduplex.handler.application: the stubs of Django say Mapping of an event, ASGI MutableMapping.
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # type: ignore[override]
        if scope["type"] == "http" and self._should_handle(scope["path"]):
            await serve_http(self, scope, receive, send)
        else:
            await self.application(scope, receive, send)  # type: ignore[arg-type]  # as above

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:  # type: ignore[override]  # as above
        await handle(self, scope, receive, send)

    async def get_response_async(self, request: HttpRequest) -> Any:
        """Find and open the file in the thread of the request; one that nobody waits for any more is closed."""
        task: asyncio.Task[Any] = asyncio.create_task(hop(self.get_response, request))
        try:
            await complete(task)
        except asyncio.CancelledError:
            if not task.cancelled() and task.exception() is None:
                for closer in task.result()._resource_closers:  # close() would send request_finished, which follows
                    with contextlib.suppress(Exception):
                        closer()
            raise
        response = task.result()
        response._resource_closers.append(request.close)
        return response

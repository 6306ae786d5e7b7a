"""The application of the project, with our handler or with Django's own; ``/records/`` are those of the agent."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Awaitable, Callable
from typing import Any

from tests.agents.agent import agent

if os.environ["HANDLER"] == "fullduplex":
    from fullduplex import get_asgi_application
else:
    from django.core.asgi import get_asgi_application

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Watched:
    """Knows when all that was asked is over, so that the records are complete."""

    def __init__(self, application: Callable[..., Awaitable[None]]) -> None:
        self.application = application
        self.count = 0
        self.changed = asyncio.Condition()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.application(scope, receive, send)
        elif scope["path"] == "/records/":
            await self.tell(scope["server"][1], send)
        else:
            self.count += 1
            try:
                await self.application(scope, receive, send)
            finally:
                self.count -= 1
                async with self.changed:
                    self.changed.notify_all()

    async def tell(self, port: int, send: Send) -> None:
        """Send the records, without the port, which is another one each time."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.count == 0)
        text = json.dumps(agent.take_records(), default=str, sort_keys=True)
        body = re.sub(rf":{port}\b|(?<=\"){port}(?=\")", "", text).encode()
        fields = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": fields})
        await send({"type": "http.response.body", "body": body})


application = Watched(get_asgi_application())

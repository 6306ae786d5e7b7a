"""The base of middleware around consumers."""

from __future__ import annotations

from typing import Any

from fullduplex.asgi import Application, Receive, Scope, Send


class BaseMiddleware:
    """Calls ``inner`` with a scope of its own. One object serves all connections: state belongs in the scope."""

    def __init__(self, inner: Application) -> None:
        self.inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        return await self.inner(dict(scope), receive, send)

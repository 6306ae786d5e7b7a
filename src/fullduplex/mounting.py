"""Several ASGI applications as one, by path: Starlette beside Django, each with its lifespan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fullduplex.asgi import Application, Receive, Scope, Send
from fullduplex.gateway.lifespan import Lifespan, LifespanFailed

# An application that hangs is ended by its server's own deadline, which is shorter as a rule.
LIFESPAN_TIMEOUT_S = 120.0


def mount(applications: Mapping[str, Application], default: Application) -> Application:
    """Join ASGI applications into one.

    Args:
        applications: by prefix, such as ``"/api"``; of several that match the longest counts. The prefix
            ends up in ``root_path``, as ASGI asks, so that the application builds the right links.
        default: takes every other path.

    Returns:
        An ASGI 3 application. Startup goes through all of them in order and shutdown in reverse; they
        share one lifespan state. One that does not take part in lifespan is fine; one that fails to start keeps
        all from being served.

    Raises:
        ValueError: a prefix does not begin with a slash, or ends with one.
    """
    for prefix in applications:
        if not prefix.startswith("/") or prefix.endswith("/"):
            raise ValueError(f"a prefix begins with a slash and does not end with one, unlike {prefix!r}")
    longest_first = sorted(applications.items(), key=lambda item: len(item[0]), reverse=True)
    return _Mounted(longest_first, [*applications.values(), default], default)


class _Mounted:
    def __init__(
        self, prefixes: list[tuple[str, Application]], applications: list[Application], default: Application
    ) -> None:
        self._prefixes = prefixes
        self._applications = list({id(application): application for application in applications}.values())
        self._default = default

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        root: str = scope.get("root_path", "")
        path: str = scope["path"].removeprefix(root)
        for prefix, application in self._prefixes:
            if path == prefix or path.startswith(f"{prefix}/"):
                await application({**scope, "root_path": root + prefix}, receive, send)
                return
        await self._default(scope, receive, send)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        state: dict[str, Any] = scope.get("state", {})
        await receive()
        started: list[Lifespan] = []
        try:
            for application in self._applications:
                lifespan = Lifespan(application, state)
                started.append(lifespan)
                await lifespan.startup(LIFESPAN_TIMEOUT_S)
            await send({"type": "lifespan.startup.complete"})
            await receive()
        except LifespanFailed as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        finally:
            for lifespan in reversed(started):
                await lifespan.shutdown(LIFESPAN_TIMEOUT_S)
        await send({"type": "lifespan.shutdown.complete"})

"""The site as a real process, and many clients of it at once."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from tests.e2e.process import ROOT, WAIT_TIMEOUT_S, Process, fullduplex
from tests.e2e.startproject import WARNINGS
from tests.packages.postgresql import PostgreSQL
from tests.postgresql.database import APPLICATION

APP = "tests.postgresql.site.asgi:application"
SESSION_MIDDLEWARE = ["tests.postgresql.site.session.RoleMiddleware", "tests.postgresql.site.session.TenantMiddleware"]
DEADLINE_S = 40.0  # of all that one test asks for at once


@dataclass(frozen=True, kw_only=True)
class Side:
    """Who serves the site.

    Attributes:
        server: ``fullduplex`` or ``uvicorn``.
        handler: ours, or Django's.
        max_age_s: CONN_MAX_AGE.
        engine: of the database.
    """

    server: str = "fullduplex"
    handler: str = "fullduplex"
    max_age_s: int = 0
    engine: str = "django.db.backends.postgresql"

    def __str__(self) -> str:
        kept = f"-kept-{self.max_age_s}" if self.max_age_s else ""
        kept += "-on-the-loop" if self == LOOP else ""
        return f"{self.handler}-on-{self.server}{kept}" if self.handler != self.server else f"{self.server}{kept}"


OURS = [Side(), Side(server="uvicorn")]
KEPT = [Side(max_age_s=60), Side(server="uvicorn", max_age_s=60)]
LOOP = Side(max_age_s=60, engine="fullduplex.db.postgresql")  # its async ORM needs no thread
# Django's own handler ends the thread with the request, and leaves open what CONN_MAX_AGE keeps.
SIDES = [Side(max_age_s=60), Side(server="uvicorn"), Side(server="uvicorn", handler="django")]


@dataclass(frozen=True)
class Site:
    """The running site."""

    process: Process
    client: httpx.AsyncClient = field(repr=False)

    async def get(self, path: str, **parameters: str | int) -> httpx.Response:
        return await self.client.get(self.process.url + path, params=parameters)

    async def text(self, path: str, **parameters: str | int) -> str:
        """The content; what keeps it from coming whole instead, so that many answers can be looked at together."""
        try:
            response = await self.get(path, **parameters)
        except httpx.TransportError as error:
            return f"{type(error).__name__} {error}"
        return response.text if response.status_code == 200 else f"status {response.status_code}"

    async def json(self, path: str, **parameters: str | int) -> Any:
        response = await self.get(path, **parameters)
        assert response.status_code == 200, f"{path}: {response.status_code}"
        return response.json()

    async def stats(self) -> dict[str, Any]:
        stats: dict[str, Any] = await self.json("/stats/")
        return stats

    def socket(self, path: str) -> connect:
        return connect(
            self.process.url.replace("http", "ws") + path, open_timeout=WAIT_TIMEOUT_S, ping_interval=None, proxy=None
        )


@asynccontextmanager
async def open_sockets(running: Site, path: str, count: int) -> AsyncIterator[list[ClientConnection]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(running.socket(path)) for _ in range(count)]


async def ask(socket: ClientConnection, message: str) -> str:
    await socket.send(message)
    return await receive(socket)


async def receive(socket: ClientConnection) -> str:
    async with asyncio.timeout(WAIT_TIMEOUT_S):
        message = await socket.recv()
    assert isinstance(message, str)
    return message


@contextmanager
def site(
    postgresql: PostgreSQL,
    side: Side,
    *,
    middleware: list[str] | None = None,
    options: dict[str, Any] | None = None,
    **settings: Any,
) -> Iterator[Process]:
    """Serve the site.

    Args:
        middleware: MIDDLEWARE.
        options: OPTIONS of the database.
        settings: what FULLDUPLEX holds.
    """
    database = {
        "ENGINE": side.engine,
        "HOST": postgresql.host,
        "PORT": postgresql.port,
        "NAME": "site",
        "USER": "site",
        "CONN_MAX_AGE": side.max_age_s,
        "OPTIONS": {"application_name": APPLICATION, **(options or {})},
    }
    env = {
        "SITE": json.dumps({"DATABASE": database, "MIDDLEWARE": middleware or [], "FULLDUPLEX": settings}),
        "HANDLER": side.handler,
        "DJANGO_SETTINGS_MODULE": "tests.postgresql.site.settings",
        # Django warns about each sync iterator.
        "PYTHONWARNINGS": WARNINGS if side.handler == "fullduplex" else "default",
    }
    if side.server == "fullduplex":
        process = fullduplex(APP, "--no-access-log", app_dir=ROOT, env=env)
    else:
        command = [sys.executable, "-m", "uvicorn", APP, "--app-dir", str(ROOT), "--port", "0", "--no-access-log"]
        process = Process(*command, ready=r"Uvicorn running on (\S+)", env=env)
    with process:
        yield process
    if side.handler == "fullduplex":
        assert "ResourceWarning: <psycopg.Connection" not in process.output, process.output  # nobody closed it


def client() -> httpx.AsyncClient:
    """For as many requests at once as there are."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    return httpx.AsyncClient(timeout=WAIT_TIMEOUT_S, limits=limits, trust_env=False, verify=False)

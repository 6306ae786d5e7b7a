"""A port of its own for health checks and metrics, served by a thread of the supervisor, or of a single worker.

So an answer waits for nobody: what is asked about may be blocked. The server is ours, with small bounds.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec

from fullduplex.exceptions import ConfigurationError
from fullduplex.gateway.gateway import Gateway
from fullduplex.limits import ConnectionLimits, HTTP1Limits, LoadLimits, WebSocketLimits
from fullduplex.net import listeners
from fullduplex.net.acceptor import Acceptor
from fullduplex.net.connection import Connection
from fullduplex.net.listeners import Listener, ListenOptions
from fullduplex.net.seats import Seats
from fullduplex.net.stream import ClientConnection
from fullduplex.server.config import ServerConfig
from fullduplex.server.figures import PROJECTS
from fullduplex.server.health import MISSING, Health
from fullduplex.server.overview import Overview
from fullduplex.watched import watched
from fullduplex.wire.http1 import HTTP1Codec

logger = logging.getLogger("fullduplex.server")

SEATS_COUNT = 256  # who scrapes often must not keep a probe out
BACKLOG_COUNT = 256
SWEEP_INTERVAL_S = 0.5
JOIN_TIMEOUT_S = 5.0

HTTP1 = HTTP1Limits(max_head_bytes=16_384, max_target_bytes=8_192, first_byte_timeout_s=5.0, head_timeout_s=5.0)
CONNECTION = ConnectionLimits(max_body_bytes=1, stalled_write_timeout_s=5.0)
LOAD = LoadLimits(max_connections_count=SEATS_COUNT)


class MetricsPort:
    """Listens from the beginning, and answers between :meth:`start` and :meth:`close`.

    Args:
        config: where, and how patient.
        look: returns the state of the service, at once, from any thread.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """

    def __init__(self, config: ServerConfig, look: Callable[[], Overview]) -> None:
        assert config.metrics_port is not None
        options = ListenOptions(port=config.metrics_port, backlog_count=BACKLOG_COUNT)
        try:
            self.listeners: list[Listener] = listeners.open_listeners(config.metrics_host, options)
        except ConfigurationError as error:
            raise ConfigurationError(str(error).replace("--port", "--metrics-port")) from None
        self._health = Health(look, config.watchdog_timeout_s)
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="fullduplex metrics", daemon=True)

    def start(self) -> None:
        for listener in self.listeners:
            logger.info("Health and metrics on %s", listener.url("http"))
        if find_spec("prometheus_client") is None:
            logger.warning("%s", MISSING)
        self._thread.start()

    @staticmethod
    def forget(pid: int) -> None:
        """A worker has ended: what the project's own metrics say of living processes is over."""
        if pid and os.environ.get(PROJECTS):
            try:
                from prometheus_client.multiprocess import mark_process_dead
            except ImportError:
                return
            mark_process_dead(pid)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Answer no more."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join(JOIN_TIMEOUT_S)
        else:
            self._loop.close()
        for listener in self.listeners:
            listener.close()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        connections: set[ClientConnection] = set()
        gateway = Gateway(self._health, None, WebSocketLimits(), CONNECTION, LOAD)
        gateway.set_clock(time.time())
        seats = Seats(SEATS_COUNT)

        def connect() -> Connection:
            codec = HTTP1Codec(HTTP1, now_s=self._loop.time(), defaults=gateway.default_fields)
            return Connection(gateway, CONNECTION, codec, connections, self._loop)

        acceptors = [Acceptor(listener.sock, seats, connect, gateway.refusal) for listener in self.listeners]

        async def sweep() -> None:
            while True:
                await asyncio.sleep(SWEEP_INTERVAL_S)
                gateway.set_clock(time.time())
                for connection in [*connections]:
                    connection.tick(self._loop.time())

        sweeping = self._loop.create_task(watched("The sweep of the metrics port", sweep, logger))
        await self._stopped.wait()
        sweeping.cancel()
        for acceptor in acceptors:
            acceptor.close()
        for connection in [*connections]:
            connection.abort()
        await asyncio.sleep(0)

"""Whom a worker tells of its figures: its supervisor, or its own port for health checks and metrics."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable
from typing import Any

from fullduplex.gateway.access_log import AccessLog
from fullduplex.gateway.gateway import Gateway
from fullduplex.net.seats import Seats
from fullduplex.server.config import ServerConfig
from fullduplex.server.counting import STATE, CountingAccessLog, Source, WorkerFigures
from fullduplex.server.figures import Family
from fullduplex.server.metrics_port import MetricsPort
from fullduplex.server.overview import Overview, Seen, State
from fullduplex.watched import watched

logger = logging.getLogger("fullduplex.server")

LAG_INTERVAL_S = 0.2  # how often it is seen how late the loop is
FIGURES_EVERY_COUNT = 5  # once a second: nobody asks for figures more often


class Telemetry:
    """Takes the figures of one worker, again and again.

    Args:
        access_log: of the worker, or None.
        tell: is told of new figures, on the loop.

    Attributes:
        access_log: in its place.
    """

    def __init__(self, access_log: AccessLog | None, tell: Callable[[list[Family]], None]) -> None:
        self.access_log = CountingAccessLog(access_log)
        self._tell = tell
        self._sources: list[Source] = []
        self._figures: WorkerFigures | None = None

    def prepare(self, state: dict[str, Any]) -> None:
        """Let an application say in its lifespan state what else there is to tell."""
        state[STATE] = self._sources

    def begin(self, gateway: Gateway, seats: Seats) -> asyncio.Task[None]:
        """Tell from now on, until the task is cancelled."""
        self._figures = WorkerFigures(self.access_log, gateway, seats, self._sources)
        self.tell()
        return asyncio.get_running_loop().create_task(watched("Taking figures", self._watch, logger))

    def tell(self) -> None:
        """Tell at once: something has changed, or these are the last."""
        if self._figures is not None:
            self._tell(self._figures.take())

    async def _watch(self) -> None:
        assert self._figures is not None
        for number in itertools.count(1):
            began_s = time.perf_counter()
            await asyncio.sleep(LAG_INTERVAL_S)
            self._figures.lags.add(max(0.0, time.perf_counter() - began_s - LAG_INTERVAL_S))
            if number % FIGURES_EVERY_COUNT == 0:
                self.tell()


class OwnPort:
    """The port of a worker that is a service by itself.

    Args:
        config: of the worker.

    Raises:
        ConfigurationError: it cannot be listened on.
    """

    def __init__(self, config: ServerConfig) -> None:
        self._state = State.STARTING
        self._beat_s = time.monotonic()
        self._figures: tuple[float | None, tuple[Family, ...]] = (None, ())
        self._port = MetricsPort(config, self._look)
        self._port.start()

    def is_now(self, state: State) -> None:
        """What the worker does."""
        self.beat()
        self._state = state

    def beat(self) -> None:
        """Its loop runs."""
        self._beat_s = time.monotonic()

    def publish(self, families: list[Family]) -> None:
        """What it counts."""
        self.beat()
        self._figures = self._beat_s, tuple(families)

    def close(self) -> None:
        self._port.close()

    def _look(self) -> Overview:
        """In the thread of the port."""
        state, (taken_s, figures) = self._state, self._figures
        # While it imports the application its loop cannot run.
        beat_s = time.monotonic() if state is State.STARTING else self._beat_s
        seen = Seen(0, state, beat_s, taken_s, figures)
        return Overview(beat_s, state is State.DRAINING, (seen,))

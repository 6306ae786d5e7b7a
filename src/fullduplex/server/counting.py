"""What one worker counts, where somebody asks for metrics: by what is told to its access log, and once a second.

A request costs a few additions of plain numbers, and nothing at all where no metrics are asked for.
"""

from __future__ import annotations

import logging
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from operator import add
from time import monotonic

from fullduplex.gateway.access_log import AccessLog, Scope, log_refusal
from fullduplex.gateway.gateway import Gateway
from fullduplex.log_lines import Spate
from fullduplex.net.seats import Seats
from fullduplex.server.figures import BOUNDS_S, Family, Histogram, counter, counters, gauge, histogram
from fullduplex.server.recycling import resident_bytes

logger = logging.getLogger("fullduplex.server")

STATE = "fullduplex.metrics"  # of the lifespan: a list, to which an application appends functions that return figures
MOST_COUNT = 200  # figures of an application that are taken

Source = Callable[[], Iterable[tuple[str, str, str, float]]]

_is_name = re.compile(r"[a-z][a-z0-9_]{0,99}").fullmatch


class CountingAccessLog:
    """Counts, and passes on.

    Args:
        inner: who writes lines, or None.
    """

    __slots__ = ("_by_status", "_inner", "_sum_s", "accepted_count", "closed", "refusals", "refused")

    def __init__(self, inner: AccessLog | None) -> None:
        self._inner = inner
        self._by_status: dict[int, list[int]] = {}  # how many took how long
        self._sum_s = 0.0
        self.refusals: dict[int, int] = defaultdict(int)
        self.accepted_count = 0
        self.refused: dict[int, int] = defaultdict(int)
        self.closed: dict[str, int] = defaultdict(int)

    def http(self, scope: Scope, status: int, body_bytes: int, duration_s: float) -> None:
        # Runs once for each request, so it does what it can without a call.
        counts = self._by_status.get(status)
        if counts is None:
            counts = self._by_status[status] = Histogram().counts
        counts[bisect_left(BOUNDS_S, duration_s)] += 1
        self._sum_s += duration_s
        if self._inner is not None:
            self._inner.http(scope, status, body_bytes, duration_s)

    def http_refuse(self, scope: Scope, status: int, reason: str) -> None:
        self.refusals[status] += 1
        if self._inner is not None:
            self._inner.http_refuse(scope, status, reason)
        else:
            log_refusal(scope, status, reason)

    def websocket_handshake(self, scope: Scope) -> None:
        if self._inner is not None:
            self._inner.websocket_handshake(scope)

    def websocket_accept(self, scope: Scope) -> None:
        self.accepted_count += 1
        if self._inner is not None:
            self._inner.websocket_accept(scope)

    def websocket_refuse(self, scope: Scope, status: int) -> None:
        self.refused[status] += 1
        if self._inner is not None:
            self._inner.websocket_refuse(scope, status)

    def websocket_close(self, scope: Scope, code: int, reason: str, ended_by: str, duration_s: float) -> None:
        self.closed[ended_by] += 1
        if self._inner is not None:
            self._inner.websocket_close(scope, code, reason, ended_by, duration_s)

    @property
    def statuses(self) -> dict[int, int]:
        """Requests by the status of their responses."""
        return {status: sum(counts) for status, counts in self._by_status.items()}

    @property
    def durations(self) -> Histogram:
        """How long all of them took."""
        durations = Histogram()
        durations.sum_s = self._sum_s
        for counts in self._by_status.values():
            durations.counts = [*map(add, durations.counts, counts)]
        return durations


class WorkerFigures:
    """The figures of one worker; for the thread of its loop.

    Args:
        counts: its access log.
        gateway, seats: of the worker.
        sources: functions of the application that return more.

    Attributes:
        lags: how much later than it should the loop got to something.
    """

    def __init__(self, counts: CountingAccessLog, gateway: Gateway, seats: Seats, sources: Collection[Source]) -> None:
        self._counts = counts
        self._gateway = gateway
        self._seats = seats
        self._sources = sources
        self._failures = Spate(logger.error, "Figures of the application failed %d more times", monotonic)
        self.lags = Histogram()

    def take(self) -> list[Family]:
        """The figures as they are now."""
        counts, gateway, seats = self._counts, self._gateway, self._seats
        open_count = counts.accepted_count - sum(counts.closed.values())
        own = [
            counters("requests", "Requests that the application answered.", "status", counts.statuses),
            counters("refusals", "Answers of the server's own: broken, late, too many.", "status", counts.refusals),
            histogram("request_duration_seconds", "From the head of a request to its response.", counts.durations),
            gauge("requests_in_flight", "Requests in progress.", gateway.exchange_count),
            gauge("connections", "Open connections, TLS handshakes included.", seats.taken_count),
            counter("connections_accepted", "Connections that were accepted.", seats.accepted_count),
            counter("connections_refused", "Connections beyond --limit-connections.", seats.unserved_count),
            gauge("websockets", "Open WebSockets.", open_count),
            counter("websockets_accepted", "WebSockets that were opened.", counts.accepted_count),
            counters("websockets_refused", "Handshakes that were refused.", "status", counts.refused),
            counters("websockets_closed", "WebSockets that have ended, by whom.", "by", counts.closed),
            gauge("buffered_bytes", "Received or written, and not yet taken.", gateway.buffered_bytes),
            histogram("loop_lag_seconds", "How late the event loop got to a timer.", self.lags),
            gauge("resident_memory_bytes", "Resident memory.", resident_bytes()),
        ]
        for family in own:
            family.name = f"fullduplex_{family.name}"
        return [*own, *self._of_application({family.name for family in own})]

    def _of_application(self, taken: set[str]) -> Iterator[Family]:
        for source in self._sources:
            try:
                for name, kind, help, value in source():
                    if not _is_name(name) or name in taken or kind not in ("counter", "gauge", "maximum"):
                        raise ValueError(f"{name!r} ({kind}) is no figure, or there twice")
                    if len(taken) >= MOST_COUNT:
                        raise ValueError(f"more than {MOST_COUNT} figures")
                    taken.add(name)
                    yield Family(name, kind, str(help), {(): [float(value)]})
            except Exception as error:
                self._failures.tell("Figures of the application cannot be taken: %s", error, exc_info=error)

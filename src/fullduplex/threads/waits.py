"""What waiting for a thread costs: counted, and told to the log when it gets long."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

logger = logging.getLogger("fullduplex.handler")

LONG_WAIT_S = 1.0  # a visitor notices
_REPORT_INTERVAL_S = 10.0


@dataclass(slots=True)
class Waits:
    """What waiting for a thread has cost since the process started.

    Attributes:
        count: leases that had to wait.
        total_s: how long, together.
        longest_s: the longest single wait.
        long_count: leases that waited for LONG_WAIT_S or longer.
        exhausted_count: leases that waited past THREADS_WAIT_S and got none.
        has_news: there were long waits since the last :meth:`report`.
    """

    count: int = 0
    total_s: float = 0.0
    longest_s: float = 0.0
    long_count: int = 0
    exhausted_count: int = 0
    has_news: bool = False
    _reported_count: int = field(default=0, repr=False)
    _report_after_s: float = field(default=0.0, repr=False)

    def note(self, wait_s: float) -> None:
        self.count += 1
        self.total_s += wait_s
        self.longest_s = max(self.longest_s, wait_s)
        if wait_s >= LONG_WAIT_S:
            self.long_count += 1
            self.has_news = True

    def report(self, now_s: float, thread_count: int, waiting_count: int) -> None:
        """Log the long waits of the last while, in one line at most every 10 s.

        Args:
            now_s: by the clock of the intervals.
            thread_count: threads that there are.
            waiting_count: leases that wait now.
        """
        if now_s < self._report_after_s:
            return
        self._report_after_s = now_s + _REPORT_INTERVAL_S
        self.has_news = False
        count, self._reported_count = self.long_count - self._reported_count, self.long_count
        logger.warning(
            "%d requests or sockets waited %g s or longer for a thread, the longest so far %.1f s; %d wait now for one "
            "of %d threads. Their sync code takes too long, or THREADS_COUNT is too low.",
            count,
            LONG_WAIT_S,
            self.longest_s,
            waiting_count,
            thread_count,
        )

"""How many threads it helps to run at a time, where calls wait for one.

Python runs one thread at a time. Where the process keeps its processor busy, more threads only take it from each other:
a request of one query costs half as much again with sixteen of them as with one. Where it does not, those that run wait
for a database or a file, and more of them get more done. So whoever waits is looked at every millisecond or so, and the
number goes up or down.
"""

from __future__ import annotations

import time

STALL_S = 0.001  # a view of Django's least kind takes about 0.1 ms
_LONGEST_INTERVAL_S = 0.004
_BUSY = 0.8  # of one processor; the rest is what others on the machine take
_STUCK_S = 0.02  # a thread that wants to run has had its turn by then: Python's switch interval is 5 ms


class Pace:
    """Between one and as many as are admitted.

    Attributes:
        count: threads that are to run sync code while others wait.
        interval_s: until the next look.
        looked_s: when the last look was, by the monotonic clock.
    """

    __slots__ = ("_cpu_s", "_done_count", "_done_s", "count", "interval_s", "looked_s")

    def __init__(self) -> None:
        self.count = 1
        self.begin(0)

    def begin(self, done_count: int) -> None:
        """Somebody waits again: the first look comes soon."""
        self.interval_s = STALL_S
        self.looked_s = self._done_s = time.monotonic()
        self._cpu_s, self._done_count = time.process_time(), done_count

    def look(self, now_s: float, done_count: int, max_count: int) -> None:
        """Go up where the processor is not busy, or no call has come to its end for a while; else down."""
        cpu_s = time.process_time()
        if done_count != self._done_count:
            self._done_s = now_s
        is_idle = cpu_s - self._cpu_s < _BUSY * (now_s - self.looked_s)
        if is_idle or now_s - self._done_s > _STUCK_S:
            self.count, self.interval_s = min(2 * self.count, max(1, max_count)), STALL_S
        else:
            self.count, self.interval_s = max(1, self.count // 2), min(2 * self.interval_s, _LONGEST_INTERVAL_S)
        self.looked_s, self._cpu_s, self._done_count = now_s, cpu_s, done_count

"""When a worker has served long enough: by requests, time or memory."""

from __future__ import annotations

import os
import random
from pathlib import Path

from fullduplex.limits import RecycleLimits

_STATM = Path("/proc/self/statm")  # proc_pid_statm(5): the second number is the resident set, in pages


class Recycling:
    """The limits of one worker, each a little higher than configured, by chance.

    Args:
        limits: as configured.
        now_s: since when it serves.
    """

    def __init__(self, limits: RecycleLimits, now_s: float) -> None:
        self._began_s = now_s
        self._requests_count = limits.max_requests_count * (1 + random.uniform(0, limits.jitter))
        self._lifetime_s = limits.max_lifetime_s * (1 + random.uniform(0, limits.jitter))
        self._memory_bytes = limits.max_memory_bytes * (1 + random.uniform(0, limits.jitter))

    def reason(self, requests_count: int, now_s: float) -> str | None:
        """Why the worker should be replaced now, or None.

        Args:
            requests_count: that it has taken.
            now_s: the time.
        """
        if requests_count >= self._requests_count > 0:
            return f"has taken {requests_count} requests"
        if now_s - self._began_s >= self._lifetime_s > 0:
            return f"has served for {now_s - self._began_s:.0f} s"
        if self._memory_bytes and (size_bytes := resident_bytes()) >= self._memory_bytes:
            return f"has {size_bytes} bytes in memory"
        return None


def resident_bytes() -> int:
    """Resident memory of this process; 0 where the system does not say."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0

"""How many workers ``--workers auto`` means: one for each core that this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

# https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files
_CGROUP = Path("/sys/fs/cgroup/cpu.max")


def cores_count(cgroup: Path = _CGROUP) -> int:
    """The processors of this process's affinity, and no more than the quota of its container pays for."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    try:
        quota, period = cgroup.read_text().split()[:2]
    except (OSError, ValueError):
        return count
    if not quota.isdecimal() or not period.isdecimal():  # "max"
        return count
    return max(1, min(count, math.ceil(int(quota) / int(period))))

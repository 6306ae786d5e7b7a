"""Which core the server runs on, and which the load generator: never the same one, if there are two."""

from __future__ import annotations

import os
from collections.abc import Callable

_AVAILABLE = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
SEPARATE = len(_AVAILABLE) > 1


def pin_load() -> None:
    """Pin this process, and what it starts, to the load generator's core."""
    if SEPARATE:
        os.sched_setaffinity(0, {_AVAILABLE[-1]})


def server_pin(count: int = 1) -> Callable[[], None] | None:
    """What a server's process must call before it becomes the server, to have so many cores; None where there are not
    so many beside the load generator's."""
    return (lambda: os.sched_setaffinity(0, {*_AVAILABLE[:count]})) if len(_AVAILABLE) > count else None

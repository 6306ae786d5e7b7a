"""What many workers need of the system."""

from __future__ import annotations

import os
import socket

from fullduplex.exceptions import ConfigurationError


def check_platform(workers_count: int) -> None:
    """Refuse what the platform cannot do.

    Raises:
        ConfigurationError: in one line.
    """
    if os.name != "posix" or not hasattr(socket, "AF_UNIX") or not hasattr(socket, "send_fds"):
        raise ConfigurationError(
            f"--workers {workers_count}: this platform cannot hand sockets to other processes; start several servers "
            "with --workers 1 behind a proxy."
        )

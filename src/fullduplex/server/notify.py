"""What systemd is told of a service of ``Type=notify``: sd_notify(3), sd_watchdog_enabled(3)."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import MutableMapping

logger = logging.getLogger("fullduplex.server")


class Notifier:
    """Tells systemd, where it has asked to be told; else does nothing.

    Args:
        environ: the variables are removed from it, so that no child takes them for its own.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self._address = environ.pop("NOTIFY_SOCKET", "")
        usec, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        is_watched = self._address and usec.isdecimal() and pid in ("", str(os.getpid()))
        self._interval_s = int(usec) / 2_000_000 if is_watched else 0.0
        self._told_s = 0.0
        self._is_ready = False

    def ready(self, text: str) -> None:
        self._is_ready = True
        self._tell(f"READY=1\nSTATUS={text}\nMAINPID={os.getpid()}")

    def reloading(self) -> None:
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1_000}\nSTATUS=Reloading")

    def stopping(self) -> None:
        self._tell("STOPPING=1\nSTATUS=Stopping")

    def alive(self) -> None:
        """To be called often; tells no oftener than is asked for, and not before the service is ready."""
        now_s = time.monotonic()
        if self._is_ready and self._interval_s and now_s >= self._told_s + self._interval_s:
            self._told_s = now_s
            self._tell("WATCHDOG=1")

    def _tell(self, state: str) -> None:
        if not self._address or not hasattr(socket, "AF_UNIX"):
            return
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto(state.encode(), address)
        except OSError as error:
            logger.warning("systemd cannot be told (%s): %s", self._address, error)

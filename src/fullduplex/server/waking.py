"""Signals as something that a selector waits for."""

from __future__ import annotations

import signal
import socket
from collections import deque
from collections.abc import Collection

_READ_BYTES = 4_096


class Signals:
    """Takes signals of this process until :meth:`close`, and remembers them in order.

    Args:
        numbers: the signals.
    """

    def __init__(self, numbers: Collection[int]) -> None:
        self._received: deque[int] = deque()
        self._read, self._written = socket.socketpair()
        for sock in (self._read, self._written):
            sock.setblocking(False)
        self._before = {number: signal.signal(number, self._note) for number in numbers}
        self._fd_before = signal.set_wakeup_fd(self._written.fileno(), warn_on_full_buffer=False)

    def fileno(self) -> int:
        """Readable when there is something to take."""
        return self._read.fileno()

    def take(self) -> list[int]:
        """Those that came since."""
        try:
            while self._read.recv(_READ_BYTES):
                pass
        except BlockingIOError:
            pass
        received = [*self._received]
        self._received.clear()
        return received

    def close(self) -> None:
        """Restore what was in force before."""
        signal.set_wakeup_fd(self._fd_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._read.close()
        self._written.close()

    def _note(self, number: int, frame: object) -> None:
        self._received.append(number)

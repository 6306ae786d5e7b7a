"""The connection of one process to the sequencer, as the sequencer sees it."""

from __future__ import annotations

import socket
import time
from collections import deque
from enum import Enum, auto

from fullduplex.sequencer.frames import Frame, Frames

READ_BYTES = 65_536
# Small, so that what a slow process takes is seen to move. unix(7): a socket that is full is writable again when three
# quarters of it were read.
WRITE_BYTES = 16_384


class Read(Enum):
    NOTHING = auto()
    SOMETHING = auto()
    END = auto()


class Peer:
    """One connection.

    Args:
        sock: non-blocking.
        pid: of the process at the other end, for the log.

    Attributes:
        groups: it subscribed to them.
        listens: it has subscribed to something. One connection listens or publishes, and does not do both.
        pending_bytes: for it, and not yet taken by the kernel.
        moved_s: when something of that was taken, or was the first to wait.
        waits_for: peers that must take something before this one is listened to again.
        holds_back: peers that wait for this one.
    """

    __slots__ = (
        "_chunk",
        "_frames",
        "_out",
        "groups",
        "holds_back",
        "listens",
        "moved_s",
        "pending_bytes",
        "pid",
        "sock",
        "waits_for",
    )

    def __init__(self, sock: socket.socket, pid: int) -> None:
        self.sock = sock
        self.pid = pid
        self.groups: set[bytes] = set()
        self.listens = False
        self.pending_bytes = 0
        self.moved_s = 0.0
        self.waits_for: set[Peer] = set()
        self.holds_back: set[Peer] = set()
        self._frames = Frames()
        self._out: deque[bytes] = deque()
        self._chunk = memoryview(b"")

    def read(self) -> Read:
        """Take what has come."""
        try:
            data = self.sock.recv(READ_BYTES)
        except BlockingIOError:
            return Read.NOTHING
        except OSError:
            return Read.END
        self._frames.feed(data)
        return Read.SOMETHING if data else Read.END

    def next(self) -> Frame | None:
        """The next thing that it says.

        Raises:
            ValueError: it speaks something else.
        """
        return self._frames.next()

    def put_back(self) -> None:
        """Have it say the last thing again, later."""
        self._frames.put_back()

    def put(self, frame: bytes) -> None:
        """Something for it, behind all else."""
        if not self.pending_bytes:
            self.moved_s = time.monotonic()
        self._out.append(frame)
        self.pending_bytes += len(frame)

    def flush(self) -> bool:
        """Send what it takes; whether it is still there."""
        try:
            while self._chunk or self._out:
                if not self._chunk:
                    self._chunk = memoryview(self._gather())
                sent_bytes = self.sock.send(self._chunk[:WRITE_BYTES])
                self._chunk = self._chunk[sent_bytes:]
                self.pending_bytes -= sent_bytes
                self.moved_s = time.monotonic()
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True

    def _gather(self) -> bytes:
        """What one write takes: a long frame alone, short ones together."""
        gathered = [self._out.popleft()]
        gathered_bytes = len(gathered[0])
        while self._out and gathered_bytes + len(self._out[0]) <= WRITE_BYTES:
            gathered.append(self._out.popleft())
            gathered_bytes += len(gathered[-1])
        return b"".join(gathered) if len(gathered) > 1 else gathered[0]

"""The line between a supervisor and one of its processes: JSON objects, and descriptors, over a pair of UNIX sockets.

Neither end ever blocks on it. Its end of file says that the other process is gone.
"""

from __future__ import annotations

import json
import os
import select
import socket
from collections.abc import Sequence
from typing import Any

Message = dict[str, Any]

READ_BYTES = 65_536
DESCRIPTORS_COUNT = 64  # in one read; each message brings those of one slot


class Channel:
    """One end of the line.

    Args:
        sock: a stream; it is made non-blocking.

    Attributes:
        is_closed: the other end is gone.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._received = b""
        self._unsent = b""
        self._descriptors: list[int] = []
        self.is_closed = False

    def fileno(self) -> int:
        return self._sock.fileno()

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Say something. What the other end does not take yet is kept for the next call."""
        if descriptors:
            message = {**message, "descriptors": len(descriptors)}
        self._unsent += json.dumps(message).encode() + b"\n"
        self.flush(descriptors)

    def is_hung_up(self) -> bool:
        """Whether the other end is gone, whatever is still to be read. For any thread."""
        poll = select.poll()
        poll.register(self._sock, 0)
        return bool(poll.poll(0))

    @property
    def is_behind(self) -> bool:
        """Whether the other end has not taken everything."""
        return bool(self._unsent)

    def flush(self, descriptors: Sequence[int] = ()) -> None:
        """Send what is still to be sent.

        Raises:
            BlockingIOError: descriptors cannot go along: the other end reads nothing.
        """
        try:
            while self._unsent:
                if descriptors:
                    sent_bytes = socket.send_fds(self._sock, [self._unsent], descriptors)
                    descriptors = ()
                else:
                    sent_bytes = self._sock.send(self._unsent)
                self._unsent = self._unsent[sent_bytes:]
        except BlockingIOError:
            if descriptors:
                raise
        except OSError:
            self.is_closed = True
            self._unsent = b""

    def receive(self, most_count: int = -1) -> list[Message]:
        """What the other end has said since. Descriptors stand in their message, as a list; the taker closes them.

        Args:
            most_count: so many messages at most; what has come beyond waits for the next call. -1: all.
        """
        while not self.is_closed:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._sock, READ_BYTES, DESCRIPTORS_COUNT)
            except BlockingIOError:
                break
            except OSError:
                data, descriptors = b"", []
            for fd in descriptors:
                os.set_inheritable(fd, False)
            self._descriptors += descriptors
            self._received += data
            self.is_closed = not data
        *lines, self._received = self._received.split(b"\n", most_count)
        return [self._with_descriptors(json.loads(line)) for line in lines]

    def close(self) -> None:
        self._sock.close()
        self.is_closed = True

    def _with_descriptors(self, message: Message) -> Message:
        count = message.get("descriptors", 0)
        if count:
            message["descriptors"], self._descriptors = self._descriptors[:count], self._descriptors[count:]
        return message

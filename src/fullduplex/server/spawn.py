"""Starting the processes of a service, and learning of their deaths."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Collection
from typing import Any

from fullduplex.server.channel import Channel, Message

# A fresh interpreter finds what this one has found, wherever that was; then it is a worker.
_CODE = "import sys; sys.path[:] = {path!r}; from fullduplex.server.child import main; main({fd})"


class Spawned:
    """A process that this one has started with a fresh interpreter.

    Attributes:
        channel: the line to it.
    """

    def __init__(self, order: Message, descriptors: Collection[int]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, *_flags(), "-c", _CODE.format(path=sys.path, fd=theirs.fileno())],
                pass_fds=(theirs.fileno(), *descriptors),
            )
        self.channel = Channel(ours)
        self.channel.send({**order, "argv": sys.argv})
        self.pid = self._process.pid

    def status(self) -> int | None:
        """As :attr:`subprocess.Popen.returncode`: None while it lives, negative for a signal."""
        return self._process.poll()

    def kill(self, number: int = signal.SIGKILL) -> None:
        self._process.send_signal(number)


def how_it_ended(status: int) -> str:
    """``was killed by SIGKILL``, ``ended with status 1``."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


def _flags() -> list[str]:
    """Those of this interpreter, such as ``-O`` and ``-W error``, as multiprocessing passes them on."""
    flags: Any = getattr(subprocess, "_args_from_interpreter_flags", list)
    return list(flags())


def watch(pid: int) -> int | None:
    """A descriptor that is readable when a process has ended; None where the system has none. pidfd_open(2)."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None

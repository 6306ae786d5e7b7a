"""Starting the processes of a service, and learning of their deaths."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection
from typing import Any

from fullduplex.server.channel import Channel, Message

UNKNOWN = 256  # a status that no process has: nobody could say
LAST_WORDS_S = 2.0  # from the end of a line to the word of the template on how its worker ended

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h

# A fresh interpreter finds what this one has found, wherever that was; then it is a worker.
_CODE = "import sys; sys.path[:] = {path!r}; from fullduplex.server.{module} import main; main({fd})"


class Spawned:
    """A process that this one has started with a fresh interpreter.

    Args:
        order: what to do.
        descriptors: to be inherited, under the same numbers.
        module: of this room, whose ``main`` it runs.

    Attributes:
        channel: the line to it.
    """

    def __init__(self, order: Message, descriptors: Collection[int], module: str = "child") -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    *interpreter_flags(),
                    "-c",
                    _CODE.format(path=sys.path, module=module, fd=theirs.fileno()),
                ],
                pass_fds=(theirs.fileno(), *descriptors),
            )
        self.channel = Channel(ours)
        self.channel.send({**order, "argv": sys.argv})
        self.pid = self._process.pid

    def named(self, pid: int) -> None:
        """Nothing new; see :meth:`Forked.named`."""

    def status(self) -> int | None:
        """As :attr:`subprocess.Popen.returncode`: None while it lives, negative for a signal."""
        return self._process.poll()

    def kill(self, number: int = signal.SIGKILL) -> None:
        self._process.send_signal(number)


class Forked:
    """A process that a template is to fork, or has forked.

    Attributes:
        channel: the line to it.
        pid: 0 until the template has said it.
    """

    def __init__(self, template: Spawned, number: int) -> None:
        self._template = template
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            template.channel.send({"kind": "fork", "id": number}, [theirs.fileno()])
        self.channel = Channel(ours)
        self.pid = 0
        self._wanted = 0
        self._status: int | None = None
        self._gone_s: float | None = None

    def named(self, pid: int) -> None:
        """The template has said who it is, or it has itself: it may be ready before the template is heard."""
        self.pid = pid
        wanted, self._wanted = self._wanted, 0
        if wanted:
            self.kill(wanted)

    def ended(self, status: int) -> None:
        self._status = status

    def status(self) -> int | None:
        """As :meth:`Spawned.status`. The template says how it ended; when that is dead, we are the reaper."""
        if self._status is None and self.pid and self._template.status() is not None:
            self._status = _reap(self.pid)
        if self._status is None and self.channel.is_closed:
            if self._gone_s is None:
                self._gone_s = time.monotonic()
            if time.monotonic() > self._gone_s + LAST_WORDS_S:
                self.kill()  # whatever has closed its line
                self._status = UNKNOWN
        return self._status

    def kill(self, number: int = signal.SIGKILL) -> None:
        if not self.pid:
            self._wanted = number
        elif self._status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def become_reaper() -> None:
    """Be the parent of workers whose template dies. PR_SET_CHILD_SUBREAPER, prctl(2); Linux has it."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None and sys.platform == "linux":
        prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap_others(known: Collection[int]) -> None:
    """Bury those that have become ours, and of which nobody here knows: what workers started and left behind."""
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None or found.si_pid in known:
            return
        os.waitpid(found.si_pid, 0)


def _reap(pid: int) -> int | None:
    try:
        ended, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return UNKNOWN
    return os.waitstatus_to_exitcode(status) if ended else None


def how_it_ended(status: int) -> str:
    """``was killed by SIGKILL``, ``ended with status 1``."""
    if status == UNKNOWN:
        return "ended"
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


def interpreter_flags() -> list[str]:
    """Those of this interpreter, such as ``-O`` and ``-W error``, as multiprocessing passes them on."""
    flags: Any = getattr(subprocess, "_args_from_interpreter_flags", list)
    return list(flags())

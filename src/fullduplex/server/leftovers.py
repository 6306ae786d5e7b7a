"""What an import leaves behind that a fork must not copy: threads, connections, databases, event loops.

A copied connection has two users, who take each other's answers; a copied thread is gone, with the locks that it held.
"""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

_DESCRIPTORS = Path("/proc/self/fd")  # proc_pid_fd(5)
_TASKS = Path("/proc/self/task")  # proc_pid_task(5): threads of libraries, too
_SQLITE = b"SQLite format 3\x00"  # https://www.sqlite.org/fileformat.html#magic_header_string


class Leftovers:
    """Remembers descriptors and threads, and says later what has come since."""

    def __init__(self) -> None:
        self._descriptors = _descriptors()
        self._threads = _threads_count()

    def look(self) -> str | None:
        """What is there now, was not before, and cannot be shared by two processes; None when there is nothing."""
        if _threads_count() > self._threads:
            names = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
            return f"a thread ({', '.join(names) or 'of a library'})"
        for fd, target in _descriptors().items():
            if self._descriptors.get(fd) != target and (kind := _kind(fd, target)):
                return kind
        return None


def can_fork() -> bool:
    """Whether this system forks safely and says what a process has open."""
    return hasattr(os, "fork") and _DESCRIPTORS.is_dir() and _TASKS.is_dir()


def _descriptors() -> dict[int, str]:
    found = {}
    for name in os.listdir(_DESCRIPTORS):
        try:
            found[int(name)] = os.readlink(_DESCRIPTORS / name)
        except OSError:  # that of the listing itself
            continue
    return found


def _threads_count() -> int:
    return len(os.listdir(_TASKS))


def _kind(fd: int, target: str) -> str | None:
    """What a descriptor is, where it cannot be shared."""
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        return None
    if stat.S_ISSOCK(mode):
        return f"a socket (descriptor {fd})"
    if stat.S_ISFIFO(mode):
        return f"a pipe (descriptor {fd})"
    if target.startswith("anon_inode:"):  # epoll, eventfd, inotify
        return f"{target} (descriptor {fd})"
    if stat.S_ISREG(mode) and (_is_database(fd) or not _is_log(fd)):
        return f"an open file ({target})"
    return None


def _is_database(fd: int) -> bool:
    try:
        return os.pread(fd, len(_SQLITE), 0) == _SQLITE
    except OSError:
        return False


def _is_log(fd: int) -> bool:
    """Whether a file is only read, or only appended to: its writers do not overwrite each other."""
    import fcntl

    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    return flags & os.O_ACCMODE == os.O_RDONLY or bool(flags & os.O_APPEND)

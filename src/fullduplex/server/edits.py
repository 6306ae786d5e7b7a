"""Edits of source files, as something that a selector waits for: what ``--reload`` acts on."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections import deque
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from fullduplex.exceptions import ConfigurationError
from fullduplex.server.config import ServerConfig

logger = logging.getLogger("fullduplex.server")

INCLUDED = ("*.py",)
EXCLUDED = (".*", "__pycache__", "node_modules", "*.py[cod]", "*~")  # files, and directories with all in them
QUIET_MS = 50  # an editor writes more than one file: so long nothing must have happened
JOIN_TIMEOUT_S = 5.0
_SHOWN_COUNT = 3


class Edits:
    """Watches directories in a thread, until :meth:`close`.

    Args:
        config: which directories, and what in them.

    Raises:
        ConfigurationError: a directory does not exist, or ``watchfiles`` is not installed.
    """

    def __init__(self, config: ServerConfig) -> None:
        try:
            from watchfiles import watch
        except ImportError:
            raise ConfigurationError("--reload needs watchfiles: pip install 'fullduplex[reload]'.") from None
        self._watch: Any = watch
        self._folders = _folders(config.reload_dirs or (".", *filter(None, [config.app_dir])))
        self._included = (*INCLUDED, *config.reload_includes)
        self._excluded = (*EXCLUDED, *config.reload_excludes)
        self._edited: deque[str] = deque()
        self._stopped = threading.Event()
        self._read, self._written = socket.socketpair()
        for sock in (self._read, self._written):
            sock.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="fullduplex reload", daemon=True)
        self._thread.start()
        logger.info("Edits in %s are watched", ", ".join(map(str, self._folders)))

    def fileno(self) -> int:
        """Readable when there is something to take."""
        return self._read.fileno()

    def take(self) -> list[str]:
        """Files that were edited since."""
        try:
            while self._read.recv(4_096):
                pass
        except BlockingIOError:
            pass
        return [self._edited.popleft() for _ in range(len(self._edited))]

    def close(self) -> None:
        self._stopped.set()
        self._thread.join(JOIN_TIMEOUT_S)
        self._read.close()
        self._written.close()

    def counts(self, path: str) -> bool:
        """Whether an edit of this file is one of the source."""
        for folder in self._folders:
            try:
                parts = Path(path).relative_to(folder).parts
            except ValueError:
                continue
            below = "/".join(parts)
            places = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]  # directories, and the file itself
            if not _any((*parts, *places), self._excluded) and _any((parts[-1], below), self._included):
                return True
        return False

    def _run(self) -> None:
        try:
            for changes in self._watch(
                *self._folders,
                watch_filter=lambda _, path: self.counts(path),
                step=QUIET_MS,
                stop_event=self._stopped,
                raise_interrupt=False,
            ):
                self._edited.extend(sorted({path for _, path in changes}))
                try:
                    self._written.send(b"\0")
                except BlockingIOError:
                    pass  # there is enough to read
        except Exception:
            logger.exception("Edits are not watched any more")


def in_words(paths: Sequence[str]) -> str:
    """The files, for a line of the log; the first few of many."""
    names = [os.path.relpath(path) for path in paths[:_SHOWN_COUNT]]
    rest_count = len(paths) - len(names)
    return ", ".join(names) + (f" and {rest_count} more" if rest_count > 0 else "")


def _folders(names: Sequence[str]) -> list[Path]:
    """Those that are in none of the others."""
    folders = [Path(name).resolve() for name in dict.fromkeys(names)]
    for folder in folders:
        if not folder.is_dir():
            raise ConfigurationError(f"--reload-dir {folder}: there is no such directory.")
    return [one for one in dict.fromkeys(folders) if not any(other in one.parents for other in folders)]


def _any(names: Sequence[str], patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for name in names for pattern in patterns)

"""Where the processes of one project and user meet: a directory that nobody else can enter.

``socket`` is the sequencer's, ``lock`` is held by it, and ``workers`` by each worker for whom this layer is implied.
Nobody who does not know ``SECRET_KEY`` finds the directory, and the kernel says whose process is at the other end.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import hmac
import os
import socket
import stat
import sys
import time
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from fullduplex.exceptions import ConfigurationError, LayerUnavailable
from fullduplex.sequencer.credentials import peer_of

# Not TMPDIR or XDG_RUNTIME_DIR: a service, a cron job and a shell of one user have different ones, or none.
# The name below it cannot be guessed, and is checked before it is used.
ABOVE = Path("/tmp")

PROTOCOL = b"fullduplex local layer 2"  # processes that speak another one meet elsewhere

_MAX_PATH_BYTES = 100  # sun_path has 108, on macOS 104. unix(7)
_MARK_S = 2.0

#: Descriptors of locks that a fork must not keep: it would go on holding them.
held: set[int] = set()


def is_possible() -> bool:
    """Whether this system has what the layer needs, and the project a key."""
    if not hasattr(socket, "AF_UNIX") or not hasattr(os, "fork") or sys.platform == "win32":
        return False
    try:
        return bool(settings.SECRET_KEY)
    except ImproperlyConfigured:
        return False


class Place:
    """The directory and what is in it.

    Args:
        directory: instead of the one that the user, the project's ``BASE_DIR`` and its ``SECRET_KEY`` make.

    Attributes:
        path: the directory.
        is_own: it is made and removed here.

    Raises:
        ConfigurationError: the path of ``directory`` is too long for a socket.
    """

    def __init__(self, directory: str | os.PathLike[str] | None = None) -> None:
        self.is_own = directory is None
        self.path = Path(directory).absolute() if directory is not None else ABOVE / f"fullduplex-{_name()}"
        self._socket_path = self.path / "socket"
        if len(os.fsencode(self._socket_path)) > _MAX_PATH_BYTES:
            raise ConfigurationError(
                f"The local layer cannot have its socket in {self.path}: that is longer than {_MAX_PATH_BYTES} bytes."
            )

    def make(self) -> None:
        """Make the directory, where it is missing.

        Raises:
            ConfigurationError: it cannot be made, it belongs to somebody else, or others may enter it.
        """
        try:
            self.path.mkdir(mode=0o700)
        except FileExistsError:
            pass
        except OSError as error:
            raise ConfigurationError(f"The local layer cannot make {self.path}: {error.strerror}.") from None
        self._check()

    def _check(self) -> None:
        """
        Raises:
            ConfigurationError: it belongs to somebody else, or others may enter it.
        """
        status = self.path.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise ConfigurationError(
                f"The local layer does not use {self.path}: it must be a directory of this user, with mode 700."
            )

    # The sequencer ---------------------------------------------------------------------------

    def lock(self) -> int | None:
        """Be the one who may listen, as long as this descriptor or a copy is open; None while there is one."""
        return self._lock("lock", exclusive=True)

    def listen(self) -> socket.socket:
        """Listen; the lock is ours, so what lies here is of the dead."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._socket_path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.bind(str(self._socket_path))
            os.chmod(self._socket_path, 0o600)
            sock.listen(1024)
        except BaseException:
            sock.close()
            raise
        return sock

    def connect(self) -> socket.socket | None:
        """Connect to the one who listens, without waiting; None where nobody does, or his queue is full.

        Raises:
            LayerUnavailable: it is another user's process, or there are no descriptors left.
            ConfigurationError: the directory belongs to somebody else, or others may enter it.
        """
        sock = None
        try:
            self._check()
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.setblocking(False)
            sock.connect(str(self._socket_path))
            _, uid = peer_of(sock)
        except OSError as error:
            if sock is not None:
                sock.close()
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                raise LayerUnavailable(f"the local layer cannot connect: {error.strerror}") from None
            return None
        if uid not in (None, os.geteuid()):
            sock.close()
            raise LayerUnavailable(f"{self._socket_path}: a process of another user listens there")
        return sock

    @property
    def was_listened_at(self) -> bool:
        """Whether somebody listens, or did so and died; who ends in order removes the socket.

        Raises:
            ConfigurationError: the directory belongs to somebody else, or others may enter it.
        """
        try:
            self._check()
            self._socket_path.lstat()
        except FileNotFoundError:
            return False
        return True

    def clear(self) -> bool:
        """Remove the socket of one who died, unless another one is there; whether that was done."""
        lock = self.lock()
        if lock is None:
            return False
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._socket_path)
        finally:
            release(lock)
        return True

    # The workers -----------------------------------------------------------------------------

    def mark_served(self) -> int:
        """Show that workers serve here, as long as the descriptor is open that is returned.

        Raises:
            ConfigurationError: see :meth:`make`.
            OSError: it cannot be done.
        """
        end_s = time.monotonic() + _MARK_S
        while True:
            self.make()
            with contextlib.suppress(FileNotFoundError):  # the last one who was there has just removed the directory
                fd = self._lock("workers", exclusive=False)
                if fd is not None:
                    return fd
            if time.monotonic() > end_s:
                raise TimeoutError(f"another process keeps {self.path / 'workers'} locked")
            time.sleep(0.005)  # somebody looks, just now

    def renew_mark(self, mark: int) -> int:
        """Show that the mark is in use, and make it anew where somebody has removed it; return the one that counts.

        Raises:
            ConfigurationError, OSError: see :meth:`mark_served`.
        """
        try:
            os.utime(self.path)
            if os.lstat(self.path / "workers").st_ino == os.fstat(mark).st_ino:
                os.utime(mark)
                return mark
        except FileNotFoundError:
            pass
        renewed = self.mark_served()
        release(mark)
        return renewed

    def remove_mark(self, mark: int) -> None:
        """Show it no longer; the last one removes what is of no more use."""
        release(mark)
        with contextlib.suppress(OSError):
            last = self._lock("workers", exclusive=True, create=False)
            if last is None:
                return
            try:
                os.unlink(self.path / "workers")
            finally:
                release(last)
            if self.is_own:
                os.rmdir(self.path)  # or the sequencer does it, when it ends

    def is_served(self) -> bool:
        """Whether workers serve here.

        Raises:
            ConfigurationError: the directory belongs to somebody else, or others may enter it.
        """
        try:
            self._check()
            fd = self._lock("workers", exclusive=True, create=False)
        except OSError:
            return False
        if fd is None:
            return True
        release(fd)
        return False

    def _lock(self, name: str, *, exclusive: bool, create: bool = True) -> int | None:
        import fcntl  # not everywhere, and this module is imported everywhere

        path = self.path / name
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
        fd = os.open(path, flags, 0o600)
        held.add(fd)
        try:
            fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            if os.fstat(fd).st_ino == os.lstat(path).st_ino:  # or it has been removed in between
                return fd
        except (BlockingIOError, FileNotFoundError):
            pass
        except BaseException:
            release(fd)
            raise
        release(fd)
        return None


def release(fd: int) -> None:
    """Close a descriptor that a lock depends on."""
    held.discard(fd)
    os.close(fd)


def _name() -> str:
    base = str(getattr(settings, "BASE_DIR", "") or os.environ.get("DJANGO_SETTINGS_MODULE", ""))
    text = b"\0".join((PROTOCOL, str(os.geteuid()).encode(), base.encode()))
    return hmac.new(str(settings.SECRET_KEY).encode(), text, hashlib.sha256).hexdigest()[:32]


def _after_fork() -> None:
    for fd in held:
        with contextlib.suppress(OSError):
            os.close(fd)
    held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

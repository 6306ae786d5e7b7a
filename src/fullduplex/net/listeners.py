"""Listening sockets: TCP, UNIX, inherited file descriptors, and those that systemd opened."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import stat
from collections.abc import MutableMapping
from dataclasses import dataclass

from fullduplex.exceptions import ConfigurationError

_SYSTEMD_FIRST_FD = 3  # SD_LISTEN_FDS_START, sd_listen_fds(3)
_FAMILY_MISSING = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

_split_address = re.compile(r"(?:\[(?P<ipv6>[^\]]*)\]|(?P<host>[^:\[\]]*))(?::(?P<port>[0-9]{1,5}))?").fullmatch


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenOptions:
    """How sockets are opened.

    Attributes:
        port: for addresses that name none; 0 picks a free one.
        mode: of UNIX sockets.
        reuse_port: let other processes listen on the same TCP port.
    """

    port: int = 0
    mode: int = 0o660
    backlog_count: int = 2048
    reuse_port: bool = False


class Listener:
    """A listening socket, and the file that a UNIX socket leaves behind."""

    __slots__ = ("_file", "_path", "sock")

    def __init__(self, sock: socket.socket, path: str | None = None) -> None:
        self.sock = sock
        self._path = path
        self._file = _identity(path) if path else None

    def url(self, scheme: str) -> str:
        """What a person types to reach it."""
        return address_url(self.sock, scheme)

    def close(self) -> None:
        """Close the socket, and remove its file unless another server has put its own there."""
        self.sock.close()
        if self._path is not None and _identity(self._path) == self._file:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)


def open_listeners(address: str, options: ListenOptions) -> list[Listener]:
    """Listen on one address: ``host:port``, ``[ipv6]:port``, ``host``, ``unix:path`` or ``fd://N``.

    Returns:
        One listener for each address that a host name stands for.

    Raises:
        ConfigurationError: the address is malformed, in use, not ours, or not allowed.
    """
    if address.startswith("unix:"):
        path = address.removeprefix("unix:")
        return [Listener(open_unix(path, options.mode, options.backlog_count), path)]
    if address.startswith("fd://"):
        number = address.removeprefix("fd://")
        if not number.isdecimal():
            raise ConfigurationError(f"--bind {address}: a descriptor is a number, such as fd://3.")
        return [Listener(inherit(int(number)))]
    host, port = split_address(address, options.port)
    return [Listener(sock) for sock in open_tcp(host, port, options.backlog_count, reuse_port=options.reuse_port)]


def split_address(address: str, default_port: int) -> tuple[str, int]:
    """Split ``host:port``; IPv6 addresses stand in brackets where a port follows.

    Raises:
        ConfigurationError: it is no such address.
    """
    if address.count(":") > 1 and "[" not in address:
        return address, default_port
    match = _split_address(address)
    if match is None or int(match["port"] or 0) > 65_535:
        raise ConfigurationError(
            f"--bind {address}: not an address; write host:port, [ipv6]:port, unix:/path or fd://3."
        )
    return match["ipv6"] or match["host"] or "", int(match["port"]) if match["port"] else default_port


def open_tcp(host: str, port: int, backlog_count: int, *, reuse_port: bool = False) -> list[socket.socket]:
    """Listen on every address that ``host`` resolves to; on every address of the machine without a host.

    Port 0 picks a free port, the same for all addresses.

    Raises:
        ConfigurationError: the address is in use, not ours, or not allowed.
    """
    try:
        infos = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(f"Cannot listen on {host}: {getattr(error, 'strerror', None) or error}.") from None
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    for family, kind, protocol, _, address in dict.fromkeys(infos):
        if port == 0 and sockets:
            address = (address[0], sockets[0].getsockname()[1], *address[2:])
        try:
            sockets.append(_listen(socket.socket(family, kind, protocol), address, backlog_count, reuse_port))
        except OSError as error:
            # "localhost" often has an IPv6 address on machines without IPv6.
            if error.errno in _FAMILY_MISSING and len(infos) > 1:
                missing = error
                continue
            for opened in sockets:
                opened.close()
            raise ConfigurationError(_explain(error, f"{host}:{port}")) from None
    if missing is not None and not sockets:
        raise ConfigurationError(_explain(missing, f"{host}:{port}"))
    return sockets


def open_unix(path: str, mode: int, backlog_count: int) -> socket.socket:
    """Listen on a UNIX socket; a stale one that nobody listens on is replaced.

    Raises:
        ConfigurationError: the platform has none, the path is not a socket, or somebody listens there.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise ConfigurationError("--uds: this platform has no UNIX sockets; use --host and --port.")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(sock, path)
        sock.bind(path)
        os.chmod(path, mode)  # before listen: until then nobody can connect
        sock.listen(backlog_count)
    except OSError as error:
        sock.close()
        raise ConfigurationError(_explain(error, path)) from None
    except BaseException:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def listen_at(family: int, address: object, backlog_count: int, *, reuse_port: bool = False) -> socket.socket:
    """Listen on one TCP address, as :meth:`socket.socket.getsockname` gives it.

    Raises:
        ConfigurationError: as :func:`open_tcp`.
    """
    try:
        return _listen(socket.socket(family, socket.SOCK_STREAM), address, backlog_count, reuse_port)
    except OSError as error:
        raise ConfigurationError(_explain(error, str(address))) from None


def listen_beside(sock: socket.socket, backlog_count: int) -> socket.socket:
    """Listen once more where a TCP socket with SO_REUSEPORT listens: the kernel shares out connections by their hash.

    Raises:
        ConfigurationError: as :func:`open_tcp`.
    """
    return listen_at(sock.family, sock.getsockname(), backlog_count, reuse_port=True)


def inherit(fd: int) -> socket.socket:
    """Take over a listening socket that another process opened.

    Raises:
        ConfigurationError: the descriptor is not a stream socket.
    """
    try:
        sock = socket.socket(fileno=fd)
    except OSError as error:
        raise ConfigurationError(f"--fd {fd}: {error.strerror or error}.") from None
    if sock.type != socket.SOCK_STREAM:
        sock.detach()
        raise ConfigurationError(f"--fd {fd}: not a stream socket.")
    sock.setblocking(False)
    return sock


def systemd_descriptors(environ: MutableMapping[str, str]) -> list[int]:
    """The descriptors that systemd opened for this process, by socket activation.

    The variables are removed, so that no child takes them for its own. Source: sd_listen_fds(3).
    """
    pid = environ.get("LISTEN_PID", "")
    count = environ.get("LISTEN_FDS", "")
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        environ.pop(name, None)
    descriptors = list(range(_SYSTEMD_FIRST_FD, _SYSTEMD_FIRST_FD + int(count)))
    for fd in descriptors:
        os.set_inheritable(fd, False)
    return descriptors


def address_url(sock: socket.socket, scheme: str = "http") -> str:
    """What a person types to reach a listening socket."""
    name = sock.getsockname()
    if not isinstance(name, tuple):
        return f"unix:{os.fsdecode(name)}"
    host, port = name[0], name[1]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _listen(sock: socket.socket, address: object, backlog_count: int, reuse_port: bool) -> socket.socket:
    try:
        if os.name == "posix":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            if not hasattr(socket, "SO_REUSEPORT"):
                raise ConfigurationError("--reuse-port: this platform has no SO_REUSEPORT.")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)  # type: ignore[arg-type]
        sock.listen(backlog_count)
    except BaseException:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _remove_stale(sock: socket.socket, path: str) -> None:
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise ConfigurationError(f"--uds {path}: the path exists and is not a socket.")
    except FileNotFoundError:
        return
    probe = socket.socket(sock.family, socket.SOCK_STREAM)
    probe.settimeout(1.0)
    try:
        probe.connect(path)
    except ConnectionRefusedError:
        os.unlink(path)
    except OSError:
        pass
    else:
        raise ConfigurationError(f"{path} is in use: another server listens on it.")
    finally:
        probe.close()


def _explain(error: OSError, place: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{place} is in use: another program listens on it. Stop it, or choose another with --port."
    if error.errno == errno.EACCES:
        return f"{place}: not allowed to listen there. Ports below 1024 need privileges; choose one with --port."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{place} is not an address of this machine."
    return f"Cannot listen on {place}: {error.strerror or error}."

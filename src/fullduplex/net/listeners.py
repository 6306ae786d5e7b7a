"""Listening sockets: TCP, UNIX, and inherited file descriptors."""

from __future__ import annotations

import errno
import os
import socket
import stat

from fullduplex.exceptions import ConfigurationError


def open_tcp(host: str, port: int, backlog_count: int) -> list[socket.socket]:
    """Listen on every address that ``host`` resolves to.

    Port 0 picks a free port, the same for all addresses.

    Raises:
        ConfigurationError: the address is in use, not ours, or not allowed.
    """
    try:
        infos = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ConfigurationError(f"Cannot listen on {host}: {error.strerror or error}.") from None
    sockets: list[socket.socket] = []
    for family, kind, protocol, _, address in dict.fromkeys(infos):
        if port == 0 and sockets:
            address = (address[0], sockets[0].getsockname()[1], *address[2:])
        sock = socket.socket(family, kind, protocol)
        try:
            if os.name == "posix":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(address)
            sock.listen(backlog_count)
        except OSError as error:
            for opened in (sock, *sockets):
                opened.close()
            raise ConfigurationError(_explain(error, f"{host}:{port}")) from None
        sock.setblocking(False)
        sockets.append(sock)
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
        os.chmod(path, mode)
        sock.listen(backlog_count)
    except OSError as error:
        sock.close()
        raise ConfigurationError(_explain(error, path)) from None
    except BaseException:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def inherit(fd: int) -> socket.socket:
    """Take over a listening socket that another process opened.

    Raises:
        ConfigurationError: the descriptor is not a socket.
    """
    try:
        sock = socket.socket(fileno=fd)
    except OSError as error:
        raise ConfigurationError(f"--fd {fd}: {error.strerror or error}.") from None
    sock.setblocking(False)
    return sock


def address_url(sock: socket.socket, scheme: str = "http") -> str:
    """What a person types to reach a listening socket."""
    name = sock.getsockname()
    if not isinstance(name, tuple):
        return f"unix:{os.fsdecode(name)}"
    host, port = name[0], name[1]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


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

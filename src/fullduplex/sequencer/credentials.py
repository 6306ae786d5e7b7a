"""Who is at the other end of a UNIX socket, as the kernel says."""

from __future__ import annotations

import socket
import struct

_UCRED = struct.Struct("3i")  # struct ucred: pid, uid, gid. unix(7)


def peer_of(sock: socket.socket) -> tuple[int, int | None]:
    """Process and user at the other end; None for the user where the system does not say (macOS): then the mode of the
    directory alone keeps others out."""
    if not hasattr(socket, "SO_PEERCRED"):
        return 0, None
    pid, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return pid, uid

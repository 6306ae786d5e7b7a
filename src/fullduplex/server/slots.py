"""The listening sockets of a service of many workers: opened once, held by the supervisor, never closed by it.

Each slot of a worker has a TCP socket of its own on each address (SO_REUSEPORT), so that the kernel shares out
connections by their hash, evenly also in bursts. A slot whose worker is gone keeps its socket and who waits there:
closing it would reset them. Where the kernel does not share out, and for sockets that others opened, there is one
that all workers accept from.
"""

from __future__ import annotations

import socket
import sys

from fullduplex.net import listeners
from fullduplex.net.listeners import Listener, ListenOptions
from fullduplex.server.config import ServerConfig

# socket(7); the systems of the BSD family have the option, and give everything to one of the sockets.
SHARES_OUT = sys.platform == "linux" and hasattr(socket, "SO_REUSEPORT")


class Slots:
    """Opens the sockets of all slots.

    Args:
        config: where to listen.
        addresses: as for :func:`~fullduplex.net.listeners.open_listeners`.

    Attributes:
        shared: those that every worker accepts from.
        own: those of each slot.

    Raises:
        ConfigurationError: an address is malformed, in use, not ours, or not allowed.
    """

    def __init__(self, config: ServerConfig, addresses: list[str]) -> None:
        self._config = config
        self.shared: list[Listener] = []
        self.own: dict[int, list[Listener]] = {}
        self._patterns: list[Listener] = []
        try:
            for address in addresses:
                self._open(address)
        except BaseException:
            self.close()
            raise

    def open(self, slot: int) -> list[Listener]:
        """The own sockets of a slot, opened when it is new."""
        if slot not in self.own:
            self.own[slot] = []
            for pattern in self._patterns:
                if slot == 0:
                    self.own[slot].append(pattern)
                else:
                    sock = listeners.listen_beside(pattern.sock, self._config.backlog_count)
                    self.own[slot].append(Listener(sock))
        return self.own[slot]

    @property
    def descriptors(self) -> list[int]:
        """Of all sockets."""
        every = [*self.shared, *(listener for own in self.own.values() for listener in own)]
        return [listener.sock.fileno() for listener in every]

    def urls(self, scheme: str) -> list[str]:
        return [listener.url(scheme) for listener in (*self._patterns, *self.shared)]

    def close(self) -> None:
        """At the very end: whoever waits in the kernel is reset, unless others hold the sockets, too."""
        for listener in {*self.shared, *self._patterns, *(one for own in self.own.values() for one in own)}:
            listener.close()

    def _open(self, address: str) -> None:
        config = self._config
        options = ListenOptions(
            port=config.port, mode=config.uds_mode, backlog_count=config.backlog_count, reuse_port=config.reuse_port
        )
        is_tcp = not address.startswith(("unix:", "fd://"))
        opened = listeners.open_listeners(address, options)
        if not is_tcp or not SHARES_OUT:
            self.shared += opened
            return
        if not config.reuse_port:  # they were opened without the option to see whether somebody else listens here
            names = [(listener.sock.family, listener.sock.getsockname()) for listener in opened]
            for listener in opened:
                listener.close()
            opened = [Listener(listeners.listen_at(*name, config.backlog_count, reuse_port=True)) for name in names]
        self._patterns += opened

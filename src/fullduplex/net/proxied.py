"""The header with which a proxy begins each connection: the PROXY protocol.

It stands before everything else, TLS included, so it is read from the socket before there is a transport.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence

from fullduplex.exceptions import ConfigurationError, FullduplexError
from fullduplex.net.connection import address_of
from fullduplex.wire.proxy_protocol import ProxyHeader, ProxyProtocolReader

SocketAddress = tuple[str, int | None] | None


class UntrustedPeer(FullduplexError):
    """A connection from somebody who may not say on whose behalf it comes."""


class ProxyHeaders:
    """Reads the headers of trusted proxies.

    Args:
        trusts: whether a peer, given its address and ours, may say who is behind it.
        timeout_s: from connecting to the end of the header.
        tls_ports: those where the proxies end TLS, for headers that do not say it.

    Raises:
        ConfigurationError: one of them is no port.
    """

    def __init__(
        self,
        trusts: Callable[[SocketAddress, SocketAddress], bool],
        timeout_s: float,
        tls_ports: Sequence[str] = (),
    ) -> None:
        self._trusts = trusts
        self._timeout_s = timeout_s
        self._tls_ports = frozenset(map(_port, tls_ports))

    async def read(self, sock: socket.socket) -> ProxyHeader:
        """Return what the proxy says, with nothing read of what follows.

        Raises:
            UntrustedPeer: it is none of the proxies.
            RemoteProtocolError: there is no header, or it is malformed.
            OSError: it left, or took too long.
        """
        if not self._trusts(address_of(sock.getpeername()), address_of(sock.getsockname())):
            raise UntrustedPeer
        loop = asyncio.get_running_loop()
        reader = ProxyProtocolReader()
        async with asyncio.timeout(self._timeout_s):
            while True:
                data = await loop.sock_recv(sock, reader.wanted_bytes)
                if not data:
                    raise ConnectionResetError
                header = reader.receive_data(data)
                if header is not None:
                    if header.server is not None and header.server[1] in self._tls_ports:
                        header.tls = True
                    return header


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text) <= 65_535):
        raise ConfigurationError(f"--proxy-protocol-tls-ports: {text!r} is not a port.")
    return int(text)

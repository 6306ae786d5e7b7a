"""Which protocol a connection speaks: ALPN says so over TLS, and the first bytes where there is none.

Every connection begins as one of HTTP/1. That costs those nothing that are: HTTP/2's preface is no request, and is met
where a request is refused.
"""

from __future__ import annotations

import asyncio
import ipaddress

from fullduplex.limits import ConnectionLimits, HTTP2Limits
from fullduplex.net.connection import Connection
from fullduplex.net.http2_connection import HTTP2Connection
from fullduplex.net.stream import ClientConnection, Gateway
from fullduplex.wire.http1_writer import DefaultFields
from fullduplex.wire.http2_library import MakeCodec


class Negotiation:
    """Makes connections of HTTP/2 of those whose clients speak it.

    Args:
        gateway: answers the requests.
        make_codec: of a connection.
        http2: its limits.
        limits: of each connection.
        connections: of the worker.
        defaults: fields of all responses.
        h2c: who may speak HTTP/2 without TLS: ``on``, ``off``, or ``local``, on loopback and UNIX sockets.
    """

    def __init__(
        self,
        gateway: Gateway,
        make_codec: MakeCodec,
        http2: HTTP2Limits,
        limits: ConnectionLimits,
        connections: set[ClientConnection],
        defaults: DefaultFields,
        h2c: str,
    ) -> None:
        self._gateway = gateway
        self._make_codec = make_codec
        self._http2 = http2
        self._limits = limits
        self._connections = connections
        self._defaults = defaults
        self._h2c = h2c

    def take_over(self, old: Connection, data: bytes) -> bool:
        """Go on with a connection in HTTP/2, and with what has come of it; False where that may not be."""
        transport = old.transport
        if old.tls is None and not self._may_be_plain(transport):
            return False
        codec = self._make_codec(self._http2, now_s=old.loop.time(), defaults=self._defaults)
        new = HTTP2Connection(self._gateway, self._limits, codec, self._connections, old.loop)
        new.client, new.server, new.scheme, new.tls = old.client, old.server, old.scheme, old.tls
        new.leave, old.leave = old.leave, None
        self._connections.discard(old)
        new.begin(transport, data)
        if old.refused:
            new.refuse()
        return True

    def _may_be_plain(self, transport: asyncio.Transport) -> bool:
        """Whether HTTP/2 may be spoken without TLS: the listening side decides, and not what a client or proxy says."""
        if self._h2c != "local":
            return self._h2c == "on"
        name = transport.get_extra_info("sockname")
        if not isinstance(name, tuple):
            return True  # a UNIX socket
        host = ipaddress.ip_address(str(name[0]).partition("%")[0])
        if isinstance(host, ipaddress.IPv6Address) and host.ipv4_mapped is not None:
            return host.ipv4_mapped.is_loopback
        return host.is_loopback

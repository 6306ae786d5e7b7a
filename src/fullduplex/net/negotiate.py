"""Which protocol a connection speaks: ALPN says so over TLS, and the first bytes where there is none.

Every connection begins as one of HTTP/1. That costs those nothing that are: HTTP/2's preface is no request, and is met
where a request is refused.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from fullduplex.limits import ConnectionLimits, HTTP2Limits
from fullduplex.log_lines import address
from fullduplex.net.connection import Connection
from fullduplex.net.stream import ClientConnection, Gateway, Stream
from fullduplex.wire.events import RequestHead
from fullduplex.wire.http1_writer import DefaultFields
from fullduplex.wire.http2_errors import ErrorCode
from fullduplex.wire.http2_library import MakeCodec

logger = logging.getLogger("fullduplex.server")

if TYPE_CHECKING:  # what only HTTP/2 needs is imported when there is some
    from fullduplex.net.http2_connection import HTTP2Connection

Made = TypeVar("Made", bound="HTTP2Connection")

#: Cipher suites of TLS 1.2 that RFC 9113 appendix A does not prohibit: ephemeral keys, and authenticated encryption.
_is_adequate = re.compile("(?:EC)?DHE-.*(?:GCM|CCM|CHACHA20)").match


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
        h2c_upgrade: whether the same may begin with HTTP/1.1, and ``Upgrade: h2c``.

    Attributes:
        http1_gateway: of connections that speak HTTP/1.
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
        h2c_upgrade: bool = False,
    ) -> None:
        self._gateway = gateway
        self._make_codec = make_codec
        self._http2 = http2
        self._limits = limits
        self._connections = connections
        self._defaults = defaults
        self._h2c = h2c
        self.http1_gateway: Gateway = UpgradeGateway(gateway, self.upgrade) if h2c_upgrade else gateway

    def take_over(self, old: Connection, data: bytes) -> bool:
        """Go on with a connection in HTTP/2, and with what has come of it; False where that may not be."""
        transport = old.transport
        ssl_object = transport.get_extra_info("ssl_object")
        if not self._may_be_plain(transport) if ssl_object is None else ssl_object.selected_alpn_protocol() != "h2":
            return False  # RFC 9113 section 3.2: over TLS it is negotiated
        from fullduplex.net.http2_connection import HTTP2Connection

        new = self._adopt(old, HTTP2Connection)
        new.begin(transport, data)
        if old.refused:
            new.refuse(ErrorCode.ENHANCE_YOUR_CALM)
        elif ssl_object is not None:
            name, version, _ = ssl_object.cipher()
            if version == "TLSv1.2" and not _is_adequate(name):
                logger.info("Ended the HTTP/2 connection of %s: RFC 9113 section 9.2.2: %s", address(new.client), name)
                new.refuse(ErrorCode.INADEQUATE_SECURITY)
        return True

    def upgrade(self, stream: Stream, head: RequestHead) -> bool:
        """Take over a connection that asks for it with ``Upgrade: h2c``; False where that may not be."""
        if not isinstance(stream, Connection) or stream.tls is not None or not self._may_be_plain(stream.transport):
            return False
        from fullduplex.net.http2_upgrade import ACCEPT, UpgradedConnection, request_frame

        request = request_frame(head)
        if request is None:
            return False
        transport = stream.transport
        transport.write(ACCEPT)
        new = self._adopt(stream, UpgradedConnection)
        new.will_begin_with(request)
        new.begin(transport, stream.give_up())
        return True

    def _adopt(self, old: Connection, kind: type[Made]) -> Made:
        codec = self._make_codec(self._http2, now_s=old.loop.time(), defaults=self._defaults)
        new = kind(self._gateway, self._limits, codec, self._connections, old.loop)
        new.client, new.server, new.scheme, new.tls = old.client, old.server, old.scheme, old.tls
        new.leave, old.leave = old.leave, None
        self._connections.discard(old)
        return new

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


class UpgradeGateway:
    """The gateway of connections that may be upgraded: it stands before the one that answers requests.

    Args:
        gateway: answers what is no upgrade.
        take_over: goes on with a connection in HTTP/2, if its request asks for that and may.
    """

    def __init__(self, gateway: Gateway, take_over: Callable[[Stream, RequestHead], bool]) -> None:
        self._gateway = gateway
        self._take_over = take_over
        self.refuse = gateway.refuse
        self.refusal = gateway.refusal
        self.note_queued = gateway.note_queued

    def open(self, stream: Stream, head: RequestHead) -> None:
        """A request that cannot be taken over is answered in HTTP/1.1, as RFC 7540 section 3.2 has it."""
        if head.upgrade is None or not self._take_over(stream, head):
            self._gateway.open(stream, head)

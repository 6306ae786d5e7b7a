"""The PROXY protocol, versions 1 and 2: a header in front of a connection that says who is behind the proxy.

Source: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address

from fullduplex.exceptions import RemoteProtocolError

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_V1_START = b"PROXY "
_V1_MAX_BYTES = 107  # section 2.1, the line break included
_V2_FIXED_BYTES = 16
_V2_MAX_BYTES = 4096  # addresses need 216; the rest are optional vectors, of which we know one

_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6, _UNIX = 0x11, 0x21, 0x31
_ADDRESS_BYTES = {_TCP4: 12, _TCP6: 36, _UNIX: 216}
_TYPE_SSL = 0x20
_CLIENT_SSL = 0x01

_match_v1 = re.compile(rb"PROXY TCP([46]) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) (\d{1,5}) (\d{1,5})\r\n").fullmatch

Address = tuple[str, int]


class ProxyHeader:
    """What the proxy says.

    Attributes:
        client: who connected to the proxy; None where it says nothing (a health check of its own, UNIX sockets).
        server: whom the client connected to; None likewise.
        tls: whether the client spoke TLS to the proxy, where it says so (version 2 only).
    """

    __slots__ = ("client", "server", "tls")

    def __init__(self, client: Address | None = None, server: Address | None = None, tls: bool = False) -> None:
        self.client = client
        self.server = server
        self.tls = tls


class ProxyProtocolReader:
    """Reads one header, and never a byte behind it when it is fed at most :attr:`wanted_bytes` at a time."""

    __slots__ = ("_input", "wanted_bytes")

    def __init__(self) -> None:
        self._input = b""
        self.wanted_bytes = len(SIGNATURE)

    def receive_data(self, data: bytes) -> ProxyHeader | None:
        """Take bytes; return the header when it is complete.

        Raises:
            RemoteProtocolError: it is none.
        """
        self._input += data
        if self._input.startswith(_V1_START):
            return self._read_v1()
        if self._input.startswith(SIGNATURE):
            return self._read_v2()
        if not (SIGNATURE.startswith(self._input) or _V1_START.startswith(self._input)):
            raise RemoteProtocolError("PROXY protocol section 2: the connection does not begin with a header")
        self.wanted_bytes = len(SIGNATURE) - len(self._input)
        return None

    def trailing_data(self) -> bytes:
        """Bytes that came behind the header."""
        return self._input

    def _read_v1(self) -> ProxyHeader | None:
        """Section 2.1. Its length is not known before its end, so that it is read byte by byte."""
        end = self._input.find(b"\r\n") + 2
        if end < 2:
            if len(self._input) >= _V1_MAX_BYTES:
                raise RemoteProtocolError("PROXY protocol section 2.1: the line is too long")
            self.wanted_bytes = 1
            return None
        line, self._input = self._input[:end], self._input[end:]
        if len(line) > _V1_MAX_BYTES:
            raise RemoteProtocolError("PROXY protocol section 2.1: the line is too long")
        if line.startswith(b"PROXY UNKNOWN"):
            return ProxyHeader()
        match = _match_v1(line)
        if match is None:
            raise RemoteProtocolError("PROXY protocol section 2.1: a malformed line")
        version, client, server, client_port, server_port = match.groups()
        return ProxyHeader(_v1_address(version, client, client_port), _v1_address(version, server, server_port))

    def _read_v2(self) -> ProxyHeader | None:
        """Section 2.2."""
        data = self._input
        if len(data) < _V2_FIXED_BYTES:
            self.wanted_bytes = _V2_FIXED_BYTES - len(data)
            return None
        end = _V2_FIXED_BYTES + int.from_bytes(data[14:16], "big")
        if data[12] not in (_LOCAL, _PROXY) or end > _V2_MAX_BYTES:
            raise RemoteProtocolError("PROXY protocol section 2.2: an unknown version or command, or a header too long")
        if len(data) < end:
            self.wanted_bytes = end - len(data)
            return None
        self._input = data[end:]
        return ProxyHeader() if data[12] == _LOCAL else _v2_header(data[13], data[_V2_FIXED_BYTES:end])


def _v1_address(version: bytes, host: bytes, port: bytes) -> Address:
    kind = IPv4Address if version == b"4" else IPv6Address
    try:
        address = ip_address(host.decode("ascii"))
    except ValueError:
        address = None
    if type(address) is not kind or int(port) > 65_535:
        raise RemoteProtocolError("PROXY protocol section 2.1: a malformed address")
    return str(address), int(port)


def _v2_header(family: int, block: bytes) -> ProxyHeader:
    """Read the address block and the vectors behind it."""
    size = _ADDRESS_BYTES.get(family)
    if size is None:  # section 2.2: to be accepted as if the proxy said nothing
        return ProxyHeader()
    if len(block) < size:
        raise RemoteProtocolError("PROXY protocol section 2.2: the addresses are cut short")
    tls = _has_client_tls(block[size:])
    if family == _UNIX:
        return ProxyHeader(tls=tls)
    length = 4 if family == _TCP4 else 16
    hosts = [str(ip_address(block[start : start + length])) for start in (0, length)]
    ports = [int.from_bytes(block[start : start + 2], "big") for start in (2 * length, 2 * length + 2)]
    return ProxyHeader((hosts[0], ports[0]), (hosts[1], ports[1]), tls)


def _has_client_tls(vectors: bytes) -> bool:
    """Section 2.2.5: look for PP2_TYPE_SSL among type, length, value."""
    tls = False
    position = 0
    while position < len(vectors):
        end = position + 3 + int.from_bytes(vectors[position + 1 : position + 3], "big")
        if position + 3 > len(vectors) or end > len(vectors):
            raise RemoteProtocolError("PROXY protocol section 2.2: a vector is cut short")
        if vectors[position] == _TYPE_SSL and end > position + 3:
            tls = bool(vectors[position + 3] & _CLIENT_SSL)
        position = end
    return tls

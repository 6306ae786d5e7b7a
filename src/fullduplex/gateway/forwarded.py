"""What trusted proxies tell about the client: X-Forwarded-* and Forwarded (RFC 7239).

A list of addresses is read from the right: its last element was written by our peer, the one before by
the proxy in front of that, and so on. The first address that is not a trusted proxy's is the client; what
stands left of it may be anybody's invention. A malformed element ends the reading, and never raises.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from fullduplex.exceptions import ConfigurationError
from fullduplex.limits import Checked, opt
from fullduplex.wire.grammar import is_authority

if TYPE_CHECKING:  # the configuration is here, and a supervisor, which has no event loop, needs it
    from fullduplex.asgi import Scope

Address = tuple[str, int]

HEADERS = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "forwarded")

MAX_HOPS_COUNT = 32  # of proxies in a row; each address costs microseconds, and heads are large
_CACHE_COUNT = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyConfig(Checked):
    """Which proxies are trusted, and in what."""

    headers: bool = opt(True, "Read the headers of trusted proxies.", flags=("--proxy-headers",))
    trusted: tuple[str, ...] = opt(
        (),
        'Proxies: addresses, networks such as 10.0.0.0/8, "unix" for UNIX sockets, or "*" for everybody. Uvicorn '
        "trusts 127.0.0.1; here nobody is trusted unasked, since tunnels and port forwarders come from there, too.",
        flags=("--forwarded-allow-ips",),
        metavar="NETWORKS",
    )
    fields: tuple[str, ...] = opt(
        ("x-forwarded-for", "x-forwarded-proto"),
        "The headers that the proxies set. Name none that they pass on as they came: clients would set it.",
        flags=("--forwarded-headers",),
        metavar="NAMES",
        choices=HEADERS,
    )
    protocol: bool = opt(
        False, "Connections of trusted proxies begin with a PROXY protocol header, 1 or 2.", flags=("--proxy-protocol",)
    )
    protocol_timeout_s: float = opt(
        5.0,
        "From connecting to the end of the PROXY header; then dropped. HAProxy sends it at once.",
        flags=("--proxy-protocol-timeout-s",),
    )
    protocol_tls_ports: tuple[str, ...] = opt(
        (),
        "Ports where the proxy ends TLS: clients that it took there are on https. Version 1 of the PROXY protocol "
        "(nginx, stunnel) says nothing of TLS, but to which port the client came; version 2 can say it itself.",
        flags=("--proxy-protocol-tls-ports",),
        metavar="PORTS",
    )


class TrustedPeers:
    """The proxies whose word counts.

    Raises:
        ConfigurationError: an element is neither an address, a network, ``unix`` nor ``*``.
    """

    def __init__(self, elements: Sequence[str]) -> None:
        self._everybody = "*" in elements
        self.unix = self._everybody or "unix" in elements
        self._networks = [_network(element) for element in elements if element not in ("*", "unix")]
        self._known: dict[str, bool] = {}

    def __contains__(self, host: str) -> bool:
        """Whether an IP address is a trusted proxy's."""
        known = self._known.get(host)
        if known is None:
            if len(self._known) >= _CACHE_COUNT:
                self._known.clear()
            known = self._known[host] = self._everybody or self._is_listed(host)
        return known

    def trusts(self, client: tuple[str, int | None] | None, server: tuple[str, int | None] | None) -> bool:
        """Whether a connection's peer is trusted: by its address, or for coming over a UNIX socket."""
        if client is not None and client[1] is not None:
            return client[0] in self
        return self.unix and server is not None and server[1] is None

    def _is_listed(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address  # a dual-stack socket writes ::ffff:1.2.3.4
        return any(address in network for network in self._networks)


class Forwarded:
    """Corrects scopes by what trusted proxies say.

    Args:
        peers: the proxies.
        names: headers that they set, from :data:`HEADERS`.

    Raises:
        ConfigurationError: both kinds of headers are asked for: one of them would be the client's.
    """

    def __init__(self, peers: TrustedPeers, names: Sequence[str]) -> None:
        self._rfc7239 = "forwarded" in names
        if self._rfc7239 and len(names) > 1:
            raise ConfigurationError(
                "--forwarded-headers: either forwarded or x-forwarded-...; a proxy that sets one passes on the other."
            )
        self._peers = peers
        self._names = frozenset(name.encode() for name in names)

    def apply(self, scope: Scope) -> None:
        """Correct client, scheme, server and Host of a scope; nothing where its peer is no trusted proxy."""
        if not self._peers.trusts(scope["client"], scope["server"]):
            return
        lines: dict[bytes, list[str]] = {}
        for name, value in scope["headers"]:
            if name in self._names:
                lines.setdefault(name, []).append(value.decode("latin-1"))
        if not lines:
            return
        hop = self._forwarded_hop(lines[b"forwarded"]) if self._rfc7239 else self._x_forwarded_hop(lines)
        if hop.is_unknown:
            scope["client"] = None
        elif hop.client is not None:
            scope["client"] = hop.client
        _apply_proto(scope, hop.proto)
        _apply_host(scope, hop.host)
        _apply_port(scope, hop.port)

    def _forwarded_hop(self, lines: list[str]) -> Hop:
        hop = Hop()
        for element in islice(_elements_from_right(lines), MAX_HOPS_COUNT):
            if element is None:
                hop.is_unknown = True
                break
            node = parse_node(element.get("for", ""))
            is_unknown = node is None and "for" in element
            hop = Hop(node or hop.client, element.get("proto", ""), element.get("host", ""), is_unknown=is_unknown)
            if node is None or node[0] not in self._peers:
                break
        return hop

    def _x_forwarded_hop(self, lines: dict[bytes, list[str]]) -> Hop:
        """The other lists have one element for each address, or just one, by the proxy nearest to us."""
        addresses = _list(lines.get(b"x-forwarded-for"))
        client = None
        from_right = 1
        for position, text in enumerate(reversed(addresses[-MAX_HOPS_COUNT:]), 1):
            node = parse_node(text)
            if node is None:
                break
            client, from_right = node, position
            if node[0] not in self._peers:
                break

        def at_client(name: bytes) -> str:
            values = _list(lines.get(name))
            if not values:
                return ""
            return values[-from_right] if len(values) == len(addresses) else values[-1]

        return Hop(
            client, at_client(b"x-forwarded-proto"), at_client(b"x-forwarded-host"), at_client(b"x-forwarded-port")
        )


@dataclass(slots=True)
class Hop:
    """What the outermost trusted proxy says of its client; empty where it says nothing.

    ``is_unknown``: it says something that is no address. The client is not the proxy then: whoever is let in for coming
    from there (rate limits, networks of one's own) would be anybody who can spoil the field.
    """

    client: Address | None = None
    proto: str = ""
    host: str = ""
    port: str = ""
    is_unknown: bool = False


_split_node = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::(\d{1,5}))?").fullmatch


def parse_node(text: str) -> Address | None:
    """Read ``1.2.3.4``, ``1.2.3.4:80``, ``2001:db8::1`` or ``[2001:db8::1]:80``; the port is 0 where none is given.

    Returns:
        None for anything else: ``unknown``, obfuscated identifiers (RFC 7239 section 6), addresses with a zone
        (which means nothing on another machine, and may be any text), nonsense.
    """
    if "%" in text:
        return None
    match = _split_node(text)
    host = (match[1] or match[2]) if match else text
    port = int(match[3] or 0) if match else 0
    try:
        return str(ipaddress.ip_address(host)), port if port <= 65_535 else 0
    except ValueError:
        return None


_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
#: One ``name=value`` and what follows it. Values with brackets or colons should be quoted, and often are not.
_match_pair = re.compile(rf'[ \t]*({_TOKEN})=("(?:[^"\\]|\\.)*"|[^\s;,"]+)[ \t]*([;,]|$)').match


def _elements_from_right(lines: list[str]) -> Iterator[dict[str, str] | None]:
    """The elements of Forwarded lines, the last one first; None for a malformed line, which ends them.

    Within a line only reading from the left can tell where a quoted text begins.
    """
    for line in reversed(lines):
        elements: list[dict[str, str]] = [{}]
        position = 0
        while position < len(line):
            match = _match_pair(line, position)
            if match is None:
                yield None
                return
            name, value, separator = match.groups()
            if value.startswith('"'):
                value = re.sub(r"\\(.)", r"\1", value[1:-1])
            elements[-1].setdefault(name.lower(), value)
            if separator == ",":
                elements.append({})
            position = match.end()
        yield from reversed(elements)


def _apply_proto(scope: Scope, proto: str) -> None:
    secure = {"https": True, "wss": True, "http": False, "ws": False}.get(proto.lower())
    if secure is not None:
        plain = "ws" if scope["type"] == "websocket" else "http"
        scope["scheme"] = plain + "s" if secure else plain


def _apply_host(scope: Scope, host: str) -> None:
    value = host.encode("latin-1")
    if not value or not is_authority(value):
        return
    scope["headers"] = [(b"host", value), *(field for field in scope["headers"] if field[0] != b"host")]
    name, _, port = host.rpartition(":") if not host.endswith("]") and ":" in host else (host, "", "")
    default_port = 443 if scope["scheme"] in ("https", "wss") else 80
    scope["server"] = (name.strip("[]"), int(port) if port else default_port)


def _apply_port(scope: Scope, port: str) -> None:
    if port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) <= 65_535 and scope["server"]:
        scope["server"] = (scope["server"][0], int(port))


def _list(lines: list[str] | None) -> list[str]:
    return [part.strip(" \t") for part in ",".join(lines).split(",")] if lines else []


def _network(element: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(element)
    except ValueError as error:
        raise ConfigurationError(f"--forwarded-allow-ips: {error}.") from None

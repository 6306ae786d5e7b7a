"""What trusted proxies write into a head about the client."""

from __future__ import annotations

from ipaddress import ip_address

from fullduplex.asgi import Scope
from fullduplex.gateway.forwarded import HEADERS, Forwarded, TrustedPeers
from fullduplex.wire.grammar import is_authority
from tests.fuzz.harness import Harness

PEERS = TrustedPeers(("10.0.0.0/8", "::1", "unix"))
READERS = (Forwarded(PEERS, HEADERS[:4]), Forwarded(PEERS, ("forwarded",)), Forwarded(TrustedPeers("*"), HEADERS[:4]))

VECTORS = (
    b"x-forwarded-for: 1.2.3.4, 10.0.0.2\nx-forwarded-proto: https, http",
    b"x-forwarded-for: [2001:db8::1]:80\nx-forwarded-host: example.com:8443\nx-forwarded-port: 8443",
    b"x-forwarded-for: ::ffff:10.0.0.9, 2001:db8::2\nx-forwarded-for: 10.1.1.1\nx-forwarded-host: [::1]",
    b'forwarded: for="[2001:db8::1]:4711";proto=https;host="a.example:80", for=10.0.0.3;by=_x',
    b"forwarded: for=192.0.2.60;proto=http\nforwarded: For=unknown, for=_hidden;host=h",
    b'forwarded: for="a\\"b,c";proto="ht\\tps"',
)
WORDS = (
    *(b",", b";", b"=", b'"', b"\\", b" ", b"\t", b":", b"[", b"]", b"%", b"\n", b"\xe9", b"\xb2", b"\xa0", b"\x85"),
    *(b"1.2.3.4", b"10.0.0.2", b"256.1.1.1", b"01.2.3.4", b"::1", b"[::1]:0", b"::ffff:10.0.0.1", b"fe80::1%eth0"),
    *(b"for=", b"proto=", b"host=", b"by=", b"https", b"wss", b"HTTP", b"example.com", b"a:99999", b"a:", b"u@a"),
    *(b"x-forwarded-for: ", b"x-forwarded-proto: ", b"x-forwarded-host: ", b"x-forwarded-port: ", b"forwarded: "),
    *(b"0", b"443", b"65536", b"-1", b"unknown", b"_hidden", b"2001:db8::"),
)


class ForwardedFields(Harness):
    """Lines of ``name: value``, as the codec has let them through."""

    name = "forwarded"
    share = 7
    vectors = VECTORS
    words = WORDS

    def check(self, data: bytes) -> None:
        fields = [(b"host", b"inner")]
        for line in data.split(b"\n"):
            name, _, value = line.partition(b":")
            fields.append((name.lower(), value.strip(b" \t")))
        for reader in READERS:
            for kind in ("http", "websocket"):
                scope: Scope = {
                    "type": kind,
                    "client": ("10.0.0.1", 50_000),
                    "server": ("10.0.0.5", 80),
                    "scheme": "http" if kind == "http" else "ws",
                    "headers": fields,
                }
                reader.apply(scope)
                assert scope["client"] is not None or reader is READERS[1], "only Forwarded makes a client unknown"
                assert_sane(scope)


def assert_sane(scope: Scope) -> None:
    """Whatever was written, the scope says what the codec could have said."""
    if scope["client"] is not None:
        client, port = scope["client"]
        assert str(ip_address(client)) == client
        assert "%" not in client, "a zone means nothing on another machine, and may be any text"
        assert 0 <= port <= 65_535
    assert scope["scheme"] in (("http", "https") if scope["type"] == "http" else ("ws", "wss"))
    assert 0 <= scope["server"][1] <= 65_535
    assert scope["server"][0]
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    assert all(map(is_authority, hosts[:1]))

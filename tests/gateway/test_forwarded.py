"""Who the client is, by the word of trusted proxies and of nobody else."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullduplex.exceptions import ConfigurationError
from fullduplex.gateway.forwarded import HEADERS, MAX_HOPS_COUNT, Forwarded, TrustedPeers, parse_node

TRUSTED = ["10.0.0.0/8", "127.0.0.1", "::1", "unix"]
PEER = ("10.0.0.1", 1234)
X_HEADERS = [name for name in HEADERS if name.startswith("x-")]


def corrected(headers, *, client=PEER, names=X_HEADERS, kind="http", server=("10.0.0.2", 8000)):
    scope = {
        "type": kind,
        "scheme": "http" if kind == "http" else "ws",
        "client": client,
        "server": server,
        "headers": [(b"host", b"inner"), *((name.encode(), value.encode("latin-1")) for name, value in headers)],
    }
    Forwarded(TrustedPeers(TRUSTED), names).apply(scope)
    return scope


def client_of(*lines, **kwargs):
    return corrected([("x-forwarded-for", line) for line in lines], **kwargs)["client"]


def forwarded(*lines, **kwargs):
    return corrected([("forwarded", line) for line in lines], names=["forwarded"], **kwargs)


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        (["1.2.3.4"], ("1.2.3.4", 0)),
        (["1.2.3.4:567"], ("1.2.3.4", 567)),
        (["6.6.6.6, 1.2.3.4"], ("1.2.3.4", 0)),
        (["6.6.6.6, 1.2.3.4, 10.0.0.7, 10.9.9.9"], ("1.2.3.4", 0)),
        (["6.6.6.6", "1.2.3.4", "10.0.0.7"], ("1.2.3.4", 0)),
        (["10.0.0.7, 10.0.0.8"], ("10.0.0.7", 0)),
        (["2001:db8::1"], ("2001:db8::1", 0)),
        (["[2001:DB8::1]:443"], ("2001:db8::1", 443)),
        (["1.2.3.4, ::ffff:10.0.0.5"], ("1.2.3.4", 0)),
    ],
)
def test_the_client_is_the_first_from_the_right_that_is_no_trusted_proxy(lines, client):
    assert client_of(*lines) == client


@pytest.mark.parametrize(
    "text", ["", ",", "unknown", "1.2.3", "1.2.3.4.5", "evil\x00", "é", "[::1", "::1]:80", "1.2.3.4:x"]
)
def test_malformed_values_change_nothing_and_never_raise(text):
    assert client_of(text) == PEER
    assert client_of(f"1.2.3.4, {text}") == PEER
    assert client_of(f"{text}, 1.2.3.4") == ("1.2.3.4", 0)


def test_nobody_else_is_believed():
    headers = [("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "evil")]
    for client in [("11.0.0.1", 1), ("fe80::1%eth0", 1), ("not an address", 1), None]:
        scope = corrected(headers, client=client)
        assert (scope["client"], scope["scheme"], scope["headers"][0]) == (client, "http", (b"host", b"inner"))


def test_a_unix_socket_is_trusted_by_name():
    assert client_of("1.2.3.4", client=None, server=("/run/s", None)) == ("1.2.3.4", 0)
    scope = {"type": "http", "scheme": "http", "client": None, "server": ("/run/s", None)}
    scope["headers"] = [(b"x-forwarded-for", b"1.2.3.4")]
    Forwarded(TrustedPeers(["127.0.0.1"]), X_HEADERS).apply(scope)
    assert scope["client"] is None


def test_a_star_trusts_everybody():
    assert "9.9.9.9" in TrustedPeers(["*"])
    assert TrustedPeers(["*"]).trusts(None, ("/run/s", None))


def test_the_chain_is_read_no_further_than_a_bound():
    assert client_of(", ".join(["1.2.3.4"] + ["10.0.0.1"] * MAX_HOPS_COUNT))[0] == "10.0.0.1"


@pytest.mark.parametrize(
    ("kind", "proto", "scheme"),
    [
        ("http", "https", "https"),
        ("http", "HTTPS", "https"),
        ("http", "wss", "https"),
        ("websocket", "https", "wss"),
        ("websocket", "ws", "ws"),
        ("http", "gopher", "http"),
        ("http", "", "http"),
    ],
)
def test_the_scheme(kind, proto, scheme):
    assert corrected([("x-forwarded-proto", proto)], kind=kind)["scheme"] == scheme


def test_lists_of_the_same_length_are_read_at_the_client_s_place():
    addresses = ("x-forwarded-for", "6.6.6.6, 1.2.3.4, 10.0.0.7")
    assert corrected([addresses, ("x-forwarded-proto", "http, https, http")])["scheme"] == "https"
    assert corrected([addresses, ("x-forwarded-proto", "http, https")])["scheme"] == "https"
    assert corrected([addresses, ("x-forwarded-proto", "https, http")])["scheme"] == "http"


def test_host_and_port():
    scope = corrected([("x-forwarded-host", "example.org"), ("x-forwarded-proto", "https")])
    assert scope["headers"][0] == (b"host", b"example.org")
    assert [name for name, _ in scope["headers"]].count(b"host") == 1
    assert scope["server"] == ("example.org", 443)
    scope = corrected([("x-forwarded-host", "[::1]:81"), ("x-forwarded-port", "82")])
    assert scope["server"] == ("::1", 82)
    for bad in ("a b", "a/b", "a\r\nb", "é", "a:99999", ","):
        scope = corrected([("x-forwarded-host", bad), ("x-forwarded-port", "99999")])
        assert scope["headers"][0] == (b"host", b"inner")
        assert scope["server"] == ("10.0.0.2", 8000)


def test_headers_that_the_proxy_does_not_set_are_the_client_s():
    scope = corrected([("x-forwarded-host", "evil"), ("forwarded", "for=6.6.6.6")], names=["x-forwarded-for"])
    assert scope["headers"][0] == (b"host", b"inner")
    assert scope["client"] == PEER


@pytest.mark.parametrize(
    ("lines", "client", "scheme", "host"),
    [
        (["for=1.2.3.4;proto=https;host=example.org"], ("1.2.3.4", 0), "https", b"example.org"),
        (['For="[2001:db8::17]:4711"'], ("2001:db8::17", 4711), "http", b"inner"),
        (["for=6.6.6.6;proto=http, for=1.2.3.4;proto=https"], ("1.2.3.4", 0), "https", b"inner"),
        (["for=6.6.6.6", 'for=1.2.3.4; proto = "https"'], None, "http", b"inner"),
        (["for=1.2.3.4;proto=https, for=10.0.0.7;proto=http"], ("1.2.3.4", 0), "https", b"inner"),
        (["for=1.2.3.4, for=unknown;proto=https"], None, "https", b"inner"),
        (["for=1.2.3.4, for=_hidden"], None, "http", b"inner"),
        (["for=1.2.3.4, for=_hidden, for=10.0.0.7"], None, "http", b"inner"),
        (['for="1.2.3.4'], None, "http", b"inner"),
        (['for=", for=1.2.3.4'], None, "http", b"inner"),
        (['for="', "for=10.0.0.7"], None, "http", b"inner"),
        (["proto=https"], PEER, "https", b"inner"),
        (["proto=https, for=10.0.0.7"], ("10.0.0.7", 0), "https", b"inner"),
        (['for="', "for=1.2.3.4"], ("1.2.3.4", 0), "http", b"inner"),
        (['for="a\\"b, for=6.6.6.6", for=1.2.3.4'], ("1.2.3.4", 0), "http", b"inner"),
        ([""], PEER, "http", b"inner"),
        ([";;,,"], None, "http", b"inner"),
    ],
)
def test_rfc_7239(lines, client, scheme, host):
    scope = forwarded(*lines)
    assert (scope["client"], scope["scheme"], scope["headers"][0][1]) == (client, scheme, host)


def test_both_kinds_at_once_are_refused():
    with pytest.raises(ConfigurationError, match="either forwarded or x-forwarded"):
        Forwarded(TrustedPeers([]), ["forwarded", "x-forwarded-for"])


@pytest.mark.parametrize("element", ["10.0.0.1/8", "localhost", ""])
def test_what_is_no_network_is_one_clear_line(element):
    with pytest.raises(ConfigurationError, match=r"^--forwarded-allow-ips: "):
        TrustedPeers([element])


def test_nodes():
    assert parse_node("1.2.3.4:99999") == ("1.2.3.4", 0)
    assert parse_node("_obfuscated") is None
    assert parse_node("fe80::1%eth0") is None
    assert parse_node("[fe80::1%<b>]:80") is None


_PIECES = [
    "1.2.3.4",
    "10.0.0.7",
    "[::1]:80",
    "for=",
    "proto=https",
    "host=",
    '"',
    "\\",
    ",",
    ";",
    "=",
    " ",
    "\t",
    "é",
    ":",
    "%",
]


@given(
    st.lists(st.lists(st.sampled_from(_PIECES) | st.text(st.characters(max_codepoint=255)), max_size=8), max_size=4),
    st.sampled_from(HEADERS),
)
def test_no_header_raises_or_makes_up_what_is_no_address(lines, name):
    headers = [(name, "".join(pieces)) for pieces in lines]
    scope = corrected(headers, names=["forwarded"] if name == "forwarded" else X_HEADERS)
    if scope["client"] is None:
        assert name == "forwarded"
    else:
        ipaddress.ip_address(scope["client"][0])
        assert 0 <= scope["client"][1] <= 65_535
    assert 0 <= scope["server"][1] <= 65_535
    assert scope["scheme"] in ("http", "https")

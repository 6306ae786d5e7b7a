"""PROXY protocol headers, whole, byte by byte, and as the reader asks for them."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullduplex.exceptions import RemoteProtocolError
from fullduplex.wire.proxy_protocol import SIGNATURE, ProxyProtocolReader

REST = b"GET / HTTP/1.1\r\n"


def v2(command: int, family: int, block: bytes) -> bytes:
    return SIGNATURE + bytes([command, family]) + len(block).to_bytes(2, "big") + block


def vector(kind: int, value: bytes) -> bytes:
    return bytes([kind]) + len(value).to_bytes(2, "big") + value


TCP4 = socket.inet_aton("1.2.3.4") + socket.inet_aton("5.6.7.8") + (1000).to_bytes(2, "big") + (443).to_bytes(2, "big")
TCP6 = (
    socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + socket.inet_pton(socket.AF_INET6, "2001:db8::2")
    + (1000).to_bytes(2, "big")
    + (443).to_bytes(2, "big")
)
V4 = (("1.2.3.4", 1000), ("5.6.7.8", 443))
V6 = (("2001:db8::1", 1000), ("2001:db8::2", 443))

GOOD = [
    (b"PROXY TCP4 1.2.3.4 5.6.7.8 1000 443\r\n", V4, False),
    (b"PROXY TCP6 2001:db8::1 2001:DB8::2 1000 443\r\n", V6, False),
    (b"PROXY UNKNOWN\r\n", (None, None), False),
    (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", (None, None), False),
    (v2(0x21, 0x11, TCP4), V4, False),
    (v2(0x21, 0x21, TCP6), V6, False),
    (v2(0x21, 0x31, bytes(216)), (None, None), False),
    (v2(0x21, 0x00, b""), (None, None), False),
    (v2(0x21, 0x12, TCP4), (None, None), False),
    (v2(0x20, 0x11, TCP4), (None, None), False),
    (v2(0x20, 0x00, b""), (None, None), False),
    (v2(0x21, 0x11, TCP4 + vector(0x04, b"x" * 9) + vector(0x20, b"\x01\0\0\0\0")), V4, True),
    (v2(0x21, 0x11, TCP4 + vector(0x20, b"\x00\0\0\0\0")), V4, False),
]

BAD = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"\r\n\r\n\0\r\nQUIX\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1000\r\n",
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1000 99999\r\n",
    b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
    b"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
    b"PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n",
    b"PROXY " + b"x" * 102,
    b"PROXY TCP4 " + b"1" * 200 + b"\r\n",
    v2(0x11, 0x11, TCP4),
    v2(0x22, 0x11, TCP4),
    v2(0x21, 0x11, TCP4[:-1]),
    v2(0x21, 0x11, bytes(5000)),
    v2(0x21, 0x11, TCP4 + b"\x20\x00"),
    v2(0x21, 0x11, TCP4 + b"\x20\x00\x09\x01"),
]


def read(data, cut):
    reader = ProxyProtocolReader()
    position = 0
    while position < len(data):
        size = cut(reader)
        header = reader.receive_data(data[position : position + size])
        position += size
        if header is not None:
            return header, reader.trailing_data() + data[position:]
    return None, b""


CUTS = [lambda reader: 10_000, lambda reader: 1, lambda reader: reader.wanted_bytes]


@pytest.mark.parametrize(("data", "addresses", "tls"), GOOD)
@pytest.mark.parametrize("cut", CUTS)
def test_headers_in_every_cut(data, addresses, tls, cut):
    header, rest = read(data + REST, cut)
    assert ((header.client, header.server), header.tls, rest) == (addresses, tls, REST)


@pytest.mark.parametrize("data", [data for data, _, _ in GOOD])
def test_the_reader_never_asks_for_a_byte_behind_the_header(data):
    reader = ProxyProtocolReader()
    position = 0
    while True:
        assert 1 <= reader.wanted_bytes <= len(data) - position
        piece = data[position : position + reader.wanted_bytes]
        position += len(piece)
        if reader.receive_data(piece) is not None:
            break
    assert position == len(data)
    assert reader.trailing_data() == b""


@pytest.mark.parametrize("data", BAD)
@pytest.mark.parametrize("cut", CUTS)
def test_what_is_no_header_is_refused(data, cut):
    with pytest.raises(RemoteProtocolError, match="PROXY protocol section"):
        read(data, cut)


@pytest.mark.parametrize("data", [data for data, _, _ in GOOD])
def test_an_incomplete_header_waits(data):
    assert read(data[:-1], CUTS[0])[0] is None


@given(st.binary(max_size=300), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11"]))
def test_nothing_but_a_protocol_error_comes_out(data, start):
    try:
        read(start + data, CUTS[0])
    except RemoteProtocolError:
        pass

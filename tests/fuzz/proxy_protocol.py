"""The header in front of a proxied connection."""

from __future__ import annotations

from ipaddress import ip_address

from fullduplex.exceptions import RemoteProtocolError
from fullduplex.wire.proxy_protocol import SIGNATURE, ProxyHeader, ProxyProtocolReader
from tests.fuzz.harness import Harness

TCP4 = bytes((1, 2, 3, 4, 5, 6, 7, 8)) + b"\x03\xe8\x01\xbb"
TCP6 = bytes(range(32)) + b"\x03\xe8\x01\xbb"
MAX_HEADER_BYTES = 4096


def _v2(command: int, family: int, block: bytes) -> bytes:
    return SIGNATURE + bytes((command, family)) + len(block).to_bytes(2, "big") + block


VECTORS = (
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1000 443\r\n",
    b"PROXY TCP6 2001:db8::1 ::1 1000 443\r\nGET / HTTP/1.1\r\n",
    b"PROXY UNKNOWN\r\n",
    b"PROXY UNKNOWN " + b"f" * 80 + b"\r\n",
    _v2(0x20, 0x00, b""),
    _v2(0x21, 0x11, TCP4),
    _v2(0x21, 0x21, TCP6) + b"GET / HTTP/1.1\r\n",
    _v2(0x21, 0x31, b"/a".ljust(108, b"\0") * 2),
    _v2(0x21, 0x11, TCP4 + b"\x20\x00\x05\x01\0\0\0\0" + b"\x03\x00\x04abcd"),
    _v2(0x21, 0x11, TCP4 + b"\x04\x0f\x00" + bytes(3840)),
    _v2(0x21, 0x12, TCP4),
)
WORDS = (
    *(
        b"PROXY ",
        b"TCP4",
        b"TCP6",
        b"UNKNOWN",
        b"\r\n",
        b"\n",
        b" ",
        b"1.2.3.4",
        b"01.2.3.4",
        b"::1",
        b"::ffff:1.2.3.4",
    ),
    *(b"0", b"65535", b"65536", b"99999", b"-1", b"\xd9\xa1", b"%lo", SIGNATURE, b"\x20", b"\x21", b"\x11", b"\x31"),
    *(b"\0\0", b"\xff\xff", b"\x00\x0c", b"\x00\x24", b"\x20\x00\x01\x01", b"\x20\x00\x00"),
)


class ProxyProtocol(Harness):
    name = "proxy_protocol"
    share = 8
    vectors = VECTORS
    words = WORDS

    def check(self, data: bytes) -> None:
        """As the server reads: never more than is wanted, so that not a byte behind the header is taken."""
        read(data)

    def check_closely(self, data: bytes) -> None:
        header, used = read(data)
        assert read(data, one_by_one=True) == (header, used)
        if header is not None:
            reader = ProxyProtocolReader()
            assert _said(reader.receive_data(data)) == header
            assert reader.trailing_data() == data[used:]


def read(data: bytes, *, one_by_one: bool = False) -> tuple[object, int]:
    """What the header says (None for an invalid or unfinished one), and how many bytes it took."""
    reader = ProxyProtocolReader()
    position = 0
    while position < len(data):
        assert 0 < reader.wanted_bytes <= MAX_HEADER_BYTES
        piece = data[position : position + (1 if one_by_one else reader.wanted_bytes)]
        position += len(piece)
        try:
            header = reader.receive_data(piece)
        except RemoteProtocolError:
            return None, 0
        if header is not None:
            assert reader.trailing_data() == b""
            return _said(header), position
        assert len(reader.trailing_data()) == position <= MAX_HEADER_BYTES
    return None, 0


def _said(header: ProxyHeader | None) -> object:
    assert header is not None
    for address in (header.client, header.server):
        if address is not None:
            ip_address(address[0])
            assert 0 <= address[1] <= 65_535
    return header.client, header.server, header.tls

"""The fields of a WebSocket handshake, seen from both sides."""

from __future__ import annotations

from fullduplex.exceptions import RemoteProtocolError
from fullduplex.wire.deflate import DeflateParameters, negotiate_deflate
from fullduplex.wire.events import Fields, RequestHead
from fullduplex.wire.grammar import is_field_value, is_token
from fullduplex.wire.handshake import accept_headers, check_response, read_handshake
from tests.fuzz.harness import Harness

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
REQUEST = (
    b"host: a\nupgrade: websocket\nconnection: Upgrade\nsec-websocket-key: " + KEY + b"\nsec-websocket-version: 13\n"
)
RESPONSE = b"upgrade: websocket\nconnection: Upgrade\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\n"
VECTORS = (
    REQUEST,
    REQUEST + b"sec-websocket-protocol: chat, other\nsec-websocket-protocol: third",
    REQUEST + b"sec-websocket-extensions: permessage-deflate; client_max_window_bits",
    REQUEST + b"sec-websocket-extensions: permessage-deflate; server_max_window_bits=10, permessage-deflate",
    REQUEST + b'sec-websocket-extensions: x; a="b\\"c"; d=e, permessage-deflate; server_no_context_takeover',
    RESPONSE,
    RESPONSE
    + b"sec-websocket-extensions: permessage-deflate; server_no_context_takeover\nsec-websocket-protocol: chat",
)
WORDS = (
    *(
        b",",
        b";",
        b"=",
        b'"',
        b"\\",
        b" ",
        b"\t",
        b":",
        b"\n",
        b"\xe9",
        b"\xb9",
        b"==",
        b"=",
        b"13",
        b"8",
        b"15",
        b"16",
    ),
    *(b"websocket", b"Upgrade", b"keep-alive", b"h2c", b"permessage-deflate", b"chat", b"x-webkit-deflate-frame"),
    *(b"client_max_window_bits", b"server_max_window_bits=9", b"server_max_window_bits", b"client_no_context_takeover"),
    *(b"server_no_context_takeover", b"sec-websocket-key: ", b"sec-websocket-version: 13\n", KEY),
    *(b"sec-websocket-extensions: ", b"sec-websocket-protocol: ", b"upgrade: ", b"connection: "),
)
STATUSES = {400, 426}


class Handshake(Harness):
    """Lines of ``name: value``, as the codec has let them through."""

    name = "handshake"
    share = 8
    vectors = VECTORS
    words = WORDS

    def check(self, data: bytes) -> None:
        fields = _fields(data)
        head = RequestHead("GET", b"/", fields, "1.1", upgrade=b"websocket")
        try:
            handshake = read_handshake(head)
        except RemoteProtocolError as error:
            assert error.status_hint in STATUSES
        else:
            deflate = negotiate_deflate(handshake.extensions)
            for subprotocol in (None, *handshake.subprotocols):
                for name, value in accept_headers(handshake, subprotocol, [], deflate):
                    assert is_token(name)
                    assert is_field_value(value)
        try:
            check_response(101, fields, KEY, ["chat"], DeflateParameters())
        except RemoteProtocolError:
            pass


def _fields(data: bytes) -> Fields:
    fields = []
    for line in data.split(b"\n"):
        name, _, value = line.partition(b":")
        fields.append((name.lower(), value.strip(b" \t")))
    return fields

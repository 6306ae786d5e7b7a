"""The opening handshake as Python calls see it. The rules of the RFC are in tests/rfc/test_rfc6455_handshake.py."""

from __future__ import annotations

import pytest

from fullduplex.exceptions import LocalProtocolError, RemoteProtocolError
from fullduplex.wire.deflate import DeflateParameters, negotiate_deflate
from fullduplex.wire.events import Fields, RequestHead
from fullduplex.wire.handshake import (
    Handshake,
    accept_headers,
    accept_value,
    check_response,
    make_key,
    read_extensions,
    read_handshake,
    request_headers,
)

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
HANDSHAKE = Handshake(KEY, ["chat", "superchat"], [])


def offering(*headers: tuple[bytes, bytes]) -> RequestHead:
    return RequestHead("GET", b"/", [*request_headers(make_key()), *headers], upgrade=b"websocket")


def test_client_and_server_agree() -> None:
    key = make_key()
    offer = DeflateParameters()
    headers = request_headers(key, ["soap", "chat"], offer)
    handshake = read_handshake(RequestHead("GET", b"/", [(b"host", b"a"), *headers], upgrade=b"websocket"))
    assert (handshake.key, handshake.subprotocols) == (key, ["soap", "chat"])
    deflate = negotiate_deflate(handshake.extensions)
    response = accept_headers(handshake, "chat", [], deflate)
    assert check_response(101, response, key, ["soap", "chat"], offer) == ("chat", deflate)


def test_client_and_server_agree_on_nothing() -> None:
    key = make_key()
    handshake = read_handshake(RequestHead("GET", b"/", request_headers(key), upgrade=b"websocket"))
    assert (handshake.subprotocols, handshake.extensions) == ([], [])
    assert check_response(101, accept_headers(handshake, None, [], None), key) == (None, None)


def test_keys_are_fresh() -> None:
    assert len({make_key() for _ in range(10)}) == 10


# Accepting --------------------------------------------------------------------------------------


def test_accept_over_http_1() -> None:
    headers = accept_headers(HANDSHAKE, "chat", [(b"Set-Cookie", b"a=b")], DeflateParameters())
    assert headers == [
        (b"upgrade", b"websocket"),
        (b"connection", b"upgrade"),
        (b"sec-websocket-accept", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        (b"sec-websocket-protocol", b"chat"),
        (
            b"sec-websocket-extensions",
            b"permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        ),
        (b"set-cookie", b"a=b"),
    ]


def test_accept_over_http_2() -> None:
    assert accept_headers(Handshake(None, ["chat"], []), "chat", [(b"x", b"y")], None) == [
        (b"sec-websocket-protocol", b"chat"),
        (b"x", b"y"),
    ]


def test_a_subprotocol_that_was_not_offered() -> None:
    with pytest.raises(LocalProtocolError, match="'soap' was not offered"):
        accept_headers(HANDSHAKE, "soap", [], None)


@pytest.mark.parametrize("name", [b"sec-websocket-protocol", b"Sec-WebSocket-Extensions", b"sec-websocket-accept"])
def test_the_application_cannot_promise_for_the_codec(name: bytes) -> None:
    with pytest.raises(LocalProtocolError, match=f"(?i){name.decode()}"):
        accept_headers(HANDSHAKE, None, [(name, b"chat")], None)


@pytest.mark.parametrize("name", [b"connection", b"Upgrade", b"keep-alive", b"Content-Length", b"transfer-encoding"])
def test_fields_of_the_hop_are_dropped(name: bytes) -> None:
    assert accept_headers(HANDSHAKE, None, [(name, b"0")], None) == accept_headers(HANDSHAKE, None, [], None)


# Extensions -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", []),
        (b"a", [("a", [])]),
        (b'a, b;c ; d=1;e="f" ,\tg', [("a", []), ("b", [("c", None), ("d", "1"), ("e", "f")]), ("g", [])]),
        (b'a;b="c\\d"', [("a", [("b", "cd")])]),
        (b", a,, ", [("a", [])]),
        (b"a;b = 1", [("a", [("b", "1")])]),
    ],
)
def test_extensions_are_read(value: bytes, expected: list[object]) -> None:
    assert read_extensions([(b"sec-websocket-extensions", value)]) == expected


@pytest.mark.parametrize(
    ("name", "values"),
    [
        (b"sec-websocket-protocol", [b",".join(b"p%d" % number for number in range(101))]),
        (b"sec-websocket-protocol", [b"p%d" % number for number in range(101)]),
        (b"sec-websocket-extensions", [b",".join(b"e%d" % number for number in range(101))]),
        (b"sec-websocket-extensions", [b"e;" + b";".join(b"p%d" % number for number in range(100))]),
        (b"sec-websocket-extensions", [b"e;p;p;p"] * 26),
    ],
)
def test_more_than_a_hundred_offers_are_refused(name: bytes, values: list[bytes]) -> None:
    with pytest.raises(RemoteProtocolError, match="more than 100"):
        read_handshake(offering(*((name, value) for value in values)))


def test_a_hundred_offers() -> None:
    protocols = [f"p{number}" for number in range(100)]
    offered = ",".join(protocols).encode()
    handshake = read_handshake(
        offering((b"sec-websocket-protocol", offered), (b"sec-websocket-extensions", b"e;" + b";".join([b"p"] * 99)))
    )
    assert handshake.subprotocols == protocols
    assert handshake.extensions == [("e", [("p", None)] * 99)]


def test_extensions_of_several_lines() -> None:
    headers: Fields = [(b"sec-websocket-extensions", b"a"), (b"x", b"y"), (b"sec-websocket-extensions", b"b;c")]
    assert read_extensions(headers) == [("a", []), ("b", [("c", None)])]


@pytest.mark.parametrize(
    "value",
    [b"a b", b";a", b"a;", b"a;;b", b"a;b=", b"a;b=,c", b'a;b="', b'a;b="c d"', b'a;b=""', b"a=b", b"a;b=c=d", b"\xff"],
)
def test_malformed_extensions(value: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        read_extensions([(b"sec-websocket-extensions", value)])


# The client's check -----------------------------------------------------------------------------

GOOD: Fields = [(b"upgrade", b"WebSocket"), (b"connection", b"Upgrade"), (b"sec-websocket-accept", accept_value(KEY))]


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, GOOD),
        (403, []),
        (101, GOOD[1:]),
        (101, [GOOD[0], *GOOD[2:]]),
        (101, GOOD[:2]),
        (101, [*GOOD[:2], (b"sec-websocket-accept", b"wrong")]),
        (101, [*GOOD, (b"sec-websocket-protocol", b"soap")]),
        (101, [*GOOD, (b"sec-websocket-protocol", b"chat, chat")]),
        (101, [*GOOD, (b"sec-websocket-extensions", b"other")]),
        (101, [*GOOD, (b"sec-websocket-extensions", b"permessage-deflate; unknown")]),
        (101, [*GOOD, (b"sec-websocket-extensions", b"permessage-deflate, permessage-deflate")]),
    ],
)
def test_a_client_refuses(status: int, headers: Fields) -> None:
    with pytest.raises(RemoteProtocolError):
        check_response(status, headers, KEY, ["chat"], DeflateParameters())


def test_a_refusal_carries_its_status() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        check_response(403, [], KEY)
    assert caught.value.status_hint == 403


def test_a_client_refuses_deflate_that_it_did_not_offer() -> None:
    headers: Fields = [*GOOD, (b"sec-websocket-extensions", b"permessage-deflate")]
    assert check_response(101, headers, KEY, None, DeflateParameters())[1] is not None
    with pytest.raises(RemoteProtocolError):
        check_response(101, headers, KEY)

"""The WebSocket handshake, independent of the HTTP version: RFC 6455 section 4 and RFC 8441.

Over HTTP/1.1 it is a GET with Upgrade, answered with 101; over HTTP/2 an extended CONNECT, answered
with 200. A server reads it with :func:`read_handshake` and answers with the fields of
:func:`accept_headers`; a client uses :func:`request_headers` and :func:`check_response`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Iterator
from itertools import islice

from fullduplex.exceptions import LocalProtocolError, RemoteProtocolError
from fullduplex.wire.deflate import DeflateParameters, ExtensionOffer, read_deflate_response
from fullduplex.wire.events import AppFields, Fields, RequestHead

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

# What a 426 must say: RFC 6455 section 4.4; over HTTP/1.1, also RFC 9110 section 15.5.22.
_VERSION_FIELD = (b"sec-websocket-version", b"13")
_UPGRADE_FIELDS: Fields = [(b"upgrade", b"websocket"), (b"connection", b"upgrade")]

# Fields of an accept that describe the hop, which only the server knows: dropped, as an intermediary
# would drop them (RFC 9110 section 7.6.1). An accept has no content (RFC 9110 section 8.6).
_HOP_FIELDS = frozenset((b"connection", b"upgrade", b"keep-alive", b"content-length", b"transfer-encoding"))

# Subprotocols that a handshake may offer, and extensions with their parameters: as many as a head may have fields. They
# wait with it for the application, in fifty times the bytes that they have on the wire.
MAX_OFFERS_COUNT = 100

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_IS_TOKEN = re.compile(_TOKEN).fullmatch
_EXTENSION = re.compile(rf"[ \t]*({_TOKEN})?[ \t]*")  # empty list elements do not count
_PARAMETER = re.compile(rf'[ \t]*({_TOKEN})[ \t]*(?:=[ \t]*(?:({_TOKEN})|"((?:[^"\\]|\\.)*)")[ \t]*)?')


class Handshake:
    """A valid opening handshake of a client.

    Attributes:
        key: Sec-WebSocket-Key as sent; None over HTTP/2, which needs none (RFC 8441 section 5).
        subprotocols: as offered, the client's favourite first.
        extensions: as offered: ``(name, [(parameter, value or None), ...])``.
    """

    __slots__ = ("extensions", "key", "subprotocols")

    def __init__(self, key: bytes | None, subprotocols: list[str], extensions: list[ExtensionOffer]) -> None:
        self.key = key
        self.subprotocols = subprotocols
        self.extensions = extensions


def read_handshake(head: RequestHead) -> Handshake:
    """Check a request that asks for WebSocket.

    Raises:
        RemoteProtocolError: with the status that tells the client: 400, or 426 for another version
            than 13, whose answer must carry :attr:`~fullduplex.exceptions.RemoteProtocolError.headers`.

    Source: RFC 6455 section 4.2.1; RFC 8441 section 5.
    """
    is_http2 = head.http_version == "2"
    if is_http2:
        if head.method != "CONNECT" or head.upgrade != b"websocket" or head.end_stream:
            raise RemoteProtocolError("RFC 8441 section 5: not an open extended CONNECT for websocket")
    else:
        _check_upgrade(head)
    if _single(head.headers, b"sec-websocket-version") != b"13":
        raise RemoteProtocolError(
            "RFC 6455 section 4.4: only version 13 is spoken here",
            status_hint=426,
            headers=[_VERSION_FIELD] if is_http2 else [_VERSION_FIELD, *_UPGRADE_FIELDS],
        )
    key = None if is_http2 else _read_key(head.headers)
    return Handshake(key, _read_subprotocols(head.headers), read_extensions(head.headers))


def accept_headers(
    handshake: Handshake, subprotocol: str | None, extra: AppFields, deflate: DeflateParameters | None
) -> Fields:
    """The fields of the response that opens the socket: 101 over HTTP/1.1, 200 over HTTP/2.

    Args:
        handshake: what the client asked for.
        subprotocol: one of those offered, or None.
        extra: the application's fields, names in lower case. Fields of the hop (Connection, Upgrade,
            Keep-Alive, Content-Length, Transfer-Encoding) are dropped; Sec-WebSocket-* are an error,
            because the codec would not know what they promise.
        deflate: what :func:`~fullduplex.wire.deflate.negotiate_deflate` chose, or None.

    Raises:
        LocalProtocolError: the subprotocol was not offered, or ``extra`` has a Sec-WebSocket-* field.

    Source: RFC 6455 section 4.2.2; RFC 8441 section 5.
    """
    headers: Fields = []
    if handshake.key is not None:
        headers += [*_UPGRADE_FIELDS, (b"sec-websocket-accept", accept_value(handshake.key))]
    if subprotocol is not None:
        if subprotocol not in handshake.subprotocols:
            raise LocalProtocolError(f"subprotocol {subprotocol!r} was not offered by the client")
        headers.append((b"sec-websocket-protocol", subprotocol.encode("ascii")))
    if deflate is not None:
        headers.append((b"sec-websocket-extensions", deflate.to_header()))
    for name, value in extra:
        lower_name = name.lower()
        if lower_name.startswith(b"sec-websocket-"):
            raise LocalProtocolError(
                f"{name.decode('latin-1')} is the server's to set; choose a subprotocol by its own argument"
            )
        if lower_name not in _HOP_FIELDS:
            headers.append((lower_name, value))
    return headers


def accept_value(key: bytes) -> bytes:
    """Sec-WebSocket-Accept for a key. RFC 6455 section 4.2.2, step 5."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def make_key() -> bytes:
    """A fresh Sec-WebSocket-Key. RFC 6455 section 4.1."""
    return base64.b64encode(os.urandom(16))


def request_headers(
    key: bytes, subprotocols: list[str] | None = None, deflate: DeflateParameters | None = None
) -> Fields:
    """The fields that a client adds to its GET over HTTP/1.1; Host and Origin are the caller's.

    Args:
        key: of :func:`make_key`.
        subprotocols: to offer, the favourite first.
        deflate: to offer; without ``client_max_window_bits``.
    """
    headers: Fields = [*_UPGRADE_FIELDS, (b"sec-websocket-key", key), _VERSION_FIELD]
    if subprotocols:
        headers.append((b"sec-websocket-protocol", ", ".join(subprotocols).encode("ascii")))
    if deflate is not None:
        headers.append((b"sec-websocket-extensions", deflate.to_header()))
    return headers


def check_response(
    status: int,
    headers: Fields,
    key: bytes,
    subprotocols: list[str] | None = None,
    deflate: DeflateParameters | None = None,
) -> tuple[str | None, DeflateParameters | None]:
    """Check the server's answer to :func:`request_headers` with the same arguments.

    Returns:
        The subprotocol and the parameters of permessage-deflate that were agreed, each None without.

    Raises:
        RemoteProtocolError: the socket is not open; ``status_hint`` is the status received.

    Source: RFC 6455 section 4.1, the steps after the response.
    """
    if status != 101:
        raise RemoteProtocolError(f"the server refused with status {status}", status_hint=status)
    if not _has_token(headers, b"upgrade", b"websocket") or not _has_token(headers, b"connection", b"upgrade"):
        raise RemoteProtocolError("RFC 6455 section 4.1: Upgrade or Connection is missing", status_hint=status)
    if _single(headers, b"sec-websocket-accept") != accept_value(key):
        raise RemoteProtocolError("RFC 6455 section 4.1: wrong Sec-WebSocket-Accept", status_hint=status)
    chosen = _read_subprotocols(headers)
    if len(chosen) > 1 or (chosen and chosen[0] not in (subprotocols or [])):
        raise RemoteProtocolError("RFC 6455 section 4.1: a subprotocol that was not offered", status_hint=status)
    extensions = read_extensions(headers)
    if not extensions:
        return (chosen[0] if chosen else None), None
    if deflate is None or len(extensions) > 1 or extensions[0][0] != "permessage-deflate":
        raise RemoteProtocolError("RFC 6455 section 4.1: an extension that was not offered", status_hint=status)
    return (chosen[0] if chosen else None), read_deflate_response(extensions[0][1])


def read_extensions(headers: Fields) -> list[ExtensionOffer]:
    """Parse Sec-WebSocket-Extensions, in all its lines.

    Raises:
        RemoteProtocolError: it does not follow the grammar of RFC 6455 section 9.1.
    """
    extensions: list[ExtensionOffer] = []
    for name, value in headers:
        if name == b"sec-websocket-extensions":
            _read_extension_line(value.decode("latin-1"), extensions)
    return extensions


def _read_extension_line(line: str, extensions: list[ExtensionOffer]) -> None:
    position = 0
    while position < len(line):
        match = _EXTENSION.match(line, position)
        if match is None:
            raise _malformed("Sec-WebSocket-Extensions")
        position = match.end()
        if match[1] is not None:
            parameters: list[tuple[str, str | None]] = []
            extensions.append((match[1], parameters))
            position = _read_parameters(line, position, parameters)
            if len(extensions) + sum(len(each) for _, each in extensions) > MAX_OFFERS_COUNT:
                raise _too_many("extensions and parameters")
        if line[position : position + 1] not in ("", ","):
            raise _malformed("Sec-WebSocket-Extensions")
        position += 1


def _read_parameters(line: str, position: int, parameters: list[tuple[str, str | None]]) -> int:
    while line[position : position + 1] == ";":
        match = _PARAMETER.match(line, position + 1)
        if match is None:
            raise _malformed("Sec-WebSocket-Extensions")
        value = match[2]
        if match[3] is not None:
            value = re.sub(r"\\(.)", r"\1", match[3])
            if not _IS_TOKEN(value):
                # A quoted value must be a token once its quotes are off (RFC 6455 section 9.1).
                raise _malformed("Sec-WebSocket-Extensions")
        parameters.append((match[1], value))
        if len(parameters) > MAX_OFFERS_COUNT:
            raise _too_many("extensions and parameters")
        position = match.end()
    return position


def _check_upgrade(head: RequestHead) -> None:
    if head.method != "GET" or head.http_version != "1.1":
        raise RemoteProtocolError("RFC 6455 section 4.2.1: a handshake is a GET of HTTP/1.1 or higher")
    if not _has_token(head.headers, b"upgrade", b"websocket"):
        raise RemoteProtocolError("RFC 6455 section 4.2.1: Upgrade does not name websocket")
    if not _has_token(head.headers, b"connection", b"upgrade"):
        raise RemoteProtocolError("RFC 6455 section 4.2.1: Connection does not name Upgrade")
    if not head.end_stream:
        # The bytes after the head would be frames to one reader and content to another.
        raise RemoteProtocolError("RFC 6455 section 4.1: a handshake has no content")


def _read_key(headers: Fields) -> bytes:
    key = _single(headers, b"sec-websocket-key")
    try:
        is_valid = key is not None and len(key) == 24 and len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        is_valid = False
    if key is None or not is_valid:
        raise RemoteProtocolError("RFC 6455 section 4.2.1: Sec-WebSocket-Key is not 16 bytes in base64")
    return key


def _read_subprotocols(headers: Fields) -> list[str]:
    items = [
        item.decode("latin-1") for item in islice(_list_items(headers, b"sec-websocket-protocol"), MAX_OFFERS_COUNT + 1)
    ]
    if len(items) > MAX_OFFERS_COUNT:
        raise _too_many("subprotocols")
    if not all(_IS_TOKEN(item) for item in items):
        raise _malformed("Sec-WebSocket-Protocol")
    return items


def _single(headers: Fields, wanted: bytes) -> bytes | None:
    """The value of a field that occurs exactly once, else None."""
    values = [value for name, value in headers if name == wanted]
    return values[0] if len(values) == 1 else None


def _has_token(headers: Fields, wanted: bytes, token: bytes) -> bool:
    return any(item.lower() == token for item in _list_items(headers, wanted))


def _list_items(headers: Fields, wanted: bytes) -> Iterator[bytes]:
    """The elements of a comma-separated field, in all its lines; empty ones do not count (RFC 9110 section 5.6.1.2)."""
    for name, value in headers:
        if name == wanted:
            for item in value.split(b","):
                item = item.strip(b" \t")
                if item:
                    yield item


def _too_many(what: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"RFC 6455 section 4.1: more than {MAX_OFFERS_COUNT} {what} are offered")


def _malformed(name: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"RFC 6455 section 4.1: {name} is malformed")

"""Field sections of HTTP/2 responses: what applications give becomes what RFC 9113 section 8.2 allows."""

from __future__ import annotations

from fullduplex.exceptions import LocalProtocolError
from fullduplex.wire.events import Fields
from fullduplex.wire.grammar import is_token

STATUSES_WITHOUT_CONTENT = frozenset({204, 205, 304})

# What a response field of the application means.
_PLAIN, _DROPPED, _LENGTH, _DEFAULT = range(4)

#: RFC 9113 section 8.2.2. They describe a hop of HTTP/1, and clients differ in what they break over.
_SPECIAL = {
    b"connection": _DROPPED,
    b"proxy-connection": _DROPPED,
    b"keep-alive": _DROPPED,
    b"transfer-encoding": _DROPPED,
    b"upgrade": _DROPPED,
    b"content-length": _LENGTH,
    b"date": _DEFAULT,
    b"server": _DEFAULT,
}

#: Fields that were found valid, as they are sent. Applications repeat most of theirs from response to response.
_known_fields: dict[tuple[bytes, bytes], tuple[bytes, bytes]] = {}
_KNOWN_COUNT = 1024
_KNOWN_BYTES = 256
_UNIQUE_NAMES = frozenset({b"set-cookie", b"etag", b"last-modified", b"x-request-id", b"location", b"content-range"})

_STATUSES = {status: (b":status", b"%d" % status) for status in range(100, 1000)}


def response_fields(status: int, headers: Fields, defaults: Fields) -> tuple[Fields, int]:
    """The fields of a response, the pseudo-field first and without Content-Length; and the length that it names, or -1.

    Raises:
        LocalProtocolError: a status or a field that cannot be sent.
    """
    line = _STATUSES.get(status)
    if line is None:
        raise LocalProtocolError(f"RFC 9110 section 15: invalid status {status}")
    fields = [line]
    length = -1
    own_defaults: list[bytes] | None = None
    known = _known_fields
    for field in headers:
        if type(field) is not tuple:  # ASGI allows lists, too
            field = (field[0], field[1])
        sent = known.get(field)
        if sent is not None:
            fields.append(sent)
            continue
        name, value = field
        kind = _SPECIAL.get(name)
        if kind is None:
            name = bytes(name).lower()
            kind = _SPECIAL.get(name, _PLAIN)
        if kind == _PLAIN:
            fields.append(_checked(field, name, value))
        elif kind == _LENGTH:
            length = _content_length(value, length)
        elif kind == _DEFAULT:
            fields.append(_checked(None, name.lower(), value))
            own_defaults = [*(own_defaults or ()), name.lower()]
    if own_defaults is None:
        fields += defaults
    else:
        fields += [field for field in defaults if field[0] not in own_defaults]
    return fields, length


class _Whole:
    """The last response that was whole: what the application said, and what was sent."""

    __slots__ = ("defaults", "fields", "headers", "size", "status")

    def __init__(self, status: int, headers: Fields, defaults: Fields, size: int, fields: Fields) -> None:
        self.status = status
        self.headers = headers
        self.defaults = defaults
        self.size = size
        self.fields = fields


_last_whole = _Whole(0, [], [], 0, [])


def whole_fields(status: int, headers: Fields, defaults: Fields, size: int) -> Fields:
    """The fields of a response with so many bytes of content: not to be changed, they may be those of another one.

    Raises:
        LocalProtocolError: a status or a field that cannot be sent, or another Content-Length.
    """
    global _last_whole
    last = _last_whole
    if headers == last.headers and size == last.size and status == last.status and defaults is last.defaults:
        return last.fields
    fields, length = response_fields(status, headers, defaults)
    if length not in (-1, size):
        raise LocalProtocolError("RFC 9110 section 8.6: other content than the Content-Length says")
    fields.append((b"content-length", b"%d" % size))
    if all(type(field) is tuple for field in headers):  # what can be changed might be, and still be equal to itself
        _last_whole = _Whole(status, headers.copy(), defaults, size, fields)
    return fields


def informational_fields(status: int, headers: Fields) -> Fields:
    """The fields of a 1xx response.

    Raises:
        LocalProtocolError: a status or a field that cannot be sent.
    """
    if not 100 <= status <= 199 or status == 101:
        raise LocalProtocolError("RFC 9113 section 8.6: no informational response")
    fields, _ = response_fields(status, headers, [])
    return fields


def trailer_fields(trailers: Fields) -> Fields:
    """The fields behind the content; those that frame are left out.

    Raises:
        LocalProtocolError: a field that cannot be sent.
    """
    return [
        _checked(None, name.lower(), value)
        for name, value in trailers
        if _SPECIAL.get(name.lower(), _PLAIN) in (_PLAIN, _DEFAULT)
    ]


def _checked(field: tuple[bytes, bytes] | None, name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """Validate one field, and remember it if it may come again."""
    if not is_token(name):
        raise LocalProtocolError(f"RFC 9110 section 5.1: invalid field name {name!r}")
    value = bytes(value)
    if b"\n" in value or b"\r" in value or b"\0" in value:
        raise LocalProtocolError("RFC 9110 section 5.5: a field value contains CR, LF or NUL")
    sent = (bytes(name), value.strip(b" \t"))  # RFC 9113 section 8.2.1
    if field is not None and len(name) + len(value) <= _KNOWN_BYTES and name not in _UNIQUE_NAMES:
        if len(_known_fields) >= _KNOWN_COUNT:
            _known_fields.clear()
        _known_fields[bytes(field[0]), value] = sent
    return sent


def _content_length(value: bytes, earlier: int) -> int:
    if not value.isdigit() or len(value) > 18:
        raise LocalProtocolError(f"RFC 9110 section 8.6: invalid Content-Length {value!r}")
    length = int(value)
    if earlier not in (-1, length):
        raise LocalProtocolError("RFC 9110 section 8.6: two different Content-Length fields")
    return length

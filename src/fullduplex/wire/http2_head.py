"""Field sections of HTTP/2 requests: pseudo-fields, and the same field rules as HTTP/1 (RFC 9113 sections 8.2 and 8.3).

The library that decodes HPACK may check less, or differently; what is let through is decided here.
"""

from __future__ import annotations

from collections.abc import Sequence

from fullduplex.exceptions import RemoteProtocolError
from fullduplex.limits import HTTP2Limits
from fullduplex.wire.events import Fields, RequestHead
from fullduplex.wire.grammar import (
    FORBIDDEN_TRAILERS,
    TARGET_BYTES,
    is_authority,
    is_field_value,
    is_token,
    parse_content_length,
)
from fullduplex.wire.http2_errors import HTTP2Error

# What a field means for the head.
_PLAIN, _PSEUDO, _COOKIE, _HOST, _LENGTH, _EXPECT, _TYPE = range(7)

_SPECIAL = {
    b"cookie": _COOKIE,
    b"host": _HOST,
    b"content-length": _LENGTH,
    b"expect": _EXPECT,
    b"content-type": _TYPE,
}
_PSEUDO_FIELDS = frozenset({b":method", b":scheme", b":authority", b":path", b":protocol"})
#: RFC 9113 section 8.2.2.
_CONNECTION_FIELDS = frozenset({b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"})

#: Fields that were found in order: clients repeat most of theirs. Bounded in number and in size, and without those
#: whose values are secret or never come again.
_known_fields: dict[tuple[bytes, bytes], int] = {}
_KNOWN_COUNT = 1024
_KNOWN_BYTES = 256
_UNIQUE_NAMES = frozenset({b":path", b"cookie", b"authorization", b"content-length", b"referer"})

_METHODS = {
    name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT")
}

#: RFC 9113 section 6.5.2: what each field counts beside its bytes.
FIELD_OVERHEAD_BYTES = 32

LibraryFields = Sequence[tuple[bytes, bytes]]


class HeadReader:
    """Reads the heads of one connection, and remembers the last: clients repeat themselves.

    Attributes:
        length: the Content-Length of the last head; -1 without one.
    """

    __slots__ = ("_last", "_last_fields", "_limits", "length")

    def __init__(self, limits: HTTP2Limits) -> None:
        self._limits = limits
        self._last_fields: LibraryFields | None = None
        self._last: tuple[str, bytes, Fields, bool, bytes | None, int]
        self.length = -1

    def read(self, fields: LibraryFields, stream_id: int, end_stream: bool) -> RequestHead:
        """Read the field section that opens a stream.

        Raises:
            HTTP2Error: the request is malformed; its stream must be reset (RFC 9113 section 8.1.1).
            RemoteProtocolError: it is none that can be served; ``status_hint`` says why.
        """
        if fields == self._last_fields:
            method, target, headers, expects, protocol, self.length = self._last
        else:
            method, target, headers, expects, protocol = self._read(fields)
            self._last_fields = fields
            self._last = method, target, headers, expects, protocol, self.length
        if end_stream:
            if self.length > 0:
                raise HTTP2Error("RFC 9113 section 8.1.1: less content than the Content-Length")
            expects = False
        return RequestHead(method, target, headers.copy(), "2", end_stream, expects, protocol, stream_id)

    def _read(self, fields: LibraryFields) -> tuple[str, bytes, Fields, bool, bytes | None]:
        pseudo: dict[bytes, bytes] = {}
        headers: Fields = []
        crumbs: list[bytes] = []
        hosts: list[bytes] = []
        lengths: list[bytes] = []
        expectations: list[bytes] = []
        types_count = 0
        refusal: RemoteProtocolError | None = None
        known = _known_fields
        for field in fields:
            kind = known.get(field)
            if kind is None:
                kind = _check(field)
            if kind == _PLAIN:
                headers.append(field)
            elif kind == _PSEUDO:
                name, value = field
                if headers or name in pseudo or crumbs or hosts or lengths or expectations:
                    raise HTTP2Error("RFC 9113 section 8.3: a pseudo-field twice, or behind other fields")
                pseudo[name] = value
            elif kind == _COOKIE:
                crumbs.append(field[1])
            elif kind == _HOST:
                hosts.append(field[1])
            elif kind == _LENGTH:
                lengths.append(field[1])
                headers.append(field)
            elif kind == _EXPECT:
                expectations.append(field[1].lower())
                headers.append(field)
            else:
                types_count += 1
                headers.append(field)
        method, target, authority, protocol = self._read_pseudo(pseudo)
        self.length = _content_length(lengths)
        if hosts:
            if len(hosts) > 1 or (authority is not None and hosts[0].lower() != authority.lower()):
                raise HTTP2Error("RFC 9113 section 8.3.1: :authority and Host differ")
            if not is_authority(hosts[0]):
                raise HTTP2Error("RFC 9110 section 7.2: the Host field is invalid")
            authority = hosts[0]
        elif authority is None:
            raise HTTP2Error("RFC 9113 section 8.3.1: neither :authority nor Host")
        if crumbs:  # RFC 9113 section 8.2.3
            headers.append((b"cookie", b"; ".join(crumbs)))
        headers.insert(0, (b"host", authority))
        refusal = self._refusal(fields, headers, target, method, protocol, types_count, expectations)
        if refusal is not None:
            raise refusal
        return method, target, headers, bool(expectations), protocol

    def _read_pseudo(self, pseudo: dict[bytes, bytes]) -> tuple[str, bytes, bytes | None, bytes | None]:
        """RFC 9113 section 8.3.1, and RFC 8441 section 4."""
        method_bytes = pseudo.get(b":method", b"")
        method = _METHODS.get(method_bytes)
        if method is None:
            if not is_token(method_bytes):
                raise HTTP2Error("RFC 9113 section 8.3.1: :method is missing, or no token")
            method = method_bytes.decode("ascii")
        authority = pseudo.get(b":authority")
        if authority is not None and not is_authority(authority):
            raise HTTP2Error("RFC 9113 section 8.3.1: :authority is invalid")
        protocol = pseudo.get(b":protocol")
        if method == "CONNECT" and protocol is None:
            if b":path" in pseudo or b":scheme" in pseudo or authority is None:
                raise HTTP2Error("RFC 9113 section 8.5: CONNECT has an :authority, and neither :scheme nor :path")
            return method, b"*", authority, None
        if protocol is not None and (method != "CONNECT" or not is_token(protocol)):
            raise HTTP2Error("RFC 8441 section 4: :protocol is of CONNECT alone, and a token")
        if pseudo.get(b":scheme") not in (b"http", b"https"):
            raise HTTP2Error("RFC 9113 section 8.3.1: :scheme is missing, or another than http and https")
        target = pseudo.get(b":path", b"")
        if not target.startswith(b"/") and not (target == b"*" and method == "OPTIONS"):
            raise HTTP2Error("RFC 9113 section 8.3.1: :path is missing, or no path")
        if target.translate(None, TARGET_BYTES):
            raise HTTP2Error("RFC 9113 section 8.3.1: a byte that may not be in a path")
        return method, target, authority, None if protocol is None else protocol.lower()

    def _refusal(
        self,
        fields: LibraryFields,
        headers: Fields,
        target: bytes,
        method: str,
        protocol: bytes | None,
        types_count: int,
        expectations: list[bytes],
    ) -> RemoteProtocolError | None:
        """Why a request that is well-formed is not served, if it is not."""
        limits = self._limits
        if len(target) > limits.max_target_bytes:
            return RemoteProtocolError("RFC 9110 section 15.5.15: the target is too long", status_hint=414)
        if len(headers) > limits.max_fields_count or sum(map(_size, fields)) > limits.max_head_bytes:
            return RemoteProtocolError("RFC 6585 section 5: too many fields, or too large", status_hint=431)
        if method == "CONNECT" and protocol != b"websocket":
            return RemoteProtocolError("RFC 9110 section 9.3.6: CONNECT is not implemented", status_hint=501)
        if types_count > 1:  # recipients differ in which one counts
            return RemoteProtocolError("RFC 9110 section 8.3: more than one Content-Type")
        if expectations not in ([], [b"100-continue"]):
            return RemoteProtocolError("RFC 9110 section 10.1.1: an unknown expectation", status_hint=417)
        return None


def read_trailers(fields: LibraryFields, limits: HTTP2Limits) -> Fields:
    """Read the field section behind the content (RFC 9113 section 8.1).

    Raises:
        HTTP2Error: the request is malformed.
    """
    if len(fields) > limits.max_fields_count or sum(map(_size, fields)) > limits.max_head_bytes:
        raise HTTP2Error("RFC 6585 section 5: too many trailer fields, or too large")
    for field in fields:
        if _check(field) == _PSEUDO:
            raise HTTP2Error("RFC 9113 section 8.1: a pseudo-field in trailers")
        if field[0] in FORBIDDEN_TRAILERS:
            raise HTTP2Error("RFC 9110 section 6.5.1: a field that may not be in trailers")
    return [(name, value) for name, value in fields]


def _check(field: tuple[bytes, bytes]) -> int:
    """What a field means, and whether it may be; remember it if it may come again."""
    name, value = field
    if name in _PSEUDO_FIELDS:
        kind = _PSEUDO
    elif not is_token(name) or name != name.lower():
        raise HTTP2Error(
            "RFC 9113 section 8.2.1: a field name that is no token in lower case, or no known pseudo-field"
        )
    elif name in _CONNECTION_FIELDS or (name == b"te" and value.lower() != b"trailers"):
        raise HTTP2Error("RFC 9113 section 8.2.2: a connection-specific field")
    else:
        kind = _SPECIAL.get(name, _PLAIN)
    if not is_field_value(value) or value[:1] in (b" ", b"\t") or value[-1:] in (b" ", b"\t"):
        raise HTTP2Error("RFC 9113 section 8.2.1: a byte that may not be in a field value, or space around it")
    if len(name) + len(value) <= _KNOWN_BYTES and name not in _UNIQUE_NAMES:
        if len(_known_fields) >= _KNOWN_COUNT:
            _known_fields.clear()
        _known_fields[name, value] = kind
    return kind


def _size(field: tuple[bytes, bytes]) -> int:
    return len(field[0]) + len(field[1]) + FIELD_OVERHEAD_BYTES


def _content_length(values: list[bytes]) -> int:
    if not values:
        return -1
    if len(values) > 1:
        raise HTTP2Error("RFC 9110 section 8.6: more than one Content-Length")
    try:
        return parse_content_length(values[0])
    except RemoteProtocolError as error:
        raise HTTP2Error(str(error)) from None

"""Heads of HTTP/1 requests: found whole, bounded, taken apart, and what their framing fields mean (RFC 9112).

The request line is read here, and the fields are taken apart by llhttp (httptools); what llhttp would let pass is
refused here or in :mod:`~fullduplex.wire.grammar`. llhttp never sees the request line (it knows a fixed list of
methods, and other protocols' too) nor the content (it does not let its callers bound chunk lines).
"""

from __future__ import annotations

from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from fullduplex.exceptions import RemoteProtocolError
from fullduplex.limits import HTTP1Limits
from fullduplex.wire.events import Fields, RequestHead
from fullduplex.wire.grammar import (
    TARGET_BYTES,
    find_bad_byte,
    is_authority,
    is_token,
    is_version,
    parse_content_length,
    split_absolute_form,
    split_list,
)

_METHODS: Final = {
    name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE")
}
_ANY_REQUEST_LINE: Final = b"GET / HTTP/1.1\r\n"
_Words = tuple[str, bytes, str, bytes | None]  # of a request line: what _read_request_line returns
_REMEMBERED_BYTES: Final = 2048
_BAD_BYTE = "RFC 9112 section 2.2: a control character, or a bare CR or LF, in a head"
_TLS_HANDSHAKE = b"\x16"  # the first byte of every TLS connection, and of no request (RFC 8446 section 5.1)
TLS_RECEIVED = "RFC 9112 section 2.1: a TLS handshake, where plain HTTP is expected"
_TARGET_TOO_LONG = "RFC 9110 section 15.5.15: the request target is too long"
_VERSIONS: Final = {b"HTTP/1.1": "1.1", b"HTTP/1.0": "1.0"}

#: The fields that frame and route a request, and those that change what llhttp does next.
_FRAMING_FIELDS: Final = frozenset(
    {
        b"host",
        b"content-length",
        b"content-type",
        b"transfer-encoding",
        b"connection",
        b"proxy-connection",
        b"upgrade",
        b"expect",
    }
)
#: With no others, and no upgrade or close, llhttp is ready for the next head.
_REUSABLE_WITH = frozenset({b"host", b"connection", b"content-type", b"expect"})


#: Names as clients spell them, in lower case: one object for all requests, since those of sockets stay for days.
_LOWER: Final = {
    spelling: name
    for name in (
        b"accept",
        b"accept-encoding",
        b"accept-language",
        b"authorization",
        b"cache-control",
        b"connection",
        b"content-length",
        b"content-type",
        b"cookie",
        b"host",
        b"origin",
        b"pragma",
        b"referer",
        b"sec-fetch-dest",
        b"sec-fetch-mode",
        b"sec-fetch-site",
        b"sec-websocket-extensions",
        b"sec-websocket-key",
        b"sec-websocket-protocol",
        b"sec-websocket-version",
        b"upgrade",
        b"user-agent",
        b"x-forwarded-for",
        b"x-forwarded-proto",
    )
    for spelling in (name, name.title(), name.title().replace(b"Websocket", b"WebSocket"))
}


class _FieldReader:
    """llhttp and what it calls. Apart from the codec, so that the two make no reference cycle."""

    __slots__ = ("fields", "framing_fields")

    def __init__(self) -> None:
        self.fields: Fields = []
        self.framing_fields: Fields = []

    def on_header(self, name: bytes, value: bytes) -> None:
        name = _LOWER.get(name) or name.lower()
        # llhttp strips before the value, not after it. It refuses all controls but HTAB, so that
        # stripping any ASCII whitespace strips SP and HTAB only.
        field = (name, value.rstrip())
        self.fields.append(field)
        if name in _FRAMING_FIELDS:
            self.framing_fields.append(field)


class RequestFraming:
    """What the framing fields of one request mean.

    Raises:
        RemoteProtocolError: 400; 417 for an unknown expectation, 501 for an unknown transfer coding.
    """

    __slots__ = (
        "chunked",
        "expect_continue",
        "has_content",
        "http_version",
        "is_http10",
        "length",
        "parser_reusable",
        "persistent",
        "upgrade",
    )

    def __init__(self, http_version: str, fields: Fields) -> None:
        self.http_version = http_version
        values: dict[bytes, list[bytes]] = {}
        for name, value in fields:
            values.setdefault(name, []).append(value)
        is_http11 = http_version == "1.1"
        self.is_http10 = not is_http11
        _check_host(values.get(b"host", []), is_http11)
        self.chunked = _is_chunked(values.get(b"transfer-encoding"), is_http11)
        self.length = _length(values.get(b"content-length", []), self.chunked)
        self.has_content = self.chunked or self.length > 0
        options = split_list(b",".join(values.get(b"connection", [])))
        self.persistent = b"close" not in options and (is_http11 or b"keep-alive" in options)
        self.upgrade: bytes | None = None
        if is_http11 and b"upgrade" in options and b"upgrade" in values:
            self.upgrade = b", ".join(values[b"upgrade"]).lower() or None
        if len(values.get(b"content-type", [])) > 1:  # recipients differ in which one counts
            raise RemoteProtocolError("RFC 9110 section 8.3: more than one Content-Type")
        # An HTTP/1.0 client cannot mean its Expect (RFC 9110 section 10.1.1).
        expectations = [value.lower() for value in values.get(b"expect", [])] if is_http11 else []
        if expectations not in ([], [b"100-continue"]):
            raise RemoteProtocolError("RFC 9110 section 10.1.1: an unknown expectation", status_hint=417)
        self.expect_continue = bool(expectations) and self.has_content
        # After any other message llhttp would wait for content, or refuse to go on.
        self.parser_reusable = self.persistent and self.upgrade is None and values.keys() <= _REUSABLE_WITH


def _check_host(values: list[bytes], is_http11: bool) -> None:
    """RFC 9112 section 3.2: one valid Host; HTTP/1.0 may do without."""
    if len(values) > 1 or (is_http11 and not values) or not all(map(is_authority, values)):
        raise RemoteProtocolError("RFC 9112 section 3.2: the Host field is missing, doubled or invalid")


def _is_chunked(values: list[bytes] | None, is_http11: bool) -> bool:
    """RFC 9112 sections 6.1 and 6.3: the last coding must be chunked, and we know no other.

    Stricter than the RFC: empty list elements are refused, since recipients differ in them.
    """
    if values is None:
        return False
    if not is_http11:
        raise RemoteProtocolError("RFC 9112 section 6.1: Transfer-Encoding in HTTP/1.0")
    codings = [coding.strip(b" \t") for coding in b",".join(values).lower().split(b",")]
    if codings == [b"chunked"]:
        return True
    if codings[-1] == b"chunked" and codings.count(b"chunked") == 1 and all(codings):
        raise RemoteProtocolError("RFC 9112 section 6.1: an unknown transfer coding", status_hint=501)
    raise RemoteProtocolError("RFC 9112 section 6.3: the last transfer coding is not chunked, once")


def _length(values: list[bytes], chunked: bool) -> int:
    """RFC 9112 section 6.3. Stricter: repeated fields are refused even when equal."""
    if not values:
        return 0
    if chunked:
        raise RemoteProtocolError("RFC 9112 section 6.3: both Transfer-Encoding and Content-Length")
    if len(values) > 1:
        raise RemoteProtocolError("RFC 9112 section 6.3: more than one Content-Length")
    return parse_content_length(values[0])


_NO_FRAMING: Final = RequestFraming("1.0", [])


class HeadReader:
    """Reads the heads of one connection, and remembers the last: clients repeat themselves.

    Args:
        limits: bounds.

    Attributes:
        framing: of the request in progress, or the one before it.
    """

    __slots__ = (
        "_block",
        "_field_reader",
        "_fields",
        "_framing_fields",
        "_limits",
        "_line",
        "_parser",
        "_searched_bytes",
        "_words",
        "framing",
    )

    def __init__(self, limits: HTTP1Limits) -> None:
        self.framing = _NO_FRAMING
        self._limits = limits
        self._field_reader = _FieldReader()
        self._parser: HttpRequestParser | None = None
        self._line: bytes | None = None
        self._words: _Words  # of the line
        self._block = b""
        self._fields: Fields = []
        self._framing_fields: Fields | None = None
        self._searched_bytes = 0  # of an incomplete head: found to be free of faults

    @property
    def is_first(self) -> bool:
        """Whether no head has been read before."""
        return self.framing is _NO_FRAMING

    def read(self, head: bytes) -> RequestHead:
        """Read one head, with the empty line at its end.

        Raises:
            RemoteProtocolError: for its first fault.
        """
        line, _, block = head.partition(b"\r\n")
        try:
            method, target, http_version, authority = self._read_line(line)
            if block == self._block and http_version == self.framing.http_version:
                fields = self._fields.copy()
            else:
                fields = self._read_fields(block, http_version)
        except RemoteProtocolError:
            self.check_partial(head)
            raise
        self._searched_bytes = 0
        if authority is not None:
            fields = [(b"host", authority), *(field for field in fields if field[0] != b"host")]
        framing = self.framing
        end = not framing.has_content
        return RequestHead(method, target, fields, http_version, end, framing.expect_continue, framing.upgrade)

    def read_repeated(self, data: bytes) -> RequestHead | None:
        """Read a whole request that has the fields of the one before and no content; None for any other."""
        framing = self.framing
        if framing.has_content or len(data) > self._limits.max_head_bytes:
            return None
        line, _, block = data.partition(b"\r\n")
        if block != self._block or not block:
            return None
        try:
            method, target, http_version, authority = self._words if line == self._line else self._read_line(line)
        except RemoteProtocolError:
            return None
        if http_version != framing.http_version or authority is not None:
            return None
        return RequestHead(method, target, self._fields.copy(), http_version, True, False, framing.upgrade)

    def check_partial(self, head: bytes) -> None:
        """Find the first fault of a head that is incomplete, too large or known to be faulty.

        What is found depends on the bytes up to the fault alone, and so not on how they were cut.

        Raises:
            RemoteProtocolError: 400; 414 and 431 for what is too long.
        """
        limits = self._limits
        limit = limits.max_head_bytes
        line_end = head.find(b"\r\n", 0, limit)
        first = head if line_end < 0 else head[:line_end]
        target_start = first.find(b" ") + 1
        target_limit = target_start + limits.max_target_bytes
        target_end = first.find(b" ", target_start)
        too_long = (
            target_start > 0 and target_limit < limit and target_limit < (target_end if target_end >= 0 else len(first))
        )
        if find_bad_byte(
            head, self._searched_bytes, target_limit if too_long else limit if line_end < 0 else line_end + 2
        ):
            raise RemoteProtocolError(TLS_RECEIVED if head.startswith(_TLS_HANDSHAKE) else _BAD_BYTE)
        if too_long:
            raise RemoteProtocolError(_TARGET_TOO_LONG, status_hint=414)
        if line_end >= 0:
            _read_request_line(first, limits)
        if find_bad_byte(head, self._searched_bytes, limit):
            raise RemoteProtocolError(_BAD_BYTE)
        if len(head) > limit:
            raise RemoteProtocolError("RFC 6585 section 5: the head is too large", status_hint=431)
        self._searched_bytes = max(len(head) - 1, 0)  # a CR at the end is judged with the byte after it

    def _read_line(self, line: bytes) -> _Words:
        """Read a request line, unless it is that of the request before: of a client that polls, or calls procedures."""
        if line != self._line:
            words = _read_request_line(line, self._limits)
            if len(line) > _REMEMBERED_BYTES:
                return words
            self._line = line
            self._words = words
        return self._words

    def _read_fields(self, block: bytes, http_version: str) -> Fields:
        """Let llhttp take the fields apart, and remember what they mean.

        Clients repeat their fields from request to request; then the same bytes need not be read
        again (a quarter of the codec's time). Large blocks are not kept alive for that.

        Args:
            block: all fields, with the empty line after them.
        """
        reader = self._field_reader
        fields: Fields = []
        framing_fields: Fields = []
        reader.fields = fields
        reader.framing_fields = framing_fields
        parser = self._parser
        if parser is None:
            self._parser = parser = HttpRequestParser(reader)
        try:
            parser.feed_data(_ANY_REQUEST_LINE + block)
        except HttpParserUpgrade:  # it would leave the rest alone; there is no rest
            pass
        except HttpParserError as exc:
            raise RemoteProtocolError(f"RFC 9112 section 5: malformed field ({exc})") from None
        if len(fields) > self._limits.max_fields_count:
            raise RemoteProtocolError("RFC 6585 section 5: too many fields", status_hint=431)
        if framing_fields != self._framing_fields or http_version != self.framing.http_version:
            self.framing = RequestFraming(http_version, framing_fields)
        if not self.framing.parser_reusable:
            self._parser = None
        if len(block) <= _REMEMBERED_BYTES:
            self._block = block
            self._fields = fields.copy()
            self._framing_fields = framing_fields
        else:
            self._block = b""
            self._fields = []
            self._framing_fields = None
        return fields


def _read_request_line(line: bytes, limits: HTTP1Limits) -> _Words:
    """Read method, target in origin-form (or ``*``), version, and the authority of an absolute-form target.

    Raises:
        RemoteProtocolError: 400; 414 for the length of the target, 501 for CONNECT, 505 for the version.
    """
    try:
        method_bytes, target, version = line.split(b" ")
    except ValueError:
        raise RemoteProtocolError("RFC 9112 section 3: the request line is not three words") from None
    if len(target) > limits.max_target_bytes:
        raise RemoteProtocolError(_TARGET_TOO_LONG, status_hint=414)
    http_version = _VERSIONS.get(version)
    if http_version is None:
        status = 505 if is_version(version) else 400
        raise RemoteProtocolError("RFC 9112 section 2.3: the version is not HTTP/1.0 or HTTP/1.1", status_hint=status)
    method = _METHODS.get(method_bytes)
    if method is None:
        if not is_token(method_bytes):
            raise RemoteProtocolError("RFC 9110 section 9.1: the method is not a token")
        method = method_bytes.decode("ascii")
        if method == "CONNECT":  # RFC 9110 section 9.3.6: an origin server need not have it
            raise RemoteProtocolError("RFC 9110 section 9.3.6: CONNECT is not implemented", status_hint=501)
    if target.translate(None, TARGET_BYTES):
        raise RemoteProtocolError("RFC 9112 section 3.2: a byte that may not be in a request target")
    if target.startswith(b"/") or (target == b"*" and method == "OPTIONS"):
        return method, target, http_version, None
    authority, target = split_absolute_form(target)
    if not target:  # RFC 9112 section 3.2.4
        target = b"*" if method == "OPTIONS" else b"/"
    return method, target, http_version, authority

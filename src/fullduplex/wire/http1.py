"""HTTP/1.0 and 1.1, the server side of one connection (RFC 9112).

The head of a request is found and bounded here, its request line read here, and its fields taken
apart by llhttp (httptools); what llhttp would let pass is refused here or in
:mod:`~fullduplex.wire.grammar`. llhttp never sees the request line (it knows a fixed list of methods,
and other protocols' too) nor the content (it does not let its callers bound chunk lines).
Responses are written by :class:`~fullduplex.wire.http1_writer.HTTP1Writer`.
"""

from __future__ import annotations

import enum

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from fullduplex.exceptions import RemoteProtocolError
from fullduplex.limits import HTTP1Limits
from fullduplex.wire.chunked import ChunkedReader
from fullduplex.wire.events import ConnectionEnded, Data, EndOfMessage, Event, Fields, ProtocolFailed, RequestHead
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
from fullduplex.wire.http1_writer import NO_DEFAULTS, DefaultFields, HTTP1Writer, Response


class Request(enum.Enum):
    """How far the request has come."""

    HEAD = enum.auto()  # a head is awaited or arriving
    LENGTH = enum.auto()  # content with a Content-Length is arriving
    CHUNKED = enum.auto()
    COMPLETE = enum.auto()  # further input is held back until the response is complete
    ENDED = enum.auto()  # no further input is taken


_HEAD, _LENGTH, _CHUNKED, _COMPLETE, _ENDED = Request
_RESPONSE_IDLE, _RESPONSE_READY, _RESPONSE_DONE = Response.IDLE, Response.READY, Response.DONE

_METHODS = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE")}
_ANY_REQUEST_LINE = b"GET / HTTP/1.1\r\n"
_Words = tuple[str, bytes, str, bytes | None]  # of a request line: what _read_request_line returns
_REMEMBERED_BYTES = 2048
_BAD_BYTE = "RFC 9112 section 2.2: a control character, or a bare CR or LF, in a head"
_TLS_HANDSHAKE = b"\x16"  # the first byte of every TLS connection, and of no request (RFC 8446 section 5.1)
TLS_RECEIVED = "RFC 9112 section 2.1: a TLS handshake, where plain HTTP is expected"
_TARGET_TOO_LONG = "RFC 9110 section 15.5.15: the request target is too long"
_VERSIONS = {b"HTTP/1.1": "1.1", b"HTTP/1.0": "1.0"}

#: The fields that frame and route a request, and those that change what llhttp does next.
_FRAMING_FIELDS = frozenset(
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
_LOWER = {
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


_NO_FRAMING = RequestFraming("1.0", [])


class HTTP1Codec(HTTP1Writer):
    """Server side of one HTTP/1 connection; see :class:`~fullduplex.wire.codec.Codec`.

    One request is handed out at a time. Input after it is held back until its response is complete;
    then ``receive_data(b"", now_s)`` hands out the next one.

    When a response ends before the content of its request has been read, up to
    ``limits.max_drain_bytes`` of it are discarded; with more to come, the connection must close.

    After :class:`ProtocolFailed` a response may be sent, unless one is already on its way, and then the
    connection must close. An end of input inside a request is ``ProtocolFailed`` (RFC 9112 section 8:
    an incomplete message is no message), between requests ``ConnectionEnded``.

    Args:
        limits: bounds and deadlines.
        now_s: the time at which the connection was made.
        defaults: fields of all responses.
    """

    __slots__ = (
        "_block",
        "_chunks",
        "_content_left_bytes",
        "_deadline_s",
        "_drain_left_bytes",
        "_empty_line_skipped",
        "_eof",
        "_field_reader",
        "_fields",
        "_framing_fields",
        "_head_started",
        "_input",
        "_limits",
        "_line",
        "_parser",
        "_position",
        "_request",
        "_request_framing",
        "_searched_bytes",
        "_words",
    )

    def __init__(self, limits: HTTP1Limits, *, now_s: float, defaults: DefaultFields = NO_DEFAULTS) -> None:
        super().__init__(defaults)
        self._limits = limits
        self._request = _HEAD
        self._input = b""  # what was received and not used yet begins at _position
        self._position = 0
        self._eof = False
        self._deadline_s: float | None = now_s + limits.first_byte_timeout_s
        self._head_started = False
        self._empty_line_skipped = False
        self._content_left_bytes = 0
        self._drain_left_bytes = 0
        self._chunks: ChunkedReader | None = None
        self._field_reader = _FieldReader()
        self._parser: HttpRequestParser | None = None
        # Of the request in progress, or the one before it.
        self._line: bytes | None = None
        self._words: _Words  # of the line
        self._block = b""
        self._fields: Fields = []
        self._framing_fields: Fields | None = None
        self._request_framing = _NO_FRAMING
        self._searched_bytes = 0  # of an incomplete head: found to be free of faults

    # What the connection asks ----------------------------------------------------------------

    @property
    def keep_alive(self) -> bool:
        """Whether the connection may live on after this response; ask when the response is complete."""
        request = self._request
        if not self._persistent or request is _ENDED or (self._eof and self._position == len(self._input)):
            return False
        return request is not _LENGTH or self._content_left_bytes <= self._drain_left_bytes

    @property
    def request_complete(self) -> bool:
        """Whether the request in progress has arrived whole, or none is in progress."""
        return self._request is _COMPLETE or self._request is _HEAD

    @property
    def wants_data(self) -> bool:
        """Whether more input is of use now.

        False once the next request's head (or as many bytes as a head may have) is held back, and
        when the protocol has failed. Bounded by one read more than ``limits.max_head_bytes``.
        """
        if self._request is not _COMPLETE:
            return self._request is not _ENDED
        held_bytes = len(self._input) - self._position
        return not held_bytes or (
            held_bytes < self._limits.max_head_bytes and self._input.find(b"\r\n\r\n", self._position) < 0
        )

    @property
    def holds_data(self) -> bool:
        """Whether input has come behind the request in progress."""
        return self._position < len(self._input)

    def trailing_data(self) -> bytes:
        """Return and forget the input after the request; after 101 it belongs to the new protocol."""
        data = self._input[self._position :]
        self._input = b""
        self._position = 0
        return data

    def next_deadline_s(self) -> float | None:
        """The time at which ``receive_data(b"", now_s)`` must be called; None while a request is in progress."""
        return self._deadline_s

    # Input -----------------------------------------------------------------------------------

    def receive_data(self, data: bytes, now_s: float) -> list[Event]:
        """Take bytes from the client, or let time pass; return what they mean."""
        if not self._input:
            head = self._read_repeated_head(data)
            if head is not None:
                return [head]
            self._input = data
        elif data:
            self._input = self._input[self._position :] + data
            self._position = 0
        events: list[Event] = []
        try:
            self._advance(events, now_s)
        except RemoteProtocolError as exc:
            self._fail(exc, events)
        if self._position == len(self._input):  # do not keep a large read alive
            self._input = b""
            self._position = 0
        return events

    def receive_eof(self) -> list[Event]:
        """Take note that the client sends no more."""
        self._eof = True
        events: list[Event] = []
        self._check_eof(events)
        return events

    def _advance(self, events: list[Event], now_s: float) -> None:
        """Go on reading as far as the input and the order of requests and responses allow."""
        while True:
            request = self._request
            if request is _COMPLETE:
                if self._response is not _RESPONSE_DONE or not self._persistent:
                    return
                self._begin_cycle()
            elif request is _HEAD:
                if not self._read_head(events):
                    self._wait_for_head(events, now_s)
                    return
                if self._request is _COMPLETE:
                    return
            elif request is _ENDED:
                self.trailing_data()
                return
            elif not self._read_content(events, now_s):
                return

    def _begin_cycle(self) -> None:
        self._request = _HEAD
        self._response = _RESPONSE_IDLE
        self._upgrade_offered = False

    def _wait_for_head(self, events: list[Event], now_s: float) -> None:
        """Keep the deadline of an idle connection or of an incomplete head."""
        limits = self._limits
        if self._position < len(self._input):
            if not self._head_started:
                self._head_started = True
                self._deadline_s = now_s + limits.head_timeout_s
        elif self._deadline_s is None:
            self._deadline_s = now_s + limits.keepalive_timeout_s
        if self._eof:
            self._check_eof(events)
        elif self._deadline_s is not None and now_s >= self._deadline_s:
            if self._head_started:
                raise RemoteProtocolError("RFC 9110 section 15.5.9: the request took too long", status_hint=408)
            self._end(events)

    def _check_eof(self, events: list[Event]) -> None:
        request = self._request
        answered = request is _COMPLETE and self._response is _RESPONSE_DONE
        if (request is _HEAD or answered) and not self.holds_data:
            self._end(events)
        elif request is _HEAD or request is _LENGTH or request is _CHUNKED:
            self._fail(RemoteProtocolError("RFC 9112 section 8: the request is incomplete"), events)

    def _fail(self, error: RemoteProtocolError, events: list[Event]) -> None:
        """Stop reading and say why, unless the response to this request is complete: then nobody could be told."""
        if self._response is _RESPONSE_DONE:
            self._end(events)
            return
        self._stop_reading()
        if self._response is _RESPONSE_IDLE:
            self._response = _RESPONSE_READY
            self._is_head_request = False
            self._is_http10 = False
        events.append(ProtocolFailed(error))

    def _end(self, events: list[Event]) -> None:
        self._stop_reading()
        events.append(ConnectionEnded())

    def _stop_reading(self) -> None:
        self._request = _ENDED
        self._persistent = False
        self._deadline_s = None
        self.trailing_data()

    # Heads -----------------------------------------------------------------------------------

    def _read_head(self, events: list[Event]) -> bool:
        """Read one head, if it is there."""
        data = self._input
        start = self._position
        if start == len(data):
            return False
        if not self._empty_line_skipped and data.startswith(b"\r\n", start):
            # One, as after the content of very old clients (RFC 9112 section 2.2).
            self._empty_line_skipped = True
            self._position = start = start + 2
        end = data.find(b"\r\n\r\n", start) + 4
        if end < 4 or end - start > self._limits.max_head_bytes:
            self._check_partial_head(data[start:])
            return False
        line_end = data.find(b"\r\n", start)
        try:
            method, target, http_version, authority = self._read_line(data[start:line_end])
            block = data[line_end + 2 : end]
            if block == self._block and http_version == self._request_framing.http_version:
                fields = self._fields.copy()
            else:
                fields = self._read_fields(block, http_version)
        except RemoteProtocolError:
            self._check_partial_head(data[start:end])
            raise
        framing = self._request_framing
        if authority is not None:
            fields = [(b"host", authority), *(field for field in fields if field[0] != b"host")]
        self._position = end
        self._begin_request(method, framing)
        events.append(
            RequestHead(
                method,
                target,
                fields,
                http_version,
                self._request is _COMPLETE,
                framing.expect_continue,
                framing.upgrade,
            )
        )
        return True

    def _read_repeated_head(self, data: bytes) -> RequestHead | None:
        """Read a whole request that has the fields of the one before and no content; None for any other.

        Fused for speed: what :meth:`_advance` and :meth:`_read_head` do, where all of their questions have the
        answers of the last time.
        """
        framing = self._request_framing
        ready = self._request is _HEAD or (
            self._request is _COMPLETE and self._response is _RESPONSE_DONE and self._persistent
        )
        if framing.has_content or not ready or len(data) > self._limits.max_head_bytes:
            return None
        line, _, block = data.partition(b"\r\n")
        if block != self._block or not block:
            return None
        try:
            method, target, http_version, authority = self._read_line(line)
        except RemoteProtocolError:
            return None
        if http_version != framing.http_version or authority is not None:
            return None
        self._begin_request(method, framing)
        return RequestHead(method, target, self._fields.copy(), http_version, True, False, framing.upgrade)

    def _begin_request(self, method: str, framing: RequestFraming) -> None:
        self._deadline_s = None
        self._head_started = False
        self._empty_line_skipped = False
        self._searched_bytes = 0
        self._response = _RESPONSE_READY
        self._is_head_request = method == "HEAD"
        self._is_http10 = framing.is_http10
        self._persistent = framing.persistent
        self._continue_pending = framing.expect_continue
        if not framing.has_content:
            self._request = _COMPLETE
            self._upgrade_offered = framing.upgrade is not None
            return
        self._drain_left_bytes = self._limits.max_drain_bytes
        if framing.chunked:
            self._request = _CHUNKED
            self._chunks = ChunkedReader(self._limits)
        else:
            self._request = _LENGTH
            self._content_left_bytes = framing.length

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
        if framing_fields != self._framing_fields or http_version != self._request_framing.http_version:
            self._request_framing = RequestFraming(http_version, framing_fields)
        if not self._request_framing.parser_reusable:
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

    def _check_partial_head(self, head: bytes) -> None:
        """Find the first fault of a head that is incomplete, too large or known to be faulty.

        What is found depends on the bytes up to the fault alone, and so not on how they were cut.
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

    # Content ---------------------------------------------------------------------------------

    def _read_content(self, events: list[Event], now_s: float) -> bool:
        """Hand out what has come of the content, or discard it after an early response. True when complete."""
        draining = self._response is _RESPONSE_DONE
        if draining and not self.keep_alive:
            self._stop_reading()
            return False
        pieces: list[bytes] = []
        try:
            if self._request is _LENGTH:
                trailers = self._read_sized(pieces)
            else:
                trailers = self._read_chunks(pieces)
        finally:
            if pieces:
                self._continue_pending = False
                if not draining:
                    events.append(Data(pieces[0] if len(pieces) == 1 else b"".join(pieces)))
        if draining:
            self._wait_for_drain(events, now_s, sum(map(len, pieces)), complete=trailers is not None)
        if trailers is None:
            return False
        self._request = _COMPLETE
        self._upgrade_offered = self._request_framing.upgrade is not None
        if not draining:
            events.append(EndOfMessage(trailers))
        return True

    def _read_sized(self, pieces: list[bytes]) -> Fields | None:
        piece = self._input[self._position : self._position + self._content_left_bytes]
        if piece:
            pieces.append(piece)
            self._position += len(piece)
            self._content_left_bytes -= len(piece)
        return None if self._content_left_bytes else []

    def _read_chunks(self, pieces: list[bytes]) -> Fields | None:
        assert self._chunks is not None
        self._position = self._chunks.read(self._input, self._position, pieces)
        return self._chunks.trailers

    def _wait_for_drain(self, events: list[Event], now_s: float, drained_bytes: int, *, complete: bool) -> None:
        """Bound what is discarded, in bytes and in time."""
        self._drain_left_bytes -= drained_bytes
        if self._deadline_s is None:
            self._deadline_s = now_s + self._limits.keepalive_timeout_s
        if complete:
            self._deadline_s = None
        elif self._drain_left_bytes < 0 or now_s >= self._deadline_s:
            self._end(events)


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

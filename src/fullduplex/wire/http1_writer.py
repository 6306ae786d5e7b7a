"""The writing half of an HTTP/1 server connection: responses become bytes.

The state of a response is one of :class:`Response`; everything obeys this table.

=========  ===============  =================  ====================  ==================
state      Informational    ResponseHead       Data                  EndOfMessage
=========  ===============  =================  ====================  ==================
IDLE       error            error              error                 error
READY      READY            HELD, BODY, DONE   error                 error
HELD       error            error              BODY, DONE            DONE
BODY       error            error              BODY, DONE            DONE
DONE       error            error              error                 error
SWITCHED   error            error              error                 error
=========  ===============  =================  ====================  ==================

HELD is a head whose framing is still open: when the whole content follows before the bytes are
fetched, it gets a Content-Length instead of chunks.
"""

from __future__ import annotations

import enum
from http import HTTPStatus
from typing import Final

from fullduplex.exceptions import LocalProtocolError
from fullduplex.wire.events import AppContent, AppFields, Data, EndOfMessage, Event, Fields, Informational, ResponseHead
from fullduplex.wire.grammar import is_token, split_list


class Response(enum.Enum):
    """How far the response has come."""

    IDLE = enum.auto()  # no request to answer
    READY = enum.auto()  # the head may go out
    HELD = enum.auto()
    BODY = enum.auto()
    DONE = enum.auto()
    SWITCHED = enum.auto()  # 101 was sent: the connection speaks another protocol


class Framing(enum.Enum):
    """How the content of a response is delimited (RFC 9112 section 6.3)."""

    NONE = enum.auto()  # HEAD, 204, 205, 304: content is dropped
    LENGTH = enum.auto()
    CHUNKED = enum.auto()
    CLOSE = enum.auto()


# What a response field of the application means for framing.
_PLAIN: Final = 0
_CONTENT_LENGTH: Final = 1
_CONNECTION: Final = 2
_UPGRADE: Final = 3
_OURS: Final = 4  # dropped: the framing is the codec's own
_DEFAULT: Final = 5  # stands in the place of the server's own

# Bound once: looking up a member of an enum costs more than the comparison.
_IDLE: Final = Response.IDLE
_READY: Final = Response.READY
_HELD: Final = Response.HELD
_BODY: Final = Response.BODY
_DONE: Final = Response.DONE
_NONE: Final = Framing.NONE
_LENGTH: Final = Framing.LENGTH
_CHUNKED: Final = Framing.CHUNKED
_CLOSE: Final = Framing.CLOSE

_REASONS = {int(status): status.phrase.encode("ascii") for status in HTTPStatus}
_STATUS_LINES: Final = {
    status: b"HTTP/1.1 %d %b\r\n" % (status, _REASONS.get(status, b"")) for status in range(100, 1000)
}

_STATUSES_WITHOUT_CONTENT: Final = frozenset({204, 205, 304})

_SPECIAL = {
    b"content-length": _CONTENT_LENGTH,
    b"connection": _CONNECTION,
    b"upgrade": _UPGRADE,
    b"transfer-encoding": _OURS,
    b"keep-alive": _OURS,
    b"proxy-connection": _OURS,
    b"date": _DEFAULT,
    b"server": _DEFAULT,
}

#: Names that were found valid, as the application writes them. Bounded: an application that makes up
#: names without end must not fill the memory.
_known_names: Final[dict[bytes, int]] = dict(_SPECIAL)
_KNOWN_NAMES_COUNT: Final = 1024
_KNOWN_NAME_BYTES: Final = 64


#: Whole field lines that were found valid. Applications repeat most of theirs from response to response
#: (content-type, date, security fields), and to look one up costs a third of making it.
_known_lines: Final[dict[tuple[bytes, bytes], bytes]] = {}
_KNOWN_LINES_COUNT: Final = 1024
_KNOWN_LINE_BYTES: Final = 256

#: Fields whose values hardly ever come again.
_UNIQUE_NAMES: Final = frozenset(
    {b"set-cookie", b"etag", b"last-modified", b"x-request-id", b"location", b"content-range"}
)


def _plain_line(name: bytes, value: bytes) -> bytes:
    """Write one field line, and remember it if it may come again."""
    line = _joined([b"%b: %b\r\n" % (name, value)])
    if name.lower() not in _UNIQUE_NAMES and len(line) <= _KNOWN_LINE_BYTES:
        if len(_known_lines) >= _KNOWN_LINES_COUNT:
            _known_lines.clear()
        _known_lines[bytes(name), bytes(value)] = line
    return line


def _kind_of(name: bytes) -> int:
    """Validate a field name that is seen for the first time."""
    if not is_token(name):
        raise LocalProtocolError(f"RFC 9110 section 5.1: invalid field name {name!r}")
    kind = _SPECIAL.get(name.lower(), _PLAIN)
    if len(_known_names) < _KNOWN_NAMES_COUNT and len(name) <= _KNOWN_NAME_BYTES:
        _known_names[bytes(name)] = kind
    return kind


def _joined(lines: list[bytes]) -> bytes:
    """Join lines of a head; each may hold only the line break at its end, so that no response can be split."""
    head = b"".join(lines)
    if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines) or b"\0" in head:
        raise LocalProtocolError("RFC 9110 section 5.5: a field value contains CR, LF or NUL")
    return head


def _lines_sent_before(status: int, headers: AppFields, length: bytes) -> list[bytes] | None:
    """The lines of a head without its content-length, if all of them are known and nothing needs a closer look."""
    status_line = _STATUS_LINES.get(status)
    if status_line is None or status < 200:
        return None
    lines = [status_line]
    try:
        for field in headers:
            line = _known_lines.get(field)
            if line is not None:
                lines.append(line)
            elif field[1] != length or field[0].lower() != b"content-length":
                return None
    except TypeError:  # a list for a tuple: ASGI allows it
        return None
    return lines


class DefaultFields:
    """Date and Server, as every response has them that does not bring its own.

    All connections of a worker share one of these: :meth:`set` renews the date of all of them.
    """

    __slots__ = ("_lines", "block", "fields")

    def __init__(self) -> None:
        self.set([])

    def set(self, fields: Fields) -> None:
        self.fields = fields  # as HTTP/2 writes them
        self._lines = [(name, b"%b: %b\r\n" % (name, value)) for name, value in fields]
        self.block = b"".join(line for _, line in self._lines)

    def beside(self, headers: AppFields) -> bytes:
        """The lines of those that are not among ``headers``, however these are spelt."""
        names = {name.lower() for name, _ in headers}
        return b"".join(line for name, line in self._lines if name not in names)


NO_DEFAULTS = DefaultFields()


class HTTP1Writer:
    """Writes the responses of one connection; the reading half tells it about each request.

    Attributes:
        _persistent: nothing has been seen so far that ends the connection after this response.
        _closing: every response from here on ends the connection, and says so.
        _continue_pending: the client waits for 100 and has not sent content yet.
    """

    __slots__ = (
        "_closing",
        "_continue_pending",
        "_defaults",
        "_framing",
        "_held_head",
        "_is_head_request",
        "_is_http10",
        "_output",
        "_persistent",
        "_remaining_bytes",
        "_response",
        "_upgrade_offered",
    )

    def __init__(self, defaults: DefaultFields = NO_DEFAULTS) -> None:
        self._defaults = defaults
        self._response = _IDLE
        self._framing = _NONE
        self._held_head = b""
        self._output: list[bytes] = []
        self._remaining_bytes = 0
        self._persistent = True
        self._closing = False
        self._is_http10 = False
        self._is_head_request = False
        self._continue_pending = False
        self._upgrade_offered = False

    def send(self, event: Event) -> None:
        """Queue a part of the response.

        What the application may leave to us: Content-Length and Transfer-Encoding (chunks for
        HTTP/1.1, else the end of the connection), Connection, and content where there is none
        (HEAD, 204, 205, 304), which is dropped. Trailers are dropped where nothing is chunked.

        ``ResponseHead`` or ``Informational`` with status 101 accepts an upgrade and ends HTTP here.

        Raises:
            LocalProtocolError: an event at the wrong time, an invalid field, or content that does
                not match the Content-Length. Nothing is queued; when the content is too short, the
                connection must be closed (:attr:`HTTP1Codec.keep_alive` turns False).
        """
        kind = type(event)
        try:
            if kind is ResponseHead:
                self._send_head(event)  # type: ignore[arg-type]
            elif kind is Data:
                self._send_data(event.data, event.end_stream)  # type: ignore[attr-defined]
            elif kind is EndOfMessage:
                self._send_end(event.trailers)  # type: ignore[attr-defined]
            elif kind is Informational:
                self._send_informational(event)  # type: ignore[arg-type]
            else:
                raise LocalProtocolError(f"a server does not send {kind.__name__} over HTTP/1")
        except (TypeError, ValueError, AttributeError, LookupError) as exc:
            raise LocalProtocolError(f"fields and content are bytes: {exc}") from exc

    def encode_response(self, status: int, headers: AppFields, content: AppContent) -> bytes:
        """``send`` a head and its whole content, and return ``data_to_send()``, in one step.

        Fused for speed: most responses are whole, to a client that goes on, with fields that were sent before.

        Raises:
            LocalProtocolError: as :meth:`send`.
        """
        if (
            self._response is _READY
            and self._persistent
            and not (self._continue_pending or self._is_http10 or self._is_head_request)
            and status not in _STATUSES_WITHOUT_CONTENT
            and type(content) is bytes
            and not self._output
        ):
            length = b"%d" % len(content)
            lines = _lines_sent_before(status, headers, length)
            if lines is not None:
                self._response = _DONE
                lines += (self._defaults.block, b"content-length: ", length, b"\r\n\r\n", content)
                return b"".join(lines)
        self.send(ResponseHead(status, headers))
        self.send(Data(content, end_stream=True))
        return self.data_to_send()

    def data_to_send(self) -> bytes:
        """Return and forget the bytes queued for the peer; a head whose framing is still open is framed now."""
        if self._response is _HELD:
            self._start_unsized()
        output = self._output
        if not output:
            return b""
        data = output[0] if len(output) == 1 else b"".join(output)
        output.clear()
        return data

    # Heads -----------------------------------------------------------------------------------

    def _send_head(self, event: ResponseHead) -> None:
        status = event.status
        if status < 200:
            if status != 101:
                raise LocalProtocolError("RFC 9110 section 15.2: 1xx is not a final response")
            self._send_switch(event.headers)
            return
        if self._response is not _READY:
            raise LocalProtocolError("a response head was sent twice, or without a request")
        status_line = _STATUS_LINES.get(status)
        if status_line is None:
            raise LocalProtocolError(f"RFC 9110 section 15: invalid status {status}")
        lines = [status_line]
        length: int | None = None
        defaults = self._defaults.block
        persistent = self._persistent and not self._continue_pending
        known_lines = _known_lines
        for field in event.headers:
            key = field if type(field) is tuple else (field[0], field[1])  # ASGI allows lists, too
            line = known_lines.get(key)
            if line is not None:
                lines.append(line)
                continue
            name, value = field
            kind = _known_names.get(name)
            if kind is None:
                kind = _kind_of(name)
            if kind == _PLAIN:
                lines.append(_plain_line(name, value))
            elif kind == _CONTENT_LENGTH:
                length = _content_length(value, length)
            elif kind == _CONNECTION:
                persistent = persistent and b"close" not in split_list(value)
            elif kind == _UPGRADE:  # 426 must have it (RFC 9110 section 15.5.22)
                lines += (_joined([b"upgrade: %b\r\n" % value]), b"connection: upgrade\r\n")
            elif kind == _DEFAULT:
                lines.append(_joined([b"%b: %b\r\n" % (name, value)]))
                defaults = self._defaults.beside(event.headers)
        lines.append(defaults)
        head = b"".join(lines)
        without_content = self._is_head_request or status in _STATUSES_WITHOUT_CONTENT
        if event.end_stream and length and not without_content:
            raise LocalProtocolError("RFC 9110 section 8.6: less content than the Content-Length")

        self._persistent = persistent
        if without_content:
            if status == 205:  # RFC 9110 section 15.3.6
                head += b"content-length: 0\r\n"
            elif length is not None and status != 204:  # RFC 9110 section 8.6
                head += b"content-length: %d\r\n" % length
            self._start(head, _NONE)
        elif length is not None:
            self._remaining_bytes = length
            self._start(b"%bcontent-length: %d\r\n" % (head, length), _LENGTH)
        else:
            self._held_head = head
            self._response = _HELD
        if event.end_stream:
            self._send_end(())

    def _start(self, head: bytes, framing: Framing) -> None:
        """Queue a head whose framing is decided."""
        if not self._persistent:
            head += b"connection: close\r\n\r\n"
        elif self._is_http10:
            head += b"connection: keep-alive\r\n\r\n"
        else:
            head += b"\r\n"
        self._output.append(head)
        self._framing = framing
        self._response = _BODY

    def _start_unsized(self) -> None:
        """Queue the held head: its content has no known length."""
        if self._is_http10:
            self._persistent = False
            self._start(self._held_head, _CLOSE)
        else:
            self._start(self._held_head + b"transfer-encoding: chunked\r\n", _CHUNKED)

    def _send_informational(self, event: Informational) -> None:
        status = event.status
        if status == 101:
            self._send_switch(event.headers)
            return
        if not 100 <= status < 200:
            raise LocalProtocolError(f"RFC 9110 section 15.2: {status} is not informational")
        if self._response is not _READY:
            raise LocalProtocolError("an informational response after the final one, or without a request")
        lines = [_STATUS_LINES[status], *_plain_lines(event.headers)]
        head = _joined(lines)
        if self._is_http10 or (status == 100 and not self._continue_pending):
            return  # RFC 9110 section 15.2: never to HTTP/1.0; and 100 only where it is waited for
        if status == 100:
            self._continue_pending = False
        self._output.append(head + b"\r\n")

    def _send_switch(self, headers: AppFields) -> None:
        """Accept an upgrade (RFC 9110 section 15.2.2)."""
        if self._response is not _READY or not self._upgrade_offered:
            raise LocalProtocolError("RFC 9110 section 7.8: 101 needs a complete request that asks for an upgrade")
        if not any(name.lower() == b"upgrade" for name, _ in headers):
            raise LocalProtocolError("RFC 9110 section 7.8: 101 needs an Upgrade field")
        lines = [_STATUS_LINES[101], b"connection: upgrade\r\n", *_plain_lines(headers, keep_upgrade=True)]
        self._output.append(_joined(lines) + self._defaults.beside(headers) + b"\r\n")
        self._response = Response.SWITCHED
        self._persistent = False

    # Content ---------------------------------------------------------------------------------

    def takes_plain(self, count: int) -> bool:
        """Whether ``count`` bytes of content may go out as they are, past this codec; see :meth:`sent_plain`."""
        if self._response is not _BODY:
            return False
        return self._framing is _CLOSE or (self._framing is _LENGTH and count <= self._remaining_bytes)

    def sent_plain(self, count: int) -> None:
        """Take note of content that went out past this codec, by ``sendfile``."""
        if self._framing is _LENGTH:
            self._remaining_bytes -= count

    def _send_data(self, data: AppContent, end_stream: bool) -> None:
        response = self._response
        output = self._output
        if type(data) is not bytes:
            data = bytes(memoryview(data))
        if response is _HELD:
            if end_stream:
                self._start(self._held_head + b"content-length: %d\r\n" % len(data), _LENGTH)
                output[-1] += data
                self._response = _DONE
                return
            if not data:
                return
            self._start_unsized()
        elif response is not _BODY:
            raise LocalProtocolError("content before the response head, or after its end")
        framing = self._framing
        if framing is _LENGTH:
            remaining = self._remaining_bytes - len(data)
            if remaining < 0:
                raise LocalProtocolError("RFC 9110 section 8.6: more content than the Content-Length")
            if end_stream and remaining:
                self._persistent = False
                raise LocalProtocolError("RFC 9110 section 8.6: less content than the Content-Length")
            self._remaining_bytes = remaining
            output.append(data)
        elif framing is _CHUNKED:
            if data:
                output += (b"%x\r\n" % len(data), data, b"\r\n0\r\n\r\n" if end_stream else b"\r\n")
            elif end_stream:
                output.append(b"0\r\n\r\n")
        elif framing is _CLOSE:
            output.append(data)
        if end_stream:
            self._response = _DONE

    def _send_end(self, trailers: AppFields | tuple[()]) -> None:
        response = self._response
        if response is _HELD:
            if trailers:
                self._start_unsized()
            else:
                self._start(self._held_head + b"content-length: 0\r\n", _LENGTH)
                self._remaining_bytes = 0
        elif response is not _BODY:
            raise LocalProtocolError("the end of a response before its head, or twice")
        if self._framing is _LENGTH and self._remaining_bytes:
            self._persistent = False
            raise LocalProtocolError("RFC 9110 section 8.6: less content than the Content-Length")
        if self._framing is _CHUNKED:
            lines = _plain_lines(trailers)
            self._output.append(b"0\r\n" + _joined(lines) + b"\r\n")
        self._response = _DONE


def _content_length(value: bytes, earlier: int | None) -> int:
    """Read the application's Content-Length; two that differ are an error."""
    if not value.isdigit() or len(value) > 18:
        raise LocalProtocolError(f"RFC 9110 section 8.6: invalid Content-Length {value!r}")
    length = int(value)
    if earlier is not None and earlier != length:
        raise LocalProtocolError("RFC 9110 section 8.6: two different Content-Length fields")
    return length


def _plain_lines(fields: AppFields | tuple[()], *, keep_upgrade: bool = False) -> list[bytes]:
    """Field lines of informational responses and trailers: nothing that frames."""
    lines = []
    for name, value in fields:
        kind = _kind_of(name)
        if kind in (_PLAIN, _DEFAULT) or (keep_upgrade and kind == _UPGRADE):
            lines.append(b"%b: %b\r\n" % (name, value))
    return lines

"""What codecs say: about ten small events, the same for every framing.

Events are plain ``slots`` classes: a frozen dataclass costs three times as much to build, and a
busy connection builds several of them per request. ``stream_id`` is 0 where a connection carries
one exchange at a time (HTTP/1.1); HTTP/2 uses its own identifiers.
"""

from __future__ import annotations

from typing import Any, TypeVar

Failure = TypeVar("Failure", bound=Exception)

Fields = list[tuple[bytes, bytes]]
#: Fields and content as an application gives them: lists for pairs, other buffers for bytes, or worse: codecs check.
AppFields = list[Any]
AppContent = Any


class Event:
    """Base: equality and repr by the slots, for tests and logs."""

    __slots__ = ()

    def _state(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in _attributes(type(self)))

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._state() == other._state()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in _attributes(type(self)))
        return f"{type(self).__name__}({values})"


def _attributes(event_class: type) -> list[str]:
    """By the slots, which are kept under another name where this module is compiled."""
    slots = [getattr(cls, "__slots__", ()) or getattr(cls, "__mypyc_attrs__", ()) for cls in event_class.__mro__]
    return [name for names in slots for name in names if name != "__hash__"]


class RequestHead(Event):
    """A request begins.

    Attributes:
        method: as sent, ``"GET"``.
        target: path and query as sent, percent-encoded: the origin-form, or ``b"*"``. An
            absolute-form target arrives here as origin-form, its authority as the Host field
            (RFC 9112 section 3.2.2).
        headers: names in lower case, in order of arrival; values without surrounding whitespace.
        http_version: ``"1.0"``, ``"1.1"`` or ``"2"``.
        end_stream: no content follows, and no :class:`EndOfMessage` either.
        expect_continue: the client waits for 100 before it sends the content.
        upgrade: the lower-case value of Upgrade when the client asks to leave HTTP/1.1
            (``b"websocket"``), or the ``:protocol`` of an extended CONNECT (RFC 8441); else None.
    """

    __slots__ = (
        "end_stream",
        "expect_continue",
        "headers",
        "http_version",
        "method",
        "stream_id",
        "target",
        "upgrade",
    )

    def __init__(
        self,
        method: str,
        target: bytes,
        headers: Fields,
        http_version: str = "1.1",
        end_stream: bool = True,
        expect_continue: bool = False,
        upgrade: bytes | None = None,
        stream_id: int = 0,
    ) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.http_version = http_version
        self.end_stream = end_stream
        self.expect_continue = expect_continue
        self.upgrade = upgrade
        self.stream_id = stream_id


class ResponseHead(Event):
    """A response begins; ``end_stream`` means that it has no content and is complete."""

    __slots__ = ("end_stream", "headers", "status", "stream_id")

    def __init__(self, status: int, headers: AppFields, end_stream: bool = False, stream_id: int = 0) -> None:
        self.status = status
        self.headers = headers
        self.end_stream = end_stream
        self.stream_id = stream_id


class Informational(Event):
    """A 1xx response before the final one: 100 (continue), 103 (early hints)."""

    __slots__ = ("headers", "status", "stream_id")

    def __init__(self, status: int, headers: AppFields, stream_id: int = 0) -> None:
        self.status = status
        self.headers = headers
        self.stream_id = stream_id


class Data(Event):
    """A piece of content, without framing. When sent, ``end_stream`` ends the message in the same write."""

    __slots__ = ("data", "end_stream", "stream_id")

    def __init__(self, data: AppContent, end_stream: bool = False, stream_id: int = 0) -> None:
        self.data = data
        self.end_stream = end_stream
        self.stream_id = stream_id


class EndOfMessage(Event):
    """The content is complete; ``trailers`` came (or go) after it."""

    __slots__ = ("stream_id", "trailers")

    def __init__(self, trailers: AppFields | None = None, stream_id: int = 0) -> None:
        self.trailers = trailers or []
        self.stream_id = stream_id


class StreamReset(Event):
    """One stream ended before its time (HTTP/2): reset by the peer, or by us for its faults. RFC 9113 section 7.

    Nothing more comes of the stream, and nothing can be sent on it.
    """

    __slots__ = ("error_code", "stream_id")

    def __init__(self, error_code: int, stream_id: int) -> None:
        self.error_code = error_code
        self.stream_id = stream_id


class StreamEnded(Event):
    """One stream is complete in both directions, and all that was sent on it has been fetched (HTTP/2)."""

    __slots__ = ("stream_id",)

    def __init__(self, stream_id: int) -> None:
        self.stream_id = stream_id


class ProtocolFailed(Event):
    """The peer broke the protocol; the codec takes no further input, of this stream if it is one of many.

    An event, not an exception, because valid messages of the same read come before it.
    ``error.status_hint`` (HTTP) or ``error.close_code`` (WebSocket) says how to tell the peer.
    """

    __slots__ = ("error", "stream_id")

    def __init__(self, error: Exception, stream_id: int = 0) -> None:
        self.error = detached(error)
        self.stream_id = stream_id

    def _state(self) -> tuple[Any, ...]:
        error = self.error
        return (
            self.stream_id,
            type(error),
            str(error),
            getattr(error, "status_hint", None),
            getattr(error, "close_code", None),
        )


class PrefaceReceived(ProtocolFailed):
    """HTTP/2's preface in the place of the first request, or a line that has nothing of HTTP/1.

    Who speaks HTTP/2 goes on with ``data``.

    How much of it there is depends on how the input was cut, so it does not count for equality.
    """

    __slots__ = ("data",)

    def __init__(self, error: Exception, data: bytes) -> None:
        super().__init__(error)
        self.data = data


def detached(error: Failure) -> Failure:
    """The error without its traceback, whose frames would keep alive what they held: a message that was too big.

    Frames that in their turn hold the error would do so until the garbage collector comes, and it does not count bytes.
    """
    error.__context__ = None
    return error.with_traceback(None)


class ConnectionEnded(Event):
    """Nothing more will come: end of input, or a deadline passed between messages. Close the connection."""

    __slots__ = ()


class Message(Event):
    """A whole WebSocket message: ``str`` for text, ``bytes`` for binary."""

    __slots__ = ("data",)

    def __init__(self, data: AppContent) -> None:
        self.data = data


class Ping(Event):
    """A WebSocket ping. When received, the pong is already queued."""

    __slots__ = ("payload",)

    def __init__(self, payload: bytes = b"") -> None:
        self.payload = payload


class Pong(Event):
    """A WebSocket pong."""

    __slots__ = ("payload",)

    def __init__(self, payload: bytes = b"") -> None:
        self.payload = payload


class Close(Event):
    """A WebSocket close frame. Received without a code: 1005. Sent with 1005: no code on the wire."""

    __slots__ = ("code", "reason")

    def __init__(self, code: int = 1000, reason: str = "") -> None:
        self.code = code
        self.reason = reason

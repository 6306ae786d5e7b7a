"""Every error that fullduplex raises.

::

    FullduplexError
    ├── ConfigurationError          a setting or an option is wrong; the message says what to set
    │   ├── LayerNotConfigured      no layer that reaches the members from this process
    │   └── InvalidChannelLayerError    an entry of CHANNEL_LAYERS is wrong (a ValueError, as in Channels)
    ├── ProtocolError
    │   ├── LocalProtocolError      our side (usually the application) broke the protocol
    │   └── RemoteProtocolError     the peer broke it: ``status_hint`` or ``close_code`` says how to tell it
    │       └── IncompleteRequest   its request ends in the middle
    ├── ThreadsExhausted            no thread for sync code became free in time: 503
    ├── RequestRefused              a request of a client of an endpoint is refused: ``code`` tells it why
    ├── Disconnected                the peer is gone: ``code`` and ``reason`` (an OSError, as ASGI asks)
    └── LayerError                  a layer failed
        ├── LayerUnavailable        the broker cannot be reached
        └── ChannelFull             a bounded channel is over its capacity

Signals of consumers, no errors::

    AcceptConnection, DenyConnection    raised in ``connect``: accept, refuse
    StopConsumer                        the consumer is over
"""

from __future__ import annotations

from collections.abc import Sequence

from fullduplex.log_lines import escape


class FullduplexError(Exception):
    """Base of all errors of this package."""


class ConfigurationError(FullduplexError):
    """A setting or an option is wrong; the message names it and says what to set."""


class LayerNotConfigured(ConfigurationError):
    """No layer is configured that would reach the members from this process."""


class InvalidChannelLayerError(ConfigurationError, ValueError):
    """An entry of ``CHANNEL_LAYERS`` is wrong, or a consumer needs a layer and there is none."""


class ProtocolError(FullduplexError):
    """Somebody broke a protocol."""


class LocalProtocolError(ProtocolError):
    """Our side broke the protocol: a wrong event, or an event at the wrong time."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol.

    Args:
        message: what was wrong, with the rule it breaks, e.g. ``"RFC 9112 section 5.1: ..."``.
        status_hint: the HTTP status that tells the peer, where a response is still possible.
        close_code: the WebSocket close code that tells the peer.
        headers: fields that must go with the status (426 names the versions).
    """

    def __init__(
        self,
        message: str,
        *,
        status_hint: int = 400,
        close_code: int = 1002,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(message)
        self.status_hint = status_hint
        self.close_code = close_code
        self.headers = list(headers)


class IncompleteRequest(RemoteProtocolError):
    """The client has left in the middle of its request, or sends no more of it."""


class Disconnected(FullduplexError, ConnectionError):
    """The peer is gone.

    An ``OSError``, because ASGI asks servers to raise one from ``send`` on a closed connection (spec 2.4).

    Args:
        code: WebSocket close code: as received, 1005 without one, 1006 when the connection was lost.
        reason: as received, else empty.
    """

    def __init__(self, code: int = 1006, reason: str = "") -> None:
        super().__init__(f"the peer is gone ({code}{', ' + escape(reason) if reason else ''})")
        self.code = code
        self.reason = reason


class ThreadsExhausted(FullduplexError):
    """No thread for sync code became free in time; the client is told 503."""


class ConnectionsExhausted(ThreadsExhausted):
    """No database connection for the async ORM became free in time; the client is told 503."""


class RequestRefused(FullduplexError):
    """Raised by the code of an endpoint: the client's request is refused, and is told so.

    Args:
        code: for the client's program: ``forbidden``, ``not_found``, ``bad_request``, ``limit`` and others of
            docs/reference/protocol.md, or one of the project's own.
        message: for the client's developer.
    """

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(message or code)
        self.code = code
        self.message = message


class LayerError(FullduplexError):
    """A layer failed."""


class LayerUnavailable(LayerError):
    """The broker behind a layer cannot be reached."""


class ChannelFull(LayerError):
    """A bounded channel is over its capacity."""


class AcceptConnection(Exception):
    """Raised by a consumer while it connects: accept the socket."""


class DenyConnection(Exception):
    """Raised by a consumer while it connects: refuse the socket."""


class StopConsumer(Exception):
    """Raised by a consumer's handler: the consumer is over."""

"""The response that opens a socket."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpResponse

# What describes content has no place in a 101; the rest is the server's own part of the handshake (RFC 6455 section
# 4.2.2), which an application must not contradict.
_NOT_OURS = frozenset({"etag", "connection", "upgrade"})
_NOT_OURS_PREFIXES = ("content-", "sec-websocket-")


class WebSocketResponse(HttpResponse):
    """Accepts a handshake: status 101, no content.

    ``socket.accept()`` makes it and the response middleware gets it, so that a session is saved and
    cookies are set. Its headers go out with the accept, as far as :func:`may_accept_with` allows.

    Attributes:
        subprotocol: the chosen one of those that the client offered, or None.
    """

    status_code = 101

    def __init__(self, subprotocol: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.subprotocol = subprotocol
        for name, value in (headers or {}).items():
            self.headers[name] = value

    def accept_event(self) -> dict[str, Any]:
        """Return the ``websocket.accept`` event, with headers and cookies."""
        return {"type": "websocket.accept", "subprotocol": self.subprotocol, "headers": accept_headers(self)}


def may_accept_with(name: str) -> bool:
    """Whether a header may go out with an accept: not Content-*, ETag, Connection, Upgrade or Sec-WebSocket-*."""
    name = name.lower()
    return name not in _NOT_OURS and not name.startswith(_NOT_OURS_PREFIXES)


def accept_headers(response: HttpResponse) -> list[tuple[bytes, bytes]]:
    """Return headers and cookies of ``response`` as an accept carries them, names in lower case."""
    headers = [
        (name.lower().encode("ascii"), value.encode("latin-1"))
        for name, value in response.items()
        if may_accept_with(name)
    ]
    cookies = [(b"set-cookie", cookie.OutputString().encode("ascii")) for cookie in response.cookies.values()]
    return headers + cookies

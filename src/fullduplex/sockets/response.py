"""The response that opens a socket."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.http import HttpResponse
from django.http.response import ResponseHeaders

# What describes content has no place in a 101; the rest is the server's own part of the handshake (RFC 6455 section
# 4.2.2), which an application must not contradict.
_NOT_OURS = frozenset({"etag", "connection", "upgrade"})
_NOT_OURS_PREFIXES = ("content-", "sec-websocket-")

Headers = Mapping[str, str] | Iterable[tuple[str, str]]


class WebSocketResponse(HttpResponse):
    """Accepts a handshake: status 101, no content.

    ``socket.accept()`` makes it and the response middleware gets it, so that a session is saved and
    cookies are set. Its headers go out with the accept, as far as :func:`may_accept_with` allows.

    Attributes:
        subprotocol: the chosen one of those that the client offered, or None.
        set_cookies: values of the Set-Cookie fields among ``headers``, as they are; besides ``cookies``.
    """

    status_code = 101

    def __init__(self, subprotocol: str | None = None, headers: Headers | None = None) -> None:
        super().__init__()
        self.subprotocol = subprotocol
        self.set_cookies: list[str] = []
        for name, value in fields(headers):
            if name.lower() == "set-cookie":  # the one field that is repeated and not joined, RFC 9110 section 5.3
                self.set_cookies.append(ResponseHeaders({name: value})[name])
            elif name in self.headers:
                self.headers[name] += f", {value}"
            else:
                self.headers[name] = value

    def accept_event(self) -> dict[str, Any]:
        """Return the ``websocket.accept`` event, with headers and cookies."""
        return {"type": "websocket.accept", "subprotocol": self.subprotocol, "headers": accept_headers(self)}


def fields(headers: Headers | None) -> list[tuple[str, str]]:
    """Return ``headers`` as names and values; pairs can repeat a name."""
    return list(headers.items() if isinstance(headers, Mapping) else headers or ())


def may_accept_with(name: str) -> bool:
    """Whether a header may go out with an accept: not Content-*, ETag, Connection, Upgrade or Sec-WebSocket-*."""
    name = name.lower()
    return name not in _NOT_OURS and not name.startswith(_NOT_OURS_PREFIXES)


def accept_headers(response: WebSocketResponse) -> list[tuple[bytes, bytes]]:
    """Return headers and cookies of ``response`` as an accept carries them, names in lower case."""
    headers = [
        (name.lower().encode("ascii"), value.encode("latin-1"))
        for name, value in response.items()
        if may_accept_with(name)
    ]
    cookies = response.set_cookies + [cookie.OutputString() for cookie in response.cookies.values()]
    return headers + [(b"set-cookie", cookie.encode("latin-1")) for cookie in cookies]

"""The scopes that this server makes, of the HTTP 2.5 and WebSocket 2.5 of ASGI 3.

Source: https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from __future__ import annotations

import os
from typing import Any, Final
from urllib.parse import unquote

from fullduplex.asgi import Event, Scope
from fullduplex.log_lines import address, escape
from fullduplex.net.stream import Stream
from fullduplex.wire.events import RequestHead

SPEC_VERSION = "2.5"
#: The call has a context of its own (``contextvars``), which ends with it.
_CONTEXT: Final = "fullduplex.context"
#: What works over HTTP/1.1; HTTP/1.0 knows neither informational responses nor trailers.
_EXTENSIONS: Final[dict[str, Any]] = {
    _CONTEXT: {},
    "http.response.early_hint": {},
    "http.response.pathsend": {},
    "http.response.trailers": {},
    "http.response.zerocopysend": {},
}
_EXTENSIONS_1_0: Final[dict[str, Any]] = {_CONTEXT: {}, "http.response.pathsend": {}, "http.response.zerocopysend": {}}
_NAMED_CHARS = 200
_VERSIONS: Final = {"version": "3.0", "spec_version": SPEC_VERSION}


def http_scope(stream: Stream, head: RequestHead, state: dict[str, Any] | None) -> Scope:
    """The scope of one HTTP request."""
    raw_path, _, query_string = head.target.partition(b"?")
    path = raw_path.decode("ascii")
    scope: Scope = {
        "type": "http",
        "asgi": _VERSIONS.copy(),
        "http_version": head.http_version,
        "method": head.method,
        "scheme": stream.scheme,
        "path": unquote(path) if "%" in path else path,
        "raw_path": raw_path,
        "query_string": query_string,
        "root_path": "",
        "headers": head.headers,
        "client": stream.client,
        "server": stream.server,
        "extensions": (_EXTENSIONS_1_0 if head.http_version == "1.0" else _EXTENSIONS).copy(),
    }
    if stream.tls is not None:
        scope["extensions"]["tls"] = stream.tls
    if state is not None:
        scope["state"] = state.copy()
    return scope


def websocket_scope(stream: Stream, head: RequestHead, state: dict[str, Any] | None, subprotocols: list[str]) -> Scope:
    """The scope of one WebSocket; the prepared-frames extension is added by the session."""
    scope = http_scope(stream, head, state)
    del scope["method"]
    scope["type"] = "websocket"
    scope["scheme"] = "wss" if stream.scheme == "https" else "ws"
    scope["subprotocols"] = subprotocols
    scope["extensions"] = {"websocket.http.response": {}}
    if stream.tls is not None:
        scope["extensions"]["tls"] = stream.tls
    return scope


def task_name(scope: Scope) -> str:
    """What a list of tasks shows: ``GET /path``, or ``WebSocket /path 127.0.0.1:5000``; the start of a long path.

    The application may have begun, and the scope is its own.
    """
    path = escape(str(scope.get("path"))[:_NAMED_CHARS])
    if "method" in scope:
        return f"{scope['method']} {path}"
    return f"WebSocket {path} {address(scope.get('client'))}"


def file_part(message: Event) -> tuple[int, int, int]:
    """Descriptor, offset and count of ``http.response.zerocopysend``: from where the file stands, to its end."""
    file = message["file"]
    fd = file if isinstance(file, int) else int(file.fileno())
    offset = message.get("offset")
    if offset is None:
        offset = os.lseek(fd, 0, os.SEEK_CUR)
    count = message.get("count")
    if count is None:
        count = max(0, os.fstat(fd).st_size - offset)
    return fd, offset, count

"""Access lines: one for each HTTP request, and one for each step of a WebSocket's life."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Protocol

from fullduplex.gateway.request_id import names
from fullduplex.log_lines import address, escape, escape_line

Scope = Mapping[str, Any]

_failures = logging.getLogger("fullduplex.server")

_DJANGOS_HANDLER = "django.core.handlers.asgi"


class AccessLog(Protocol):
    """Where the gateway tells what happened. ``duration_s`` counts from the request's head.

    ``ended_by`` is ``"client"``, ``"server"`` or ``"lost"`` (no closing handshake).

    ``http_refuse`` is for what the server itself answers, in the place of ``http``: broken requests, deadlines, limits.
    Where no head could be read, its scope has nothing but ``client``.
    """

    def http(self, scope: Scope, status: int, body_bytes: int, duration_s: float) -> None: ...

    def http_refuse(self, scope: Scope, status: int, reason: str) -> None: ...

    def websocket_handshake(self, scope: Scope) -> None: ...

    def websocket_accept(self, scope: Scope) -> None: ...

    def websocket_refuse(self, scope: Scope, status: int) -> None: ...

    def websocket_close(self, scope: Scope, code: int, reason: str, ended_by: str, duration_s: float) -> None: ...


class LoggerAccessLog:
    """Writes lines to the logger ``fullduplex.access``. What clients sent is escaped.

    Where requests have names, they stand at the end.
    """

    def __init__(self) -> None:
        self._log = logging.getLogger("fullduplex.access").info

    def http(self, scope: Scope, status: int, body_bytes: int, duration_s: float) -> None:
        self._log(
            '%s "%s %s HTTP/%s" %d %d %.1fms%s',
            client(scope),
            scope["method"],
            target(scope),
            scope["http_version"],
            status,
            body_bytes,
            duration_s * 1000,
            names_at_end(scope),
        )

    def http_refuse(self, scope: Scope, status: int, reason: str) -> None:
        line, end = request_line(scope), names_at_end(scope)
        self._log('%s "%s" %d refused: %s%s', client(scope), line, status, escape_line(reason), end)

    def websocket_handshake(self, scope: Scope) -> None:
        pass  # the accept or the refusal says it all

    def websocket_accept(self, scope: Scope) -> None:
        self._log('%s "WebSocket %s" accepted%s', client(scope), target(scope), names_at_end(scope))

    def websocket_refuse(self, scope: Scope, status: int) -> None:
        self._log('%s "WebSocket %s" refused %d%s', client(scope), target(scope), status, names_at_end(scope))

    def websocket_close(self, scope: Scope, code: int, reason: str, ended_by: str, duration_s: float) -> None:
        self._log(
            '%s "WebSocket %s" closed %d%s by %s after %.1fs%s',
            client(scope),
            target(scope),
            code,
            f' "{escape(reason)}"' if reason else "",
            ended_by,
            duration_s,
            names_at_end(scope),
        )


class StructuredAccessLog:
    """The same as fields, for :class:`~fullduplex.server.logs.JSONFormatter`: ``record.fields`` is a dict."""

    def __init__(self) -> None:
        self._logger = logging.getLogger("fullduplex.access")

    def http(self, scope: Scope, status: int, body_bytes: int, duration_s: float) -> None:
        self._log("http", scope, status=status, body_bytes=body_bytes, duration_s=round(duration_s, 6))

    def http_refuse(self, scope: Scope, status: int, reason: str) -> None:
        self._log("http.refuse", scope, status=status, reason=reason)

    def websocket_handshake(self, scope: Scope) -> None:
        pass

    def websocket_accept(self, scope: Scope) -> None:
        self._log("websocket.accept", scope)

    def websocket_refuse(self, scope: Scope, status: int) -> None:
        self._log("websocket.refuse", scope, status=status)

    def websocket_close(self, scope: Scope, code: int, reason: str, ended_by: str, duration_s: float) -> None:
        self._log(
            "websocket.close", scope, code=code, reason=reason, ended_by=ended_by, duration_s=round(duration_s, 6)
        )

    def _log(self, event: str, scope: Scope, **more: Any) -> None:
        fields = {"client": client(scope)}
        if "path" in scope:
            fields["target"] = target(scope)
        if "method" in scope:
            fields |= {"method": scope["method"], "http_version": scope["http_version"]}
        self._logger.info(event, extra={"fields": fields | more | named_fields(scope)})


def names_at_end(scope: Scope) -> str:
    """`` id=... trace_id=...``, where a request has such names."""
    return "".join([f" {name}={value}" for name, value in names(scope).items()])


def named_fields(scope: Scope) -> dict[str, str]:
    """``request_id`` and ``trace_id``, where a request has such names."""
    return {"request_id" if name == "id" else name: value for name, value in names(scope).items()}


def log_failure(text: str, scope: Scope, error: BaseException | None = None) -> None:
    """Tell the log of the server what an application did wrong in one request or socket."""
    what = f"{scope['method']} {target(scope)}" if "method" in scope else f"WebSocket {target(scope)}"
    fields = {"fields": named_fields(scope)}
    if isinstance(error, ValueError) and scope.get("type") == "websocket" and _raised_in(error) == _DJANGOS_HANDLER:
        error.add_note(
            "Django's own handler refuses WebSockets: write `from fullduplex import get_asgi_application` in asgi.py."
        )
    _failures.error("%s: %s%s", text, what, names_at_end(scope), exc_info=error, extra=fields)


def _raised_in(error: BaseException) -> str:
    """The name of the module that raised ``error``."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return "" if traceback is None else str(traceback.tb_frame.f_globals.get("__name__"))


def log_refusal(scope: Scope, status: int, reason: str) -> None:
    """Tell the log of the server what it has answered itself, where there is no access log."""
    _failures.info("Refused a request from %s: %d %s", client(scope), status, escape_line(reason))


def client(scope: Scope) -> str:
    """The peer: ``host:port``, or ``-``."""
    return address(scope.get("client"))


def request_line(scope: Scope) -> str:
    """``GET /path HTTP/1.1``, escaped for a log line; ``-`` where no head could be read."""
    return f"{scope['method']} {target(scope)} HTTP/{scope['http_version']}" if "method" in scope else "-"


def target(scope: Scope) -> str:
    """Path and query as the client sent them, escaped for a log line."""
    raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    text = raw_path.decode("latin-1")
    if query:
        text += "?" + query.decode("latin-1")
    return escape(text)

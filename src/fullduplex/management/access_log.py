"""The lines that runserver prints: Django's for requests, and as much for WebSockets."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from fullduplex.gateway.access_log import Scope, client, request_line, target
from fullduplex.log_lines import escape_line
from fullduplex.wire.http1_head import TLS_RECEIVED

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class DjangoServerAccessLog:
    """Writes to the logger ``django.server``, with the record attributes that its formatter knows.

    ``server_time`` is the time as web servers write it, ``status_code`` decides the colour. A request's
    line has the same three string arguments as under Django's own server, since filters look at them.
    """

    def __init__(self) -> None:
        self._logger = logging.getLogger("django.server")

    def http(self, scope: Scope, status: int, body_bytes: int, duration_s: float) -> None:
        self._log(status, '"%s" %s %s', request_line(scope), str(status), str(body_bytes))

    def http_refuse(self, scope: Scope, status: int, reason: str) -> None:
        if reason == TLS_RECEIVED:  # level and colour are Django's, too
            self._log(500, "You're accessing the development server over HTTPS, but it only supports HTTP.")
        else:
            self._log(status, '"%s" %s %s', request_line(scope), str(status), escape_line(reason))

    def websocket_handshake(self, scope: Scope) -> None:
        self._log(None, "WebSocket HANDSHAKING %s [%s]", target(scope), client(scope))

    def websocket_accept(self, scope: Scope) -> None:
        self._log(101, "WebSocket CONNECT %s [%s]", target(scope), client(scope))

    def websocket_refuse(self, scope: Scope, status: int) -> None:
        self._log(status, "WebSocket REJECT %s %s [%s]", target(scope), str(status), client(scope))

    def websocket_close(self, scope: Scope, code: int, reason: str, ended_by: str, duration_s: float) -> None:
        ending = "connection lost" if ended_by == "lost" else f"by {ended_by}"
        self._log(
            None,
            "WebSocket DISCONNECT %s %d %s after %.1fs [%s]",
            target(scope),
            code,
            f"{ending} {reason!a}" if reason else ending,
            duration_s,
            client(scope),
        )

    def _log(self, status: int | None, text: str, *args: object) -> None:
        extra: dict[str, Any] = {"server_time": server_time(datetime.now())}
        if status is not None:
            extra["status_code"] = status
        self._logger.log(_level(status), text, *args, extra=extra)


def server_time(now: datetime) -> str:
    """``21/Nov/2026 12:00:00``, in English whatever the locale."""
    return f"{now.day:02d}/{_MONTHS[now.month - 1]}/{now:%Y %H:%M:%S}"


def _level(status: int | None) -> int:
    if status is None or status < 400:
        return logging.INFO
    return logging.WARNING if status < 500 else logging.ERROR

"""Who may open a socket: by the Origin header of the handshake."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import ParseResult, urlparse

from django.conf import settings
from django.utils.http import is_same_domain

from fullduplex.asgi import Application, Receive, Scope, Send
from fullduplex.sockets.consumers import AsyncWebsocketConsumer

_DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}


class OriginValidator:
    """Refuses sockets from pages of other sites.

    Args:
        allowed_origins: ``example.com``; ``.example.com`` with its subdomains; either with a scheme, and then
            with its default port or the one given; or ``*``.
    """

    def __init__(self, application: Application, allowed_origins: Sequence[str]) -> None:
        self.application = application
        self.allowed_origins = allowed_origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        if scope["type"] != "websocket":
            raise ValueError("You cannot use OriginValidator on a non-WebSocket connection")
        allowed = self.valid_origin(self._origin(scope))
        return await (self.application if allowed else WebsocketDenier.as_asgi())(scope, receive, send)

    def valid_origin(self, parsed_origin: ParseResult | None) -> bool:
        """Whether a handshake with this Origin, or with none, may go on."""
        if parsed_origin is None and "*" not in self.allowed_origins:
            return False
        return self.validate_origin(parsed_origin)

    def validate_origin(self, parsed_origin: ParseResult | None) -> bool:
        return any(
            pattern == "*" or self.match_allowed_origin(parsed_origin, pattern) for pattern in self.allowed_origins
        )

    def match_allowed_origin(self, parsed_origin: ParseResult | None, pattern: str) -> bool:
        """Whether an Origin is what ``pattern`` says, or a subdomain where that allows it."""
        if parsed_origin is None or parsed_origin.hostname is None:
            return False
        parsed_pattern = urlparse(pattern.lower())
        if not parsed_pattern.scheme:
            return is_same_domain(parsed_origin.hostname, urlparse("//" + pattern).hostname or pattern)
        return (
            parsed_pattern.scheme == parsed_origin.scheme
            and self.get_origin_port(parsed_origin) == self.get_origin_port(parsed_pattern)
            and is_same_domain(parsed_origin.hostname, parsed_pattern.hostname or "")
        )

    def get_origin_port(self, origin: ParseResult) -> int | None:
        """Return the port of an origin, or its scheme's."""
        return origin.port if origin.port is not None else _DEFAULT_PORTS.get(origin.scheme)

    def _origin(self, scope: Scope) -> ParseResult | None:
        """Return the Origin header; one that is no URL is none that could match."""
        for name, value in scope.get("headers", ()):
            if name == b"origin":
                try:
                    origin: ParseResult = urlparse(value.decode("latin-1"))
                    _ = origin.port, origin.hostname
                except ValueError:
                    return urlparse("")
                return origin
        return None


def AllowedHostsOriginValidator(application: Application) -> OriginValidator:
    """Return an OriginValidator for ALLOWED_HOSTS; for this machine in DEBUG, when that is empty."""
    allowed_hosts = settings.ALLOWED_HOSTS
    if settings.DEBUG and not allowed_hosts:
        allowed_hosts = ["localhost", "127.0.0.1", "[::1]"]
    return OriginValidator(application, allowed_hosts)


class WebsocketDenier(AsyncWebsocketConsumer):
    """Refuses every socket."""

    async def connect(self) -> None:
        await self.close()

"""A name for each request, the same in the proxy's log, in ours and in the application's."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Any

from fullduplex.gateway.asgi import Scope
from fullduplex.gateway.forwarded import TrustedPeers

EXTENSION = "fullduplex.request_id"
HEADER = b"x-request-id"

_is_valid = re.compile(rb"[A-Za-z0-9._~+/=:@-]{1,128}").fullmatch


class RequestIds:
    """Gives each request an id: that of a trusted proxy, else a new one.

    The application finds it in ``scope["extensions"]["fullduplex.request_id"]["id"]``, and in the header
    X-Request-ID, which replaces whatever a client sent.

    Args:
        peers: those whose header counts.
    """

    def __init__(self, peers: TrustedPeers) -> None:
        self._peers = peers

    def apply(self, scope: Scope) -> None:
        given = [value for name, value in scope["headers"] if name == HEADER]
        trusted = given and self._peers.trusts(scope["client"], scope["server"])
        value = given[0] if trusted and _is_valid(given[0]) else secrets.token_hex(16).encode()
        headers = [field for field in scope["headers"] if field[0] != HEADER] if given else [*scope["headers"]]
        scope["headers"] = [*headers, (HEADER, value)]
        scope["extensions"][EXTENSION] = {"id": value.decode("ascii")}


def request_id(scope: Mapping[str, Any]) -> str | None:
    """The id of a scope, where ids are given."""
    extension = (scope.get("extensions") or {}).get(EXTENSION)
    return None if extension is None else str(extension["id"])

"""Names for each request, the same in every log: its own id, and that of its trace."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fullduplex.gateway.forwarded import TrustedPeers

if TYPE_CHECKING:  # logs of a supervisor, which has no event loop, come from here, too
    from fullduplex.asgi import Scope

EXTENSION = "fullduplex.request_id"
HEADER = b"x-request-id"
TRACE_HEADER = b"traceparent"

_is_valid = re.compile(rb"[A-Za-z0-9._~+/=:@-]{1,128}").fullmatch
# Version, trace-id, parent-id, flags; later versions may add more. https://www.w3.org/TR/trace-context/#traceparent-header
_read_traceparent = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?"
).fullmatch


class RequestIds:
    """Gives each request an id: that of a trusted proxy, else a new one.

    The application finds it in ``scope["extensions"]["fullduplex.request_id"]["id"]``, and in the header
    X-Request-ID, which replaces whatever a client sent. Where the request belongs to a trace (the header
    ``traceparent`` of whoever began it), the id of the trace stands beside it, as ``trace_id``.

    Args:
        peers: those whose header counts.
    """

    def __init__(self, peers: TrustedPeers) -> None:
        self._peers = peers

    def apply(self, scope: Scope) -> None:
        given = [value for name, value in scope["headers"] if name == HEADER]
        trusted = given and self._peers.trusts(scope["client"], scope["server"])
        value = given[0] if trusted and _is_valid(given[0]) else os.urandom(16).hex().encode()
        headers = [field for field in scope["headers"] if field[0] != HEADER] if given else [*scope["headers"]]
        scope["headers"] = [*headers, (HEADER, value)]
        names = scope["extensions"][EXTENSION] = {"id": value.decode("ascii")}
        for name, value in headers:
            if name == TRACE_HEADER and (match := _read_traceparent(value)) is not None:
                names["trace_id"] = match[1].decode("ascii")


def names(scope: Mapping[str, Any]) -> Mapping[str, str]:
    """``id`` and ``trace_id`` of a scope, where they are given."""
    return (scope.get("extensions") or {}).get(EXTENSION) or {}

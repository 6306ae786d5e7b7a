"""Requests to an HTTP consumer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote, urlparse

from fullduplex.channels.testing.application import ApplicationCommunicator


class HttpCommunicator(ApplicationCommunicator):
    """Makes one request.

    Args:
        application: the ASGI application.
        method, path, body: the request; the path may have a query.
        headers: pairs of bytes, names in lower case.
    """

    def __init__(
        self,
        application: Any,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Iterable[tuple[bytes, bytes]] | None = None,
    ) -> None:
        if not isinstance(body, bytes):
            raise AssertionError("The body must be bytes")
        parsed = urlparse(path)
        self.body = body
        self.sent_request = False
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method.upper(),
            "path": unquote(parsed.path),
            "query_string": parsed.query.encode(),
            "headers": list(headers or ()),
        }
        super().__init__(application, scope)

    async def get_response(self, timeout: float = 1) -> dict[str, Any]:
        """Return the response: a dict of ``status``, ``headers`` and ``body``."""
        if not self.sent_request:
            self.sent_request = True
            await self.send_input({"type": "http.request", "body": self.body})
        response: dict[str, Any] = dict(await self.receive_output(timeout))
        _require_type(response, "http.response.start")
        body, more = b"", True
        while more:
            part = await self.receive_output(timeout)
            _require_type(part, "http.response.body")
            body += part.get("body", b"")
            more = part.get("more_body", False)
        del response["type"]
        return {"headers": [], **response, "body": body}


def _require_type(event: dict[str, Any], kind: str) -> None:
    if event["type"] != kind:
        raise AssertionError(f"Expected type {kind!r}, but was {event['type']!r}")

"""The client's end of a socket."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote, urlparse

from fullduplex.channels.testing.application import ApplicationCommunicator


class WebsocketCommunicator(ApplicationCommunicator):
    """One socket.

    Args:
        application: the ASGI application.
        path: with a query, or a whole URL.
        headers: of the handshake; pairs of bytes, names in lower case.
        subprotocols: what the client offers.
        spec_version: put into the scope.

    Attributes:
        response_headers: those of the accept.
    """

    def __init__(
        self,
        application: Any,
        path: str,
        headers: Iterable[tuple[bytes, bytes]] | None = None,
        subprotocols: Iterable[str] | None = None,
        spec_version: str | None = None,
    ) -> None:
        if not isinstance(path, str):
            raise TypeError(f"Expected str, got {type(path)}")
        parsed = urlparse(path)
        scope: dict[str, Any] = {
            "type": "websocket",
            "path": unquote(parsed.path),
            "query_string": parsed.query.encode(),
            "headers": list(headers or ()),
            "subprotocols": list(subprotocols or ()),
        }
        if spec_version:
            scope["spec_version"] = spec_version
        self.response_headers: list[tuple[bytes, bytes]] | None = None
        super().__init__(application, scope)

    async def connect(self, timeout: float = 1) -> tuple[bool, Any]:
        """Shake hands.

        Returns:
            True and the chosen subprotocol; or False and the close code, or the status of a refusal.
        """
        await self.send_input({"type": "websocket.connect"})
        response = await self.receive_output(timeout)
        kind = response["type"]
        if kind == "websocket.close":
            return False, response.get("code", 1000)
        if kind == "websocket.http.response.start":
            return False, response["status"]
        if kind != "websocket.accept":
            raise AssertionError(f"Expected an answer to the handshake, but was {kind!r}")
        self.response_headers = response.get("headers", [])
        return True, response.get("subprotocol")

    async def send_to(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Send a message, text or binary, empty ones too."""
        if (text_data is None) == (bytes_data is None):
            raise AssertionError("You must supply exactly one of text_data or bytes_data")
        if text_data is not None:
            if not isinstance(text_data, str):
                raise AssertionError("The text_data argument must be a str")
            await self.send_input({"type": "websocket.receive", "text": text_data})
        else:
            if not isinstance(bytes_data, bytes):
                raise AssertionError("The bytes_data argument must be bytes")
            await self.send_input({"type": "websocket.receive", "bytes": bytes_data})

    async def send_json_to(self, data: Any) -> None:
        await self.send_to(text_data=json.dumps(data))

    async def receive_from(self, timeout: float = 1) -> str | bytes:
        """Return the next message; fail when the application closes instead."""
        event = await self.receive_output(timeout)
        if event["type"] != "websocket.send":
            raise AssertionError(f"Expected type 'websocket.send', but was '{event['type']}'")
        text, data = event.get("text"), event.get("bytes")
        if (text is None) == (data is None):
            raise AssertionError("The response needs exactly one of 'text' or 'bytes'")
        if text is not None:
            if not isinstance(text, str):
                raise AssertionError(f"Text frame payload is not str, it is {type(text)}")
            return text
        if not isinstance(data, bytes):
            raise AssertionError(f"Binary frame payload is not bytes, it is {type(data)}")
        return data

    async def receive_json_from(self, timeout: float = 1) -> Any:
        """Return the next message, which must be text, read as JSON."""
        message = await self.receive_from(timeout)
        if not isinstance(message, str):
            raise AssertionError(f"JSON data is not a text frame, it is {type(message)}")
        return json.loads(message)

    async def disconnect(self, code: int = 1000, timeout: float = 1, reason: str | None = None) -> None:
        """Leave, and wait for the application's end."""
        event: dict[str, Any] = {"type": "websocket.disconnect", "code": code}
        if reason is not None:
            event["reason"] = reason
        await self.send_input(event)
        await self.wait(timeout)

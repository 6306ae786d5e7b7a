"""One group has sockets and consumers as members: what is sent to one kind, as the other gets it.

``Group.send(payload)`` reaches consumers as ``{"type": "websocket.send", "text": ...}``, or ``"bytes"``;
``group_send(name, event)`` reaches sockets as the JSON text of the event, and an event of that type as its text or
bytes alone.
"""

from __future__ import annotations

from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

from fullduplex.layers.base import Message

SEND = "websocket.send"

encode_json = DjangoJSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def as_event(message: Message) -> dict[str, Any]:
    """Return what a consumer gets of a message to its group."""
    return {"type": SEND, "text" if isinstance(message, str) else "bytes": message}


def as_message(event: Any) -> Message:
    """Return what a socket gets of an event to its group.

    Raises:
        TypeError, ValueError: it holds what JSON cannot say.
    """
    if isinstance(event, dict) and event.get("type") == SEND:
        text = event.get("text")
        if isinstance(text, str):
            return text
        if isinstance(event.get("bytes"), (bytes, bytearray, memoryview)):
            return bytes(event["bytes"])
    return encode_json(event)

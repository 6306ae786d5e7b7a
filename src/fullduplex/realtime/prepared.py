"""A message that goes to many sockets: validated and serialised once, framed once."""

from __future__ import annotations

from typing import Any

from fullduplex.layers.events import encode_json
from fullduplex.layers.history import Position

#: What groups and sockets send: dict and list become JSON text, str is text, bytes is binary.
Payload = dict[str, Any] | list[Any] | str | bytes


class Prepared:
    """One message on its way to any number of sockets.

    Attributes:
        data: the message: str for text, bytes for binary.
        frames: filled by the server (ASGI extension ``fullduplex.prepared``): the encoded frame for each way
            of encoding it.
        group: the name of the group that it was sent to, empty for none.
        enveloped: the same as clients of an endpoint get it; None until the first of them does.
        position: its place in the history of the group; None: it is not kept.
        size_bytes: of ``data``, text in UTF-8.
    """

    __slots__ = ("data", "enveloped", "frames", "group", "position", "size_bytes")

    def __init__(self, data: str | bytes, group: str = "", position: Position | None = None) -> None:
        self.data = data
        self.frames: dict[Any, bytes] = {}
        self.enveloped: Prepared | None = None
        self.group = group
        self.position = position
        self.size_bytes = len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())


def prepare(payload: Payload) -> Prepared:
    """Validate and serialise a payload.

    Args:
        payload: dict or list: compact JSON in a text message, with Django's encoder (dates, Decimal, UUID);
            str: a text message; bytes: a binary one.

    Raises:
        TypeError: ``payload`` is something else, or holds what JSON cannot say.
        ValueError: it holds NaN or infinity, which JSON has no word for, refers to itself, or has a lone
            surrogate, which UTF-8 cannot say.
    """
    if isinstance(payload, str):
        return Prepared(str.__str__(payload))  # a plain str, also of a SafeString
    if isinstance(payload, bytes):
        return Prepared(bytes(payload))
    if isinstance(payload, (dict, list)):
        return Prepared(encode_json(payload))
    raise TypeError(f"a payload is a dict, list, str or bytes, not {type(payload).__name__}")

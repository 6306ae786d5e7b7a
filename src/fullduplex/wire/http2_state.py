"""One request of an HTTP/2 connection and its response, as the codec counts them.

::

    READY ──ResponseHead──> BODY ──the end──> HELD ──the request's end, or enough of it──> DONE
                                       └──────── the request is complete already ───────────┘
"""

from __future__ import annotations

import enum

from fullduplex.wire.events import Fields


class Response(enum.Enum):
    """How far a response has come."""

    READY = enum.auto()
    BODY = enum.auto()
    HELD = enum.auto()  # all but its end is queued: the client is still sending
    DONE = enum.auto()


class Stream:
    """One request and its response, as the codec counts them."""

    __slots__ = (
        "content_left_bytes",
        "discarded_bytes",
        "held_byte",
        "held_since_s",
        "is_accepted",
        "is_complete",
        "is_head_request",
        "is_refusal",
        "is_tunnel",
        "response",
        "response_left_bytes",
        "trailers",
        "without_content",
    )

    def __init__(self, content_left_bytes: int, is_complete: bool, is_head_request: bool, is_tunnel: bool) -> None:
        self.content_left_bytes = content_left_bytes  # -1: unknown
        self.is_complete = is_complete
        self.is_head_request = is_head_request
        self.is_tunnel = is_tunnel  # or asks to be one
        self.is_accepted = False  # as a tunnel
        self.response = Response.READY
        self.response_left_bytes = -1
        self.without_content = False
        self.discarded_bytes = 0
        self.held_byte = b""  # the last one of the content, while the request goes on
        self.is_refusal = False
        self.held_since_s: float | None = None
        self.trailers: Fields | None = None

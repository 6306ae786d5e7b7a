"""What an HTTP/2 connection of ours begins with: SETTINGS, and the window of all its streams together."""

from __future__ import annotations

from collections.abc import Sequence

from fullduplex.limits import HTTP2Limits

MAX_CONCURRENT_STREAMS = 0x3


def settings_of(limits: HTTP2Limits) -> Sequence[tuple[int, int]]:
    """The first SETTINGS (RFC 9113 section 6.5.2, RFC 8441 section 3, RFC 9218 section 2.1)."""
    return (
        (MAX_CONCURRENT_STREAMS, limits.max_streams_count),
        (0x4, limits.window_bytes),
        (0x6, limits.max_head_bytes),
        (0x8, 1),  # ENABLE_CONNECT_PROTOCOL
        (0x9, 1),  # NO_RFC7540_PRIORITIES
    )


def setting(name: int, value: int) -> bytes:
    """One setting of a frame."""
    return name.to_bytes(2, "big") + value.to_bytes(4, "big")


def connection_window_bytes(limits: HTTP2Limits) -> int:
    """What all streams together may send: so much that slow ones never block another.

    Credit goes back in halves of it, so it is twice what all streams can hold.
    """
    return min(2**31 - 1, 2 * limits.max_streams_count * limits.window_bytes)

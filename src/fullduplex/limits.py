"""Limits and deadlines of the server tower: every number with its unit, default and source.

Command line flags, environment variables and the reference page are generated from this metadata.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any


def opt(default: Any, help: str, **metadata: Any) -> Any:
    """Declare a documented field of a configuration dataclass.

    Args:
        default: the value without configuration.
        help: what it means, what happens above it, and where the number comes from.
        metadata: more for the generators, e.g. ``flags=("--host", "-b")``.
    """
    return dataclasses.field(default=default, metadata={"help": help, **metadata})


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTP1Limits:
    """Limits of one HTTP/1.1 connection."""

    max_head_bytes: int = opt(65_536, "Request line and fields; above it: 431. RFC 6585 section 5.")
    max_target_bytes: int = opt(16_384, "Request target; above it: 414. RFC 9112 section 3 asks for 8000 at least.")
    max_fields_count: int = opt(100, "Fields of a head or of trailers; above it: 431. Apache httpd: 100.")
    keepalive_timeout_s: float = opt(
        5.0, "Idle time between requests. Uvicorn and Hypercorn: 5.", flags=("--timeout-keep-alive",)
    )
    head_timeout_s: float = opt(15.0, "From the first byte of a head to its end; then 408. nginx: 60, Go docs: 5-10.")
    first_byte_timeout_s: float = opt(
        15.0, "From connecting to the first byte of a request; then the connection closes."
    )
    max_drain_bytes: int = opt(
        65_536, "Content discarded after an early response; with more to come the connection closes. Go: 256K."
    )
    max_chunk_line_bytes: int = opt(256, "Size line of one chunk, extensions included; above it: 400. Go: 4096.")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSocketLimits:
    """Limits of one WebSocket connection."""

    max_message_bytes: int = opt(
        16_777_216, "One message, after inflating; above it: close 1009. Uvicorn: 16 MiB.", flags=("--ws-max-size",)
    )
    ping_interval_s: float = opt(
        20.0, "Idle time before a ping is sent; 0 sends none. Uvicorn: 20.", flags=("--ws-ping-interval",)
    )
    ping_timeout_s: float = opt(
        20.0, "Wait for a pong (or any frame); then close 1011. Uvicorn: 20.", flags=("--ws-ping-timeout",)
    )
    handshake_timeout_s: float = opt(
        30.0, "The application must accept or refuse within this; then 504. Django's side has its own, shorter one."
    )
    close_timeout_s: float = opt(5.0, "Wait for the peer's half of the closing handshake, then drop the connection.")
    deflate: bool = opt(True, "Accept permessage-deflate when offered. RFC 7692.", flags=("--ws-per-message-deflate",))
    deflate_takeover: bool = opt(
        False, "Keep deflate contexts between messages: smaller messages, about 96 KiB more for each socket."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """Byte bounds and deadlines of one connection, whatever it speaks."""

    read_buffer_bytes: int = opt(65_536, "Received and not yet taken by the application; above it reading pauses.")
    write_buffer_bytes: int = opt(
        65_536, "Written and not yet taken by the client; above it `send` waits. asyncio: 64K."
    )
    stalled_write_timeout_s: float = opt(30.0, "The client reads nothing at all for so long: dropped. nginx: 60.")
    half_close_grace_s: float = opt(1.0, "After the client closed its half: time to answer, then it counts as gone.")
    linger_timeout_s: float = opt(2.0, "Input discarded after an early response, so that it arrives. nginx: 5.")
    close_timeout_s: float = opt(5.0, "From closing to the last byte taken by the client; then dropped.")
    max_body_bytes: int = opt(
        0,
        "Content of one request; above it: 413. 0 leaves it to the application: content is never held in memory "
        "beyond read_buffer_bytes.",
        flags=("--limit-request-body",),
    )
    body_rate_bytes_per_s: int = opt(
        500,
        "Content must arrive this fast, on average and after body_grace_s; else 408. A rate and no total, so that "
        "long uploads that flow are fine. 0 never ends one. Apache httpd mod_reqtimeout: 500.",
    )
    body_grace_s: float = opt(20.0, "Waiting for content that body_rate_bytes_per_s forgives. mod_reqtimeout: 20.")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadLimits:
    """What one worker takes on at the same time."""

    max_connections_count: int = opt(
        65_536,
        "Open connections; above it a new one gets 503 and is closed. About 1 GiB of idle WebSockets. 0: no limit.",
        flags=("--limit-connections",),
    )
    max_requests_count: int = opt(
        10_000,
        "HTTP requests in progress; above it 503 with Retry-After. WebSockets do not count. 0: no limit.",
        flags=("--limit-concurrency",),
    )
    retry_after_s: int = opt(2, "What Retry-After of those 503 says.")

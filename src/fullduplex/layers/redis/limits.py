"""Bounds and deadlines of the Redis layer; each is a key of ``CONFIG``."""

from __future__ import annotations

from dataclasses import dataclass

from fullduplex.limits import opt


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisLimits:
    """What a process grants its broker."""

    connect_timeout_s: float = opt(2.0, "Opening one connection, TLS and AUTH included.")
    publish_timeout_s: float = opt(5.0, "From `publish` to the server's answer; then LayerUnavailable.")
    subscribe_timeout_s: float = opt(5.0, "From `subscribe` to the server's confirmation; then LayerUnavailable.")
    max_pending_bytes: int = opt(
        16_777_216,
        "Published on one loop and not yet written to one server; above it publishers wait, then ChannelFull.",
    )
    max_connections_count: int = opt(16, "Connections of threads that publish, to each server; above it they wait.")
    max_reads_count: int = opt(
        16,
        "Reads of histories under way from one loop; others wait. A server has each answer, of up to a MiB, in memory.",
    )
    ping_interval_s: float = opt(5.0, "A subscription that is silent for so long is probed with PING.")
    ping_timeout_s: float = opt(3.0, "A probe that is not answered for so long ends the connection.")
    reconnect_min_s: float = opt(0.05, "Back-off before the second attempt to connect; it doubles, with jitter.")
    reconnect_max_s: float = opt(1.0, "Back-off at most: a server that returns is found within this time.")
    slice_s: float = opt(0.005, "A subscription hands out messages for so long, then the loop's other work has a turn.")

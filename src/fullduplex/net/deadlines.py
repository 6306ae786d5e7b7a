"""Deadlines that are no single moment: how fast a request's content must arrive.

The others are moments, and stand where they belong: first byte, head and idle time in :mod:`fullduplex.wire.http1`;
ping, pong and unfinished messages in :mod:`fullduplex.wire.websocket`; stalled writes in :mod:`fullduplex.net.flow`;
lingering and half-closed connections in :mod:`fullduplex.net.connection`; TLS handshakes and PROXY headers in
:mod:`fullduplex.net.acceptor`; handshakes that wait for the application in :mod:`fullduplex.gateway.session`.
"""

from __future__ import annotations

from fullduplex.limits import ConnectionLimits


class BodyRate:
    """Whether the content of one request arrives fast enough.

    Only the time that we wait for the client counts: a slow application, behind which reading is paused, does not.
    """

    __slots__ = ("_limits", "_received_bytes", "_ticked_s", "_waited_s")

    def __init__(self, limits: ConnectionLimits, now_s: float) -> None:
        self._limits = limits
        self._received_bytes = 0
        self._waited_s = 0.0
        self._ticked_s = now_s

    def received(self, size_bytes: int) -> int:
        """Take note of content; return how much there was so far."""
        self._received_bytes += size_bytes
        return self._received_bytes

    def too_slow(self, now_s: float, waiting: bool) -> bool:
        """Let time pass.

        Args:
            now_s: the time.
            waiting: whether we have been waiting for the client since the last call.
        """
        elapsed_s, self._ticked_s = now_s - self._ticked_s, now_s
        if waiting:
            self._waited_s += elapsed_s
        rate = self._limits.body_rate_bytes_per_s
        return bool(rate) and self._waited_s > self._limits.body_grace_s + self._received_bytes / rate

"""The answers of the port for health checks and metrics, as an ASGI application."""

from __future__ import annotations

import time
from collections.abc import Callable

from fullduplex.asgi import Receive, Scope, Send
from fullduplex.server.overview import Overview

PLAIN = "text/plain; charset=utf-8"
KEPT_S = 0.25  # a text serves all that ask for so long: no number of clients makes more work than one

MISSING = "/metrics needs prometheus_client: pip install 'fullduplex[metrics]'"

Answer = tuple[int, str, bytes]


class Health:
    """Answers ``/healthz``, ``/readyz`` and ``/metrics``.

    Args:
        look: returns the state of the service, at once.
        most_silent_s: how long the loop of whoever answers may not run before the service counts as dead; 0: for ever.
    """

    def __init__(self, look: Callable[[], Overview], most_silent_s: float) -> None:
        self._look = look
        self._most_silent_s = most_silent_s
        self._answers = {"/healthz": self.alive, "/readyz": self.ready, "/metrics": self.metrics}
        self._text = b""
        self._made_s = -KEPT_S

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        answer = self._answers.get(scope["path"])
        if answer is None:
            status, kind, body = _plain(404, f"There are {', '.join(self._answers)}")
        elif scope["method"] not in ("GET", "HEAD"):
            status, kind, body = _plain(405, "GET or HEAD")
        else:
            status, kind, body = answer(time.monotonic())
        headers = [
            (b"content-type", kind.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            (b"connection", b"close"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def alive(self, now_s: float) -> Answer:
        """Whether the process is worth keeping: also while it starts or stops."""
        silent_s = now_s - self._look().alive_s
        if silent_s > self._most_silent_s > 0:
            return _plain(503, f"The event loop has been blocked for {silent_s:.1f} s")
        return _plain(200, "alive")

    def ready(self, now_s: float) -> Answer:
        """Whether requests should come."""
        overview = self._look()
        count = overview.ready_count(now_s)
        if overview.is_stopping:
            return _plain(503, "The service is stopping")
        return _plain(200 if count else 503, f"{count} of {len(overview.workers)} workers are ready")

    def metrics(self, now_s: float) -> Answer:
        try:
            from fullduplex.server.exposition import CONTENT_TYPE, expose
        except ImportError:
            return _plain(501, MISSING)
        if now_s - self._made_s >= KEPT_S:
            self._text, self._made_s = expose(self._look(), now_s), now_s
        return 200, CONTENT_TYPE, self._text


def _plain(status: int, text: str) -> Answer:
    return status, PLAIN, f"{text}\n".encode()

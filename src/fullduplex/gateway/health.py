"""Health checks that the server answers by itself, on the port of the site: those of proxies."""

from __future__ import annotations

from collections.abc import Sequence

from fullduplex.exceptions import ConfigurationError
from fullduplex.gateway.gateway import Gateway
from fullduplex.net.stream import Stream
from fullduplex.wire.events import RequestHead

_METHODS = ("GET", "HEAD", "OPTIONS")


class CheckedGateway(Gateway):
    """A gateway that answers for itself at some paths: without the application, its hosts, and an access line.

    Of ``/`` it answers OPTIONS alone, the check that HAProxy sends unless told otherwise: the rest is the site's. So is
    OPTIONS with an Origin, a browser's question before a request to another site (Fetch standard, CORS preflight).
    """

    def open(self, stream: Stream, head: RequestHead) -> None:
        if head.target.partition(b"?")[0] in self.checked_paths and _is_check(head):
            status, text = (503, "stopping") if self.is_leaving else (200, "alive")
            stream.send(*self.own_response(status, text, headers=[(b"cache-control", b"no-store")]))
            stream.finish()
        else:
            super().open(stream, head)


def checked_paths(paths: Sequence[str]) -> frozenset[bytes]:
    """Paths as they stand in requests.

    Raises:
        ConfigurationError: one of them is none.
    """
    for path in paths:
        if not (path.startswith("/") and path.isascii() and path.isprintable()) or set(path) & set(" ?#"):
            raise ConfigurationError(f"--health-path {path}: a path begins with a slash, and is ASCII.")
    return frozenset(path.encode() for path in paths)


def _is_check(head: RequestHead) -> bool:
    if head.method not in _METHODS or head.upgrade is not None:
        return False
    if head.method == "OPTIONS":
        return all(name != b"origin" for name, _ in head.headers)
    return head.target.partition(b"?")[0] != b"/"

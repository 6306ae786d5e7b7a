"""Full-duplex Django: HTTP/1.1, HTTP/2 and WebSocket through one URLconf.

The public names are handed out lazily (PEP 562), so that ``import fullduplex.server`` does not
import Django and ``import fullduplex.handler`` does not import the server.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fullduplex._version import __version__

if TYPE_CHECKING:
    from fullduplex.chain.hooks import non_blocking
    from fullduplex.endpoint.base import Endpoint
    from fullduplex.exceptions import Disconnected, RequestRefused
    from fullduplex.handler.application import get_asgi_application
    from fullduplex.layers.history import Missed, Position
    from fullduplex.mounting import mount
    from fullduplex.realtime.groups import Group
    from fullduplex.sockets.response import WebSocketResponse
    from fullduplex.sockets.views import websocket
    from fullduplex.sockets.websocket import SocketState, WebSocket
    from fullduplex.threads.hop import arelease_thread, release_thread
    from fullduplex.threads.stats import thread_stats

__all__ = [
    "Disconnected",
    "Endpoint",
    "Group",
    "Missed",
    "Position",
    "RequestRefused",
    "SocketState",
    "WebSocket",
    "WebSocketResponse",
    "__version__",
    "arelease_thread",
    "get_asgi_application",
    "mount",
    "non_blocking",
    "release_thread",
    "thread_stats",
    "websocket",
]

_HOMES = {
    "Disconnected": "fullduplex.exceptions",
    "Endpoint": "fullduplex.endpoint.base",
    "Group": "fullduplex.realtime.groups",
    "Missed": "fullduplex.layers.history",
    "Position": "fullduplex.layers.history",
    "RequestRefused": "fullduplex.exceptions",
    "SocketState": "fullduplex.sockets.websocket",
    "WebSocket": "fullduplex.sockets.websocket",
    "WebSocketResponse": "fullduplex.sockets.response",
    "arelease_thread": "fullduplex.threads.hop",
    "get_asgi_application": "fullduplex.handler.application",
    "mount": "fullduplex.mounting",
    "non_blocking": "fullduplex.chain.hooks",
    "release_thread": "fullduplex.threads.hop",
    "thread_stats": "fullduplex.threads.stats",
    "websocket": "fullduplex.sockets.views",
}


def __getattr__(name: str) -> Any:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

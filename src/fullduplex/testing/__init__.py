"""Test tools for projects, and conformance suites for those who write codecs and layers.

- :mod:`fullduplex.testing.client`: Django's test clients, with WebSocket.
- :mod:`fullduplex.testing.layers`: what every layer must do, as tests.
- :mod:`fullduplex.testing.histories`: what layers that keep messages must do beside that.
- :mod:`fullduplex.testing.codecs` and :mod:`~fullduplex.testing.transport`: the network without a network.

The clients come lazily: the tools for codecs work without Django.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fullduplex.testing.client import AsyncClient, Client
    from fullduplex.testing.websocket import AsyncWebSocketSession, HandshakeRefused, WebSocketSession

__all__ = ["AsyncClient", "AsyncWebSocketSession", "Client", "HandshakeRefused", "WebSocketSession"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "client" if name.endswith("Client") else "websocket"
    return getattr(import_module(f"{__name__}.{home}"), name)

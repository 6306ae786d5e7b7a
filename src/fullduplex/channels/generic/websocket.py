"""Consumers for WebSockets."""

from fullduplex.exceptions import AcceptConnection, DenyConnection, InvalidChannelLayerError, StopConsumer
from fullduplex.sockets.consumer import AsyncConsumer, SyncConsumer
from fullduplex.sockets.consumers import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)

__all__ = [
    "AcceptConnection",
    "AsyncConsumer",
    "AsyncJsonWebsocketConsumer",
    "AsyncWebsocketConsumer",
    "DenyConnection",
    "InvalidChannelLayerError",
    "JsonWebsocketConsumer",
    "StopConsumer",
    "SyncConsumer",
    "WebsocketConsumer",
]

"""The base classes of consumers."""

from fullduplex.exceptions import StopConsumer
from fullduplex.sockets.consumer import AsyncConsumer, SyncConsumer, get_handler_name

__all__ = ["AsyncConsumer", "StopConsumer", "SyncConsumer", "get_handler_name"]

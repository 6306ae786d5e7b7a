"""Test tools: a consumer, or a whole application, without a server."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fullduplex.channels.testing.application import ApplicationCommunicator
from fullduplex.channels.testing.http import HttpCommunicator
from fullduplex.channels.testing.websocket import WebsocketCommunicator

if TYPE_CHECKING:
    from fullduplex.channels.testing.live import ChannelsLiveServerTestCase

__all__ = ["ApplicationCommunicator", "ChannelsLiveServerTestCase", "HttpCommunicator", "WebsocketCommunicator"]


def __getattr__(name: str) -> Any:
    if name != "ChannelsLiveServerTestCase":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.live"), name)  # the only one that needs a server

"""What consumers, layers and routers raise."""

from fullduplex.exceptions import (
    AcceptConnection,
    ChannelFull,
    DenyConnection,
    InvalidChannelLayerError,
    StopConsumer,
)

__all__ = [
    "AcceptConnection",
    "ChannelFull",
    "DenyConnection",
    "InvalidChannelLayerError",
    "MessageTooLarge",
    "RequestAborted",
    "RequestTimeout",
    "StopConsumer",
]


class RequestAborted(Exception):
    """The client left before its request was read."""


class RequestTimeout(RequestAborted):
    """It took too long."""


class MessageTooLarge(Exception):
    """A layer cannot carry a message of this size."""

"""Channel layers: ``get_channel_layer()`` and what layers are made of."""

from fullduplex.exceptions import ChannelFull, InvalidChannelLayerError
from fullduplex.layers.channels import (
    DEFAULT_CHANNEL_LAYER,
    BaseChannelLayer,
    ChannelLayerManager,
    channel_layers,
    get_channel_layer,
)
from fullduplex.layers.channels_memory import InMemoryChannelLayer

__all__ = [
    "DEFAULT_CHANNEL_LAYER",
    "BaseChannelLayer",
    "ChannelFull",
    "ChannelLayerManager",
    "InMemoryChannelLayer",
    "InvalidChannelLayerError",
    "channel_layers",
    "get_channel_layer",
]

"""The API of Channels 4.3, module for module: ``from channels...`` becomes ``from fullduplex.channels...``.

Thin over our own consumers, layers and threads. What differs on purpose stands in
``docs/topics/channels-differences.md``.
"""

from fullduplex.layers.channels import DEFAULT_CHANNEL_LAYER

__all__ = ["DEFAULT_CHANNEL_LAYER", "__version__"]

#: Of the Channels whose API this is.
__version__ = "4.3.2"

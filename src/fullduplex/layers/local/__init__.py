"""The local layer: groups for all processes of one user on one machine, without a broker. See :class:`LocalLayer`."""

from fullduplex.layers.local.layer import LocalLayer

__all__ = ["LocalLayer"]

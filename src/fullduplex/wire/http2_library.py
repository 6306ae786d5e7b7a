"""Which library frames HTTP/2: ngh2, or h2 where there is none."""

from __future__ import annotations

from typing import Protocol

from fullduplex.limits import HTTP2Limits
from fullduplex.wire.http1_writer import DefaultFields
from fullduplex.wire.http2 import HTTP2Codec

LIBRARIES = ("ngh2", "h2")


class MakeCodec(Protocol):
    """Makes the codec of one connection."""

    def __call__(self, limits: HTTP2Limits, *, now_s: float, defaults: DefaultFields) -> HTTP2Codec: ...


def codec_class(library: str = "auto") -> MakeCodec:
    """The codec over ``ngh2``, over ``h2``, or over the first of them that is installed.

    Raises:
        ImportError: it is not installed.
    """
    if library != "h2":
        try:
            from fullduplex.wire.http2_ngh2 import NGH2Codec
        except ImportError:
            if library == "ngh2":
                raise
        else:
            return NGH2Codec
    from fullduplex.wire.http2_h2 import H2Codec

    return H2Codec

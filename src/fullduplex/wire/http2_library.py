"""Which library frames HTTP/2: ngh2, or h2 where there is none."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Protocol

from fullduplex.limits import HTTP2Limits
from fullduplex.wire.http1_writer import DefaultFields

if TYPE_CHECKING:  # what only HTTP/2 needs is imported when there is some
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


def lazy_codec_class(library: str) -> MakeCodec:
    """The same for a library that is installed, imported when the first codec is made."""

    def make(limits: HTTP2Limits, *, now_s: float, defaults: DefaultFields) -> HTTP2Codec:
        return codec_class(library)(limits, now_s=now_s, defaults=defaults)

    return make


def installed_library(library: str = "auto") -> str | None:
    """``ngh2`` or ``h2``, if it is asked for and installed; nothing is imported."""
    asked = LIBRARIES if library == "auto" else (library,)
    return next((name for name in asked if importlib.util.find_spec(name) is not None), None)

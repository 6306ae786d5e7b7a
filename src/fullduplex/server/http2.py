"""Whether HTTP/2 is spoken here, and when what it needs is imported: not before it is sure to be of use."""

from __future__ import annotations

import importlib
import logging

from fullduplex.exceptions import ConfigurationError
from fullduplex.server.config import ServerConfig
from fullduplex.wire.http2_library import codec_class, installed_library

logger = logging.getLogger("fullduplex.server")

_PACKAGES = {"h2": "'fullduplex[h2]'"}


def find_http2(config: ServerConfig) -> str | None:
    """The library that frames HTTP/2; None where it is not spoken.

    With TLS browsers will speak it, so what it needs is imported; without, the first client that does has that done.

    Raises:
        ConfigurationError: the library that is asked for is not installed.
    """
    if not config.speak_http2:
        return None
    library = installed_library(config.http2_library)
    if library is None:
        if config.http2_library != "auto":
            raise ConfigurationError(
                f"--http2-library {config.http2_library}: {config.http2_library} is not installed here: "
                f"pip install {_PACKAGES.get(config.http2_library, config.http2_library)}."
            )
        logger.info("HTTP/2 is not spoken: neither ngh2 nor h2 is installed here: pip install %s", _PACKAGES["h2"])
    elif config.tls.enabled:
        codec_class(library)
        importlib.import_module("fullduplex.net.http2_connection")
    return library


def http2_in_words(config: ServerConfig, library: str | None) -> str:
    """For the line at the start that names protocols."""
    if library is None or (not config.tls.enabled and config.h2c == "off"):
        return ""
    return "HTTP/2, " if config.tls.enabled or config.h2c == "on" else "HTTP/2 (on loopback and UNIX sockets), "

"""Where the server's lines go when nobody configured logging."""

from __future__ import annotations

import logging
import sys


def configure_logging(level: str) -> None:
    """Send the loggers ``fullduplex.*`` to standard error, one line each, unless they have handlers already."""
    logger = logging.getLogger("fullduplex")
    logger.setLevel(level.upper())
    if logger.handlers or logging.getLogger().handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%d %H:%M:%S"))
    logger.addHandler(handler)
    logger.propagate = False

"""Applications of projects that configure logging and do not say ``disable_existing_loggers: False``."""

from __future__ import annotations

import logging.config
import os

from tests.e2e import plain_asgi

FILE = os.environ.get("QUIET_LOG", os.devnull)


def configure() -> None:
    handlers = {"file": {"class": "logging.FileHandler", "filename": FILE}}
    logging.config.dictConfig({"version": 1, "handlers": handlers, "root": {"handlers": ["file"], "level": "INFO"}})


configure()
app = plain_asgi.app
broken_start = plain_asgi.broken_start
no_lifespan = plain_asgi.no_lifespan


async def at_startup(scope, receive, send):
    if scope["type"] == "lifespan":
        configure()
    await app(scope, receive, send)

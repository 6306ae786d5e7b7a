"""Applications that raise, and that configure logging for themselves."""

from __future__ import annotations

import logging

from tests.e2e import plain_asgi


async def app(scope, receive, send):
    if scope["type"] == "http":
        raise RuntimeError("boom")
    await plain_asgi.app(scope, receive, send)


async def noisy(scope, receive, send):
    if scope["type"] == "lifespan":
        logging.basicConfig(level="DEBUG")
    await plain_asgi.app(scope, receive, send)

"""Sends a file, whose path is in ``TEST_FILE``, by way of the extensions."""

from __future__ import annotations

import os

from tests.e2e import plain_asgi


async def app(scope, receive, send):
    if scope["type"] != "http":
        await plain_asgi.app(scope, receive, send)
        return
    path = os.environ["TEST_FILE"]
    if scope["path"] == "/hint":
        await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]})
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/part":
        with open(path, "rb") as file:  # noqa: ASYNC230
            await send({"type": "http.response.zerocopysend", "file": file.fileno(), "offset": 100, "count": 1000})
    else:
        await send({"type": "http.response.pathsend", "path": path})

"""Answers with the parts of its scope that proxies and configuration decide."""

from __future__ import annotations

import json

from tests.e2e import plain_asgi

SHOWN = ("client", "server", "scheme", "path", "root_path")


async def app(scope, receive, send):
    if scope["type"] != "http":
        await plain_asgi.app(scope, receive, send)
        return
    seen = {name: scope[name] for name in SHOWN}
    seen["raw_path"] = scope["raw_path"].decode()
    seen["headers"] = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
    seen["extensions"] = sorted(scope["extensions"])
    await plain_asgi.respond(send, json.dumps(seen).encode())

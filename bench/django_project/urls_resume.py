"""Clients that come back: an endpoint, and a view that sends the same bytes with ``socket.send`` and no history."""

from __future__ import annotations

import json
import os
from typing import Any

from django.urls import path

from fullduplex import Endpoint, WebSocket, websocket
from fullduplex.endpoint import grammar


class Everything(Endpoint):
    async def may_subscribe(self, group: str) -> bool:
        return True

    async def may_publish(self, group: str, data: Any) -> bool:
        return True


_texts: list[str] = []


@websocket
async def plainly(socket: WebSocket) -> None:
    """Answers as the endpoint does, from a list."""
    await socket.accept("fullduplex.v1")
    await socket.send(grammar.write(grammar.welcome(25, 65_536, 100, 100, False)))
    async for text in socket:
        asked = json.loads(text)
        if asked["type"] == "publish":
            offset = len(_texts) + 1
            _texts.append(grammar.envelope(grammar.write(asked["data"]), asked["group"], offset))
            await socket.send({"type": "reply", "id": asked["id"], "position": {"offset": offset, "epoch": "plain"}})
        elif asked["type"] == "subscribe":
            position = grammar.read_position(asked["after"])
            await socket.send(
                grammar.write(grammar.subscribed(asked["id"], asked["group"], True, position, len(_texts)))
            )
            for text in _texts:
                await socket.send(text)
        else:
            await socket.send({"type": "reply", "id": asked["id"]})


urlpatterns = [path("resume/", plainly if "BENCH_PLAINLY" in os.environ else Everything.as_view())]

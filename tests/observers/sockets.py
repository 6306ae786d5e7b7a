"""A socket view that fails while others are open; Django's own handler has none."""

from __future__ import annotations

from django.contrib.auth.models import User

from fullduplex import WebSocket, websocket
from tests.observers import views


@websocket
async def broken(socket: WebSocket, name: str) -> None:
    await socket.accept()
    who = await views.ameet(socket.request)
    await User.objects.filter(username=who).acount()
    await socket.send(who)
    await socket.receive()
    await socket.receive()
    raise ValueError(f"{who} meets an error")

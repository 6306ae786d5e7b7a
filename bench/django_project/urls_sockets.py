"""Our WebSocket routes: what the consumers in channels_asgi.py do, as views."""

from __future__ import annotations

from django.urls import path

from fullduplex import Group, WebSocket, websocket


@websocket
async def room(socket: WebSocket, name: str) -> None:
    await socket.join(Group(name))
    async for _ in socket:
        pass


@websocket
async def publish(socket: WebSocket, name: str) -> None:
    group = Group(name)
    async for text in socket:
        await group.asend(text)


@websocket
async def accept(socket: WebSocket) -> None:
    await socket.accept()
    async for _ in socket:
        pass


urlpatterns = [
    path("room/<name>/", room),
    path("publish/<name>/", publish),
    path("accept/", accept),
]

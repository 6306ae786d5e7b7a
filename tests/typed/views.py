from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from fullduplex import Disconnected, Group, SocketState, WebSocket, websocket
from fullduplex.channels.generic.websocket import AsyncJsonWebsocketConsumer, WebsocketConsumer


@websocket
async def room(socket: WebSocket, name: str) -> HttpResponse | None:
    if name == "closed":
        return HttpResponse("closed", status=403)
    lobby = Group(f"chat.{name}")
    await socket.join(lobby)
    try:
        while socket.state is SocketState.OPEN:
            message = await socket.receive_text()
            await lobby.asend({"text": message})
    except Disconnected as gone:
        print(gone.code, gone.reason)
    return None


@websocket
async def echo(socket: WebSocket) -> None:
    async for message in socket:
        await socket.send(message)


class Chat(AsyncJsonWebsocketConsumer):
    groups = ("lobby",)

    async def connect(self) -> None:
        await self.accept()

    async def receive_json(self, content: object, **kwargs: object) -> None:
        await self.send_json(content)


class Plain(WebsocketConsumer):
    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        self.send(text_data=text_data)


def tell(request: HttpRequest) -> HttpResponse:
    Group("chat.lobby").send({"text": "told"})
    return HttpResponse("told")


sockets = [
    path("rooms/<slug:name>/", room, name="room"),
    path("echo/", echo),
    path("chat/", Chat.as_view()),
]

urlpatterns = [path("tell/", tell), path("ws/", include(sockets))]

"""A socket view, in the group of the consumers."""

from fullduplex import WebSocket, websocket


@websocket
async def news(socket: WebSocket) -> None:
    await socket.join("news")
    async for _ in socket:
        pass

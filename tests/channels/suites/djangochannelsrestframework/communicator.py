"""Sockets of the tests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from channels.testing import WebsocketCommunicator


class Communicator(WebsocketCommunicator):
    async def receive_many_json_from(self) -> list[Any]:
        """Return what has come, until nothing more does."""
        messages = []
        while not await self.receive_nothing():
            messages.append(await self.receive_json_from())
        return messages


@asynccontextmanager
async def connected_communicator(consumer: Any, path: str = "/testws/") -> AsyncIterator[Communicator]:
    communicator = Communicator(consumer, path)
    connected, _ = await communicator.connect()
    assert connected
    try:
        yield communicator
    finally:
        await communicator.disconnect()

"""The conversations of the vectors, with an endpoint as their server."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from fullduplex import Group
from fullduplex.layers import get_layer
from fullduplex.layers.memory import MemoryLayer
from fullduplex.testing import AsyncClient, AsyncWebSocketSession
from tests.endpoint.vectors import each


class Server:
    """Plays the client of a conversation, and holds what the server says against it."""

    def __init__(self, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self._path = path
        self._ahead_s = 0.0
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: time.monotonic() + self._ahead_s)
        self._socket: AsyncWebSocketSession
        self._epochs: dict[str, str] = {}  # of the conversation: as the server calls it

    async def connect(self) -> None:
        client = AsyncClient(raise_request_exception=False)
        self._socket = client.websocket(self._path, subprotocols=["fullduplex.v1"])
        await self._socket.__aenter__()

    async def leave(self, code: int) -> None:
        await self._socket.close(code)
        await self._socket.__aexit__(None, None, None)

    async def play(self, step: dict[str, Any]) -> None:
        match step:
            case {"client": "connect"}:
                await self.connect()
            case {"client": {"close": code}}:
                await self.leave(code)
            case {"network": "lost"}:
                await self.leave(1006)
            case {"client": message}:
                await self._socket.send(self._named(json.dumps(message)))
            case {"server": "forgets"}:
                layer = get_layer()
                assert isinstance(layer, MemoryLayer)
                layer._forget_history()
            case {"server": {"close": code}}:
                assert (await self._socket.wait_closed())[0] == code
                await self.leave(code)
            case {"server": expected}:
                told = await self._socket.receive_json()
                self._learn(expected, told)
                if told["type"] == "error":
                    told["message"] = expected["message"]
                assert told == json.loads(self._named(json.dumps(expected)))
            case {"others": {"publish": {"group": group, "data": data}}}:
                await Group(group).asend(data)
            case {"time": seconds}:
                await self._quiet()
                self._ahead_s += seconds

    async def _quiet(self) -> None:
        """Let the server take what was sent."""
        for _ in range(20):
            await asyncio.sleep(0)

    def _learn(self, expected: dict[str, Any], told: dict[str, Any]) -> None:
        for member in ("position",):
            if expected.get(member) and told.get(member):
                self._epochs.setdefault(expected[member]["epoch"], told[member]["epoch"])

    def _named(self, text: str) -> str:
        for name, epoch in self._epochs.items():
            text = text.replace(json.dumps(name), json.dumps(epoch))
        return text


@each("conversations", sides="server")
async def test_conversation(entry: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server("/tokens/" if entry.get("token") else "/realtime/", monkeypatch)
    for step in entry["steps"]:
        try:
            await server.play(step)
        except AssertionError as error:
            error.add_note(f"at the step {step}")
            raise
    assert len(set(server._epochs.values())) == len(server._epochs)

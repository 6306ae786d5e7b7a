"""A site with endpoints: the server of the vectors' conversations, and one that takes tokens."""

from __future__ import annotations

import asyncio
from typing import Any

from django.core.exceptions import PermissionDenied
from django.urls import path

from fullduplex import Endpoint, RequestRefused, WebSocket, websocket

HISTORY = {"chat.*": {"COUNT": 3}, "long.*": {"COUNT": 100_000, "MAX_BYTES": 268_435_456}}
LAYER = {"default": {"BACKEND": "fullduplex.layers.memory.MemoryLayer", "CONFIG": {"history_max_bytes": 536_870_912}}}


class Site(Endpoint):
    """Attributes: the last one that was made, and what it was told."""

    last: Site | None = None
    answer: asyncio.Event
    told: list[Any]

    async def on_connect(self) -> None:
        Site.last, self.told = self, []
        if "refuse" in self.request.GET:
            raise PermissionDenied

    async def on_disconnect(self, code: int) -> None:
        self.told.append(code)

    async def may_subscribe(self, group: str) -> bool:
        if group == "slow.1":
            await self.asked()
        if group == "broken.1":
            raise RuntimeError("broken")
        return not group.startswith("secret.")

    async def asked(self) -> None:
        self.answer = asyncio.Event()
        await self.answer.wait()

    async def may_publish(self, group: str, data: Any) -> bool:
        return group.startswith("chat.")

    async def on_publish(self, group: str, data: Any, key: str) -> Any:
        if isinstance(data, dict) and "slow" in data:
            await asyncio.sleep(data["slow"])
        return None if data == ["swallowed"] else data

    async def call_echo(self, params: Any) -> Any:
        return params

    async def call_fail(self, params: Any) -> None:
        raise RuntimeError("the reason is for the log alone")

    async def call_refuse(self, params: Any) -> None:
        raise RequestRefused("forbidden", "not you")

    async def call_wait(self, params: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.told.append("cancelled")

    async def call_half(self, params: Any) -> Any:
        return "\ud800"

    async def call_linger(self, params: Any) -> None:
        self.lingers = asyncio.Event()
        try:
            await asyncio.Event().wait()
        finally:
            await self.lingers.wait()

    async def call_unsayable(self, params: Any) -> Any:
        return object()

    async def call_leave(self, params: Any) -> None:
        self.unsubscribe(params, reason="asked for")


class TokenSite(Site):
    async def authenticate(self, token: str) -> float | None:
        if token not in ("good", "short", "narrow", "denied", "stuck", "nan"):
            raise PermissionDenied
        if token == "nan":
            return float("nan")
        self.token = token
        return 0.2 if token == "short" else 300

    async def may_subscribe(self, group: str) -> bool:
        if self.token == "denied":
            raise PermissionDenied
        if self.token == "stuck":
            await asyncio.Event().wait()
        return self.token != "narrow"


@websocket
async def plain(socket: WebSocket) -> None:
    await socket.join("chat.1")
    await socket.send("joined")
    async for _ in socket:
        pass


urlpatterns = [
    path("plain/", plain),
    path("realtime/", Site.as_view(), name="realtime"),
    path("hasty/", Site.as_view(request_timeout_s=0.05, max_groups=2, max_requests=2, max_message_bytes=1_000)),
    path("tokens/", TokenSite.as_view()),
    path("tokens/hasty/", TokenSite.as_view(request_timeout_s=0.05)),
    path("realtime/events/", Site.as_event_stream()),
    path("brisk/events/", Site.as_event_stream(heartbeat_s=0.05, max_groups=2, max_message_bytes=1_000)),
    path("tokens/events/", TokenSite.as_event_stream()),
]

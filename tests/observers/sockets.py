"""A socket view that fails while others are open; Django's own handler has none."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sentry_sdk

from fullduplex import WebSocket, websocket
from tests.observers import views


@contextmanager
def observe(scope: dict[str, Any]) -> Iterator[None]:
    """As docs/howto/observe.md has it: each socket is somebody of its own, and its events know the address."""
    with sentry_sdk.isolation_scope() as isolation:

        def add_address(event: Any, hint: Any) -> Any:
            event["request"] = {"url": scope["path"], "query_string": scope["query_string"].decode()}
            return event

        isolation.add_event_processor(add_address)
        yield


@websocket
async def broken(socket: WebSocket, name: str) -> None:
    await socket.accept()
    who = await views.ameet(socket.request)
    await socket.send(who)
    await asyncio.sleep(0)
    raise ValueError(f"{who} meets an error")

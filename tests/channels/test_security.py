"""Who may open a socket."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import override_settings

from fullduplex.channels.security.websocket import AllowedHostsOriginValidator, OriginValidator, WebsocketDenier
from fullduplex.channels.testing import WebsocketCommunicator
from fullduplex.sockets.consumers import AsyncWebsocketConsumer

APPLICATION = AsyncWebsocketConsumer.as_asgi()


async def connects(application: Any, origin: str | bytes | None) -> bool:
    value = origin.encode() if isinstance(origin, str) else origin
    headers = [] if value is None else [(b"origin", value)]
    communicator = WebsocketCommunicator(application, "/", headers=headers)
    connected, _ = await communicator.connect()
    await communicator.disconnect()
    return connected


@pytest.mark.parametrize(
    ("pattern", "origin", "expected"),
    [
        ("example.com", "http://example.com", True),
        ("example.com", "https://example.com:8443", True),
        ("example.com", "http://sub.example.com", False),
        (".example.com", "http://sub.example.com", True),
        (".example.com", "http://example.com", True),
        (".example.com", "http://badexample.com", False),
        ("http://example.com", "http://example.com:80", True),
        ("http://example.com", "https://example.com", False),
        ("http://.example.com", "http://sub.example.com", True),
        ("https://example.com:8443", "https://example.com:8443", True),
        ("https://example.com:8443", "https://example.com", False),
        ("*", "http://anybody.test", True),
        ("*", None, True),
        ("example.com", None, False),
        ("example.com", "null", False),
        ("example.com", "http://example.com:port", False),
        ("example.com", "http://[example.com", False),
        ("example.com", b"\xff\xfe", False),
        ("app://example.com", "app://example.com", True),
    ],
)
async def test_origins(pattern: str, origin: Any, expected: bool) -> None:
    assert await connects(OriginValidator(APPLICATION, [pattern]), origin) is expected


async def test_allowed_hosts() -> None:
    with override_settings(ALLOWED_HOSTS=["example.com"]):
        assert await connects(AllowedHostsOriginValidator(APPLICATION), "http://example.com")
    with override_settings(ALLOWED_HOSTS=[], DEBUG=True):
        assert await connects(AllowedHostsOriginValidator(APPLICATION), "http://localhost:8000")
    with override_settings(ALLOWED_HOSTS=[], DEBUG=False):
        assert not await connects(AllowedHostsOriginValidator(APPLICATION), "http://localhost:8000")


async def test_for_sockets_only() -> None:
    with pytest.raises(ValueError, match="non-WebSocket"):
        await OriginValidator(APPLICATION, ["*"])({"type": "http"}, None, None)  # type: ignore[arg-type]


async def test_the_denier() -> None:
    assert not await connects(WebsocketDenier.as_asgi(), None)

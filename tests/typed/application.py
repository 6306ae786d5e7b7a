from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.urls import path, re_path

from fullduplex import get_asgi_application, mount
from fullduplex.asgi import Application
from fullduplex.channels.auth import AuthMiddlewareStack
from fullduplex.channels.routing import ProtocolTypeRouter, URLRouter
from fullduplex.channels.security.websocket import AllowedHostsOriginValidator
from fullduplex.handler.application import ASGIHandler
from tests.typed.views import Chat, Plain


class Starlette:
    """With the types that Starlette's applications have."""

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})


routed: Application = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": AllowedHostsOriginValidator(
            AuthMiddlewareStack(
                URLRouter(
                    [
                        path("chat/", Chat.as_asgi()),
                        re_path("plain/$", Plain.as_asgi()),
                        path("more/", URLRouter([path("chat/", AuthMiddlewareStack(Chat.as_asgi()))])),
                    ]
                )
            )
        ),
    }
)

application: Application = mount({"/api": Starlette(), "/chat": routed}, default=ASGIHandler())

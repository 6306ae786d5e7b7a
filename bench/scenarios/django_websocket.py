"""Django over WebSocket, without rooms."""

from __future__ import annotations

from typing import ClassVar

from bench.scenarios import django_project
from bench.scenarios.websocket import Handshakes
from bench.server import Peer


class DjangoHandshakes(Handshakes):
    name = "django-handshakes"
    title = "WebSocket handshakes with Django"
    about = (
        "Connect, upgrade, close; 32 at a time. Ours pass the default middleware, Channels' its AuthMiddlewareStack."
    )
    path = "/accept/"
    goals: ClassVar = {"channels in-memory, uvicorn": 2, "channels in-memory, daphne": 2}

    def peers(self) -> list[Peer]:
        return django_project.socket_peers()

    def prepare(self) -> None:
        django_project.make_database()

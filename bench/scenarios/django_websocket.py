"""Django over WebSocket, without rooms."""

from __future__ import annotations

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

    def peers(self) -> list[Peer]:
        return django_project.socket_peers()

    def prepare(self) -> None:
        django_project.make_database()

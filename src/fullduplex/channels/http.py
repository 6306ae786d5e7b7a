"""Django as an ASGI application, under the name that Channels 2 and 3 had for it."""

from __future__ import annotations

from typing import Any

from fullduplex.handler.application import ASGIHandler

__all__ = ["AsgiHandler"]


class AsgiHandler(ASGIHandler):
    """``get_asgi_application()`` for those who import this name: an object, and the class itself as an application."""

    def __new__(cls, *connection: Any) -> Any:
        if connection:  # the class in the place of an application
            if cls not in _handlers:
                _handlers[cls] = cls()
            return _handlers[cls](*connection)
        return super().__new__(cls)


_handlers: dict[type[AsgiHandler], AsgiHandler] = {}

"""The project behind our handler."""

from __future__ import annotations

from fullduplex import get_asgi_application

application = get_asgi_application()

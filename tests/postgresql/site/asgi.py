"""The site behind our handler, or behind Django's own."""

from __future__ import annotations

import os

if os.environ["HANDLER"] == "django":
    from django.core.asgi import get_asgi_application
else:
    from fullduplex import get_asgi_application

application = get_asgi_application()

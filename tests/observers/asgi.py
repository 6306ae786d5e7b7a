"""The application of the site, with our handler or with Django's own."""

from __future__ import annotations

import os

if os.environ["HANDLER"] == "fullduplex":
    from fullduplex import get_asgi_application
else:
    from django.core.asgi import get_asgi_application

application = get_asgi_application()

"""The application for any ASGI server: ``fullduplex mysite.asgi:application``."""

import os

from fullduplex import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")

application = get_asgi_application()

"""Our handler."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bench.django_project.settings")

from fullduplex import get_asgi_application

application = get_asgi_application()

"""Django's ASGI handler."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bench.django_project.settings")

from django.core.asgi import get_asgi_application

application = get_asgi_application()

#!/usr/bin/env bash
# django-debug-toolbar 8.0.0: behind async middleware, the SQL panel goes on recording after its request.
# One would expect the recording to end with the request: its documentation of panels says that
# `disable_instrumentation` undoes `enable_instrumentation`.
# The panel is enabled in the thread of `sync_to_async`, and disabled in the thread of the event
# loop. Connections belong to a thread, so the one that runs the queries is never disabled.
# A later request in the same thread, for which the toolbar is not shown, still adds its queries to
# the panel of the old request.
# It bites where requests share a thread: `AsyncClient`, or a `ThreadSensitiveContext` around more
# than one request; the panel, its request and all later queries stay in memory.

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check Django==5.2.19 asgiref==3.13.0 django-debug-toolbar==8.0.0
cat > panel.py <<'PYTHON'
from debug_toolbar.panels.sql import SQLPanel

recorded = []


class Panel(SQLPanel):
    """Tells us what is recorded."""

    panel_id = "SQLPanel"

    def record(self, **query):
        recorded.append(self.toolbar.request.path)
        super().record(**query)
PYTHON
cat > program.py <<'PYTHON'
import asyncio
import sys
from importlib.metadata import version

import django
from asgiref.sync import sync_to_async
from django.conf import settings
from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.urls import path

settings.configure(
    DEBUG=True,
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="of a test",
    ROOT_URLCONF=__name__,
    STATIC_URL="static/",
    INSTALLED_APPS=["django.contrib.staticfiles", "debug_toolbar"],
    MIDDLEWARE=["debug_toolbar.middleware.DebugToolbarMiddleware"],
    DEBUG_TOOLBAR_CONFIG={"SHOW_TOOLBAR_CALLBACK": lambda request: "shown" in request.path},
    DEBUG_TOOLBAR_PANELS=["panel.Panel"],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    LOGGING_CONFIG=None,
)
django.setup()

from debug_toolbar.toolbar import debug_toolbar_urls  # noqa: E402
from django.db import connection  # noqa: E402
from panel import recorded  # noqa: E402


def query():
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def sync_view(request):
    query()
    return HttpResponse("<body></body>")


async def async_view(request):
    await sync_to_async(query)()
    return HttpResponse("<body></body>")


urlpatterns = [
    path("sync/shown/", sync_view),
    path("sync/hidden/", sync_view),
    path("async/shown/", async_view),
    path("async/hidden/", async_view),
    *debug_toolbar_urls(),
]


def seen():
    paths = recorded.copy()
    recorded.clear()
    return paths


async def through_asgi():
    assert b"djDebug" in (await AsyncClient().get("/async/shown/")).content
    assert b"djDebug" not in (await AsyncClient().get("/async/hidden/")).content


print("Django", version("Django"), "django-debug-toolbar", version("django-debug-toolbar"))
assert b"djDebug" in Client().get("/sync/shown/").content
assert b"djDebug" not in Client().get("/sync/hidden/").content
wsgi = seen()
asyncio.run(through_asgi())
asgi = seen()
print("one query in each of two requests, the toolbar is shown in the first only")
print("sync, queries were recorded for:", wsgi)
print("async, queries were recorded for:", asgi)
if (wsgi, asgi) != (["/sync/shown/"], ["/async/shown/", "/async/shown/"]):
    sys.exit("different: the second async query was expected to be recorded for the first request")
PYTHON
venv/bin/python program.py

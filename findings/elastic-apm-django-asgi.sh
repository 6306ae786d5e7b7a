#!/usr/bin/env bash
# elastic-apm 6.26.2 under Django 5.2.19: a request through ASGI makes no transaction.
# One would expect one for each request, as its documentation for Django promises and as it does
# under WSGI; its receiver of `request_started` has a branch for the scope of ASGI.
# The receiver is sync and keeps the transaction in a context variable. Django awaits
# `request_started.asend()`, which calls the receiver in a task of its own, so the view and
# `request_finished` find no transaction. No warning is logged, and errors are still reported, so
# the agent looks alive.
# It bites who moves a site from WSGI to ASGI: its performance data ends.

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check Django==5.2.19 asgiref==3.13.0 elastic-apm==6.26.2
cat > recorder.py <<'PYTHON'
from elasticapm.transport.base import Transport

events = []


class Recorder(Transport):
    """Keeps what the agent would send."""

    def queue(self, event_type, data, flush=False):
        if event_type in ("transaction", "error"):
            events.append((event_type, data))
PYTHON
cat > program.py <<'PYTHON'
import asyncio
import logging
import sys
from importlib.metadata import version
from wsgiref.util import setup_testing_defaults

import django
from asgiref.testing import ApplicationCommunicator
from django.conf import settings
from django.urls import path
from recorder import events

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["elasticapm.contrib.django"],
    MIDDLEWARE=["elasticapm.contrib.django.middleware.TracingMiddleware"],
    LOGGING_CONFIG=None,
    ELASTIC_APM={
        "SERVICE_NAME": "shop",
        "TRANSPORT_CLASS": "recorder.Recorder",
        "CENTRAL_CONFIG": False,
        "CLOUD_PROVIDER": "none",
        "METRICS_INTERVAL": "0ms",
    },
)


warned = []


class Keep(logging.Handler):
    def emit(self, record):
        warned.append(record.getMessage())


logging.getLogger("elasticapm").addHandler(Keep(logging.WARNING))


def view(request):
    raise ValueError("an error of the view")


urlpatterns = [path("", view)]


def through_wsgi(application):
    environ = {}
    setup_testing_defaults(environ)
    response = application(environ, lambda status, headers: None)
    list(response)
    response.close()


async def through_asgi(application):
    scope = {"type": "http", "http_version": "1.1", "method": "GET", "path": "/", "query_string": b""}
    scope["headers"] = [(b"host", b"shop.example")]
    request = ApplicationCommunicator(application, scope)
    await request.send_input({"type": "http.request", "body": b"", "more_body": False})
    while (await request.receive_output(10)).get("type") != "http.response.body":
        pass
    await request.wait(10)


def seen():
    names = sorted(name for name, _ in events)
    events.clear()
    return names


django.setup()
from django.core.asgi import get_asgi_application  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402

print("Django", version("Django"), "elastic-apm", version("elastic-apm"))
through_wsgi(get_wsgi_application())
wsgi = seen()
warned.clear()
asyncio.run(through_asgi(get_asgi_application()))
asgi = seen()
print("events of a request through WSGI:", wsgi)
print("events of a request through ASGI:", asgi)
print("warnings of the agent through ASGI:", warned)
if (wsgi, asgi, warned) != (["error", "transaction"], ["error"], []):
    sys.exit("different: a transaction through WSGI, and none through ASGI without a warning, were expected")
PYTHON
venv/bin/python program.py 2> errors || { cat errors >&2; exit 1; }

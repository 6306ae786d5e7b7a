#!/usr/bin/env bash
# opentelemetry-instrumentation-django 0.66b2: without its extra `asgi`, a request through ASGI gets
# no span, and nothing says so.
# Its documentation asks to install the extra for ASGI. One would expect a warning, or a span with
# less in it, where it is missing: `instrument()` succeeds, and a request through WSGI gets its span.
# But the middleware returns at once for each request through ASGI, without any message.
# It bites who moves a site from WSGI to ASGI: its traces end, and no log explains why.

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check Django==5.2.19 asgiref==3.13.0 opentelemetry-sdk==1.45.2 \
    opentelemetry-instrumentation-django==0.66b2
cat > program.py <<'PYTHON'
import asyncio
import logging
import sys
import warnings
from importlib.metadata import version

import django
from django.conf import settings
from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

messages = []


class Keep(logging.Handler):
    def emit(self, record):
        messages.append(record.getMessage())


logging.getLogger("opentelemetry").addHandler(Keep(logging.WARNING))
warnings.simplefilter("always")
warnings.showwarning = lambda message, category, path, *rest: "opentelemetry" in path and messages.append(str(message))

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, MIDDLEWARE=[], LOGGING_CONFIG=None)
urlpatterns = [path("", lambda request: HttpResponse("hello"))]
django.setup()

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
DjangoInstrumentor().instrument(tracer_provider=provider)


def seen():
    names = [span.name for span in exporter.get_finished_spans()]
    exporter.clear()
    return names


print("Django", version("Django"), "opentelemetry-instrumentation-django", version("opentelemetry-instrumentation-django"))
assert Client().get("/").content == b"hello"
wsgi = seen()
assert asyncio.run(AsyncClient().get("/")).content == b"hello"
asgi = seen()
print("spans of a request through WSGI:", wsgi)
print("spans of a request through ASGI:", asgi)
print("warnings:", messages)
if (len(wsgi), asgi, messages) != (1, [], []):
    sys.exit("different: one span through WSGI, none through ASGI and no warning were expected")
PYTHON
venv/bin/python program.py

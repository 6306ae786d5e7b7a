#!/usr/bin/env bash
# elastic-apm 6.26.2: the header `traceparent` of a request through ASGI is never found.
# One would expect the transaction to join the trace of the caller, as its documentation of
# distributed tracing says and as it does for the environ of WSGI.
# For ASGI it looks the name up, as a str, in the headers of the scope. The specification of ASGI
# says that they are pairs of bytes, so a str is never in them, and each request starts a new trace.
# It bites traces that go from one service to another: they break at the service behind ASGI.

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
import sys
from importlib.metadata import version

import django
import elasticapm
from django.conf import settings
from django.core.signals import request_finished, request_started

settings.configure(
    INSTALLED_APPS=["elasticapm.contrib.django"],
    MIDDLEWARE=["elasticapm.contrib.django.middleware.TracingMiddleware"],
    ELASTIC_APM={
        "SERVICE_NAME": "shop",
        "TRANSPORT_CLASS": "recorder.Recorder",
        "CENTRAL_CONFIG": False,
        "CLOUD_PROVIDER": "none",
        "METRICS_INTERVAL": "0ms",
    },
)
django.setup()

TRACE = "0af7651916cd43dd8448eb211c80319c"
HEADER = f"00-{TRACE}-b7ad6b7169203331-01"
ENVIRON = {"HTTP_HOST": "shop.example", "PATH_INFO": "/", "wsgi.url_scheme": "http", "HTTP_TRACEPARENT": HEADER}
SCOPE = {"type": "http", "method": "GET", "path": "/", "headers": [(b"traceparent", HEADER.encode())]}


def joined(**request):
    """Whether the transaction of this request belongs to the trace of the caller."""
    request_started.send(None, **request)
    answer = elasticapm.get_trace_id() == TRACE
    assert elasticapm.get_trace_id() is not None
    request_finished.send(None)
    return answer


print("Django", version("Django"), "elastic-apm", version("elastic-apm"))
wsgi, asgi = joined(environ=ENVIRON), joined(scope=SCOPE)
print("WSGI joins the trace of the caller:", wsgi)
print("ASGI joins the trace of the caller:", asgi)
if (wsgi, asgi) != (True, False):
    sys.exit("different: only WSGI was expected to join the trace")
PYTHON
venv/bin/python program.py

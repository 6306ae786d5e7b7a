#!/usr/bin/env bash
# django-auditlog 3.4.1: each entry of the log calls one receiver for every request in progress.
# One would expect the cost of an entry not to depend on the requests of others.
# Its middleware connects a receiver of `pre_save` for each request, and disconnects it at the end.
# All receivers of the process are called for each entry, and all but one find that the entry is
# not of their request. With N requests that each write, this makes N times N calls.
# Connecting and disconnecting also empties the cache of receivers of `pre_save`.
# It bites servers with many requests at a time, such as ASGI with slow or long requests.

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check Django==5.2.19 asgiref==3.13.0 django-auditlog==3.4.1
cat > program.py <<'PYTHON'
import sys
import threading
from importlib.metadata import version

import django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "auditlog"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
)
django.setup()
from auditlog.middleware import AuditlogMiddleware  # noqa: E402
from auditlog.models import LogEntry  # noqa: E402
from django.db.models.signals import pre_save  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.test import RequestFactory  # noqa: E402


def called_with(requests):
    """How many receivers are called for an entry while so many requests are in progress."""
    everybody_came, leave = threading.Barrier(requests + 1), threading.Event()

    def view(request):
        everybody_came.wait(10)
        leave.wait(10)
        return HttpResponse()

    def request():
        AuditlogMiddleware(view)(RequestFactory().get("/"))

    threads = [threading.Thread(target=request) for _ in range(requests)]
    for thread in threads:
        thread.start()
    everybody_came.wait(10)
    try:
        return len(pre_save.send(LogEntry, instance=LogEntry()))
    finally:
        leave.set()
        for thread in threads:
            thread.join()


print("Django", version("Django"), "django-auditlog", version("django-auditlog"))
base = len(pre_save.send(LogEntry, instance=LogEntry()))
counts = {requests: called_with(requests) - base for requests in (1, 10, 50)}
for requests, count in counts.items():
    print(f"requests in progress: {requests}, receivers of the middleware called for one entry: {count}")
if counts != {1: 1, 10: 10, 50: 50}:
    sys.exit("different: one receiver for each request was expected")
PYTHON
venv/bin/python program.py

"""A Django project in one file, for its own WSGI handler."""

from __future__ import annotations

import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.urls import path

settings.configure(SECRET_KEY="tests", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, DEBUG=False)


def seen(request):
    parts = (request.get_full_path(), request.META["REMOTE_ADDR"], str(request.is_secure()), request.get_host())
    return HttpResponse("\n".join([*parts, request.body.decode()]))


def stream(request):
    return StreamingHttpResponse(str(number) for number in range(3))


def file(request):
    return FileResponse(open(os.environ["TEST_FILE"], "rb"))


urlpatterns = [path("seen/", seen), path("stream/", stream), path("file/", file)]
app = get_wsgi_application()

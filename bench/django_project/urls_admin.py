"""The routes of a project with an admin, and one that tells which process has answered."""

from __future__ import annotations

import os

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import path

from bench.django_project import views


def process(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(os.getpid()), content_type="text/plain")


urlpatterns = [
    path("admin/", admin.site.urls),
    path("sync/", views.hello),
    path("template/", views.template),
    path("process/", process),
]

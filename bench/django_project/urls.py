"""The routes over HTTP."""

from __future__ import annotations

from django.urls import path

from bench.django_project import views

urlpatterns = [
    path("sync/", views.hello),
    path("async/", views.hello_async),
    path("sleep/", views.sleep),
    path("orm/", views.orm),
    path("orm-async/", views.orm_async),
    path("login/", views.login),
    path("login-async/", views.login_async),
    path("template/", views.template),
    path("json/", views.post_json),
    path("upload/", views.upload),
]

"""The routes over HTTP."""

from __future__ import annotations

from django.urls import path

from bench.django_project import connections, orm, views, waiting

urlpatterns = [
    path("sync/", views.hello),
    path("async/", views.hello_async),
    path("async-json", views.json_async),
    path("async-class/", views.HelloView.as_view()),
    path("sleep/", views.sleep),
    path("wait/", waiting.wait),
    path("cpu/", waiting.cpu),
    path("cpu-async/", waiting.cpu_async),
    path("connections/", connections.opened),
    path("orm/", views.orm),
    path("orm-async/", views.orm_async),
    path("query/one/", orm.one),
    path("query/list/", orm.listed),
    path("query/insert/", orm.insert),
    path("query/transaction/", orm.transact),
    path("query/sleep/", orm.sleep),
    path("query/socket/", orm.socket),
    path("login/", views.login),
    path("login-async/", views.login_async),
    path("template/", views.template),
    path("json/", views.post_json),
    path("upload/", views.upload),
    path("api/", waiting.api),
    path("api-async/", waiting.api_async),
    path("file/", waiting.read),
    path("file-async/", waiting.read_async),
    path("file-response/", waiting.file_response),
    path("cache/", waiting.cached),
    path("cache-async/", waiting.cached_async),
]

"""The paths of the project."""

from __future__ import annotations

from django.urls import path

from tests.db.project import views

urlpatterns = [
    path("one/", views.one),
    path("list/", views.listed),
    path("transaction/", views.transact),
    path("across/", views.across),
    path("thread/", views.thread),
    path("rows/", views.rows),
    path("sleep/", views.sleep),
    path("socket/", views.socket),
    path("state/", views.state),
]

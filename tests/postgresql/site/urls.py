"""The paths of the site."""

from __future__ import annotations

from django.urls import path

from tests.postgresql.site import views
from tests.postgresql.site.steps import step_views

urlpatterns = [
    *step_views("role", views.role_step),
    *step_views("tenant", views.tenant_step),
    *step_views("lock", views.lock_step),
    path("role/orm/", views.role_orm),
    path("role/socket/", views.role_socket),
    path("tenant/orm/", views.tenant_orm),
    path("numbers/stream/", views.numbers_stream),
    path("numbers/astream/", views.numbers_astream),
    path("numbers/socket/", views.numbers_socket),
    path("page/", views.page),
    path("query/socket/", views.query_socket),
    path("open/", views.open_event),
    path("stats/", views.stats),
    path("hold/connection/", views.hold_connection),
    path("hold/lock/", views.hold_lock),
    path("want/lock/", views.want_lock),
    path("inner/", views.inner),
    path("outer/", views.outer),
    path("endless/", views.endless),
    path("blocked/", views.blocked),
    path("waiting/", views.waiting),
]

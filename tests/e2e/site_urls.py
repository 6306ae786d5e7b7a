from django.contrib import admin
from django.urls import path
from mysite import views

urlpatterns = [
    path("admin/", admin.site.urls),
    path("function/", views.function),
    path("class/", views.Greeting.as_view()),
    path("users/", views.users),
    path("events/", views.events),
    path("debug/", views.debug),
    path("debug-async/", views.debug_async),
    path("sleep/", views.sleep),
    path("echo/<slug:room>/", views.echo, name="echo"),
    path("broken/", views.broken),
    path("private/", views.private),
    path("leaving/", views.leaving),
    path("room/<slug:room>/", views.room),
    path("room/<slug:room>/say/", views.say),
    path("totals/", views.totals),
    path("who/", views.who),
    path("digest/", views.digest),
    path("download/", views.download),
    path("held/", views.held),
    path("release/", views.release),
]

from django.conf import settings
from django.contrib.staticfiles.urls import staticfiles_urlpatterns
from django.urls import include, path

from tests.channels.unchanged import views

urlpatterns = [
    path("events/", include("django_eventstream.urls"), {"channels": ["news"]}),
    path("events/send/", views.send),
    path("announce/", views.announce),
    path("rename/", views.rename),
    path("counter/", views.counter),
    path("worlds/", views.worlds),
    path("reactpy/", include("reactpy_django.http.urls")),
    *staticfiles_urlpatterns(),
]
if settings.OURS:
    from tests.channels.unchanged.sockets import news

    urlpatterns += [path("ws/socket/", news)]

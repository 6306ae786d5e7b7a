from __future__ import annotations

import os

from django.urls import include, path

from tests.observers import views

urlpatterns = [
    path("sync/", views.sync_view),
    path("async/<str:name>/", views.async_view),
    path("class/", views.AsyncView.as_view()),
    path("template/", views.template),
    path("sync-stream/", views.sync_stream),
    path("async-stream/", views.async_stream),
    path("broken-stream/", views.broken_stream),
    path("sync-error/", views.sync_error),
    path("async-error/", views.async_error),
    path("class-error/", views.AsyncErrorView.as_view()),
    path("sync-post/", views.sync_post),
    path("async-post/", views.async_post),
    path("async-post-error/", views.async_post_error),
    path("report/", views.report),
    *(path(prefix, include(urls)) for prefix, urls in views.observer.URLS),
]

if os.environ["HANDLER"] == "fullduplex":
    from tests import recipes
    from tests.observers import sockets

    urlpatterns.append(path("socket/<str:name>/", sockets.broken))
    if "RECIPE" in os.environ:
        modules = recipes.install(os.environ["RECIPE"], "mysite/views.py")
        urlpatterns += [path("room/<str:name>/", module.room) for module in modules]

from channels.routing import URLRouter
from django.conf import settings
from django.urls import path
from reactpy_django import REACTPY_WEBSOCKET_ROUTE

from tests.channels.unchanged import consumers, streams

websocket_urlpatterns = [
    path("ws/news/", consumers.NewsConsumer.as_asgi()),
    path("ws/sync-news/", consumers.SyncNewsConsumer.as_asgi()),
    path("ws/rest/", consumers.GroupConsumer.as_asgi()),
    path("ws/typed/", URLRouter([path("<slug:room>/", consumers.TypedConsumer.as_asgi())])),
    path("ws/multiplexed/", streams.Streams.as_asgi()),
    path("ws/strawberry/", streams.strawberry_consumer),
    REACTPY_WEBSOCKET_ROUTE,
]
if settings.HAS_GRAPHENE:
    from tests.channels.unchanged.graphene_schema import GraphConsumer

    websocket_urlpatterns.append(path("ws/graphene/", GraphConsumer.as_asgi()))

"""Our route to the consumer of many idle sockets."""

from __future__ import annotations

from django.urls import path

from bench.django_project.herd import consumer_on
from fullduplex.channels.generic.websocket import AsyncWebsocketConsumer

urlpatterns = [path("idle/", consumer_on(AsyncWebsocketConsumer).as_view())]

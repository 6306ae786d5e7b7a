from __future__ import annotations

import sys
from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.contrib.auth.models import Group
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django_eventstream import send_event

from tests.channels.unchanged.consumers import Announced, Text, TypedConsumer


def send(request: HttpRequest) -> HttpResponse:
    """An event, to those who listen to ``events/``."""
    send_event("news", "message", {"text": request.GET["text"]})
    return HttpResponse()


def announce(request: HttpRequest) -> HttpResponse:
    """An event to the group of the consumers; with ``how=group`` by our own, with ``how=typed`` by chanx."""
    text, how = request.GET["text"], request.GET.get("how", "layer")
    if how == "group":
        from fullduplex import Group as Members

        Members("news").send({"text": text})
    elif how == "typed":
        TypedConsumer.broadcast_event_sync(Announced(payload=Text(text=text)), ["typed"])
    else:
        async_to_sync(get_channel_layer().group_send)("news", {"type": "news.item", "text": text})
    return HttpResponse()


def rename(request: HttpRequest) -> HttpResponse:
    """A change of the database outside of all sockets, which those hear of who observe it."""
    group = Group.objects.get(name=request.GET["old"])
    group.name = request.GET["new"]
    group.save()
    return HttpResponse()


def counter(request: HttpRequest) -> HttpResponse:
    return render(request, "counter.html")


def worlds(request: HttpRequest) -> JsonResponse:
    """Whose the modules are, and whether there is one of each."""
    found: dict[str, Any] = {name: sys.modules[name].__name__ for name in ("channels", "channels.layers")}
    if "fullduplex.channels" in sys.modules:
        from channels.consumer import AsyncConsumer

        import fullduplex.channels.generic.websocket as ours
        from fullduplex.layers.channels import get_channel_layer as our_layer

        found["one layer"] = get_channel_layer() is our_layer()
        found["one class"] = issubclass(ours.AsyncWebsocketConsumer, AsyncConsumer)
    return JsonResponse(found)

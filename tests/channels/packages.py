"""A project that uses public packages built on Channels. Run by ``test_packages``, their imports changed.

Prints what clients of its sockets got, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command

settings.configure(
    SECRET_KEY="tests",
    USE_TZ=True,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "project.sqlite3"}},
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
    INSTALLED_APPS=[
        "fullduplex",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "rest_framework",
        "django_private_chat2",
    ],
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
)
django.setup()

import strawberry  # noqa: E402
from channelsmultiplexer import AsyncJsonWebsocketDemultiplexer  # noqa: E402
from django.contrib.auth.models import Group, User  # noqa: E402
from django.test import Client  # noqa: E402
from django.urls import path  # noqa: E402
from django_private_chat2.consumers import ChatConsumer  # noqa: E402
from djangochannelsrestframework.decorators import action  # noqa: E402
from djangochannelsrestframework.generics import GenericAsyncAPIConsumer  # noqa: E402
from djangochannelsrestframework.mixins import CreateModelMixin, ListModelMixin  # noqa: E402
from djangochannelsrestframework.observer import model_observer  # noqa: E402
from rest_framework import permissions, serializers  # noqa: E402
from strawberry.channels import GraphQLProtocolTypeRouter  # noqa: E402
from strawberry.channels.testing import GraphQLWebsocketCommunicator  # noqa: E402

from fullduplex.channels.auth import AuthMiddlewareStack  # noqa: E402
from fullduplex.channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402
from fullduplex.channels.layers import get_channel_layer  # noqa: E402
from fullduplex.channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from fullduplex.channels.testing import HttpCommunicator, WebsocketCommunicator  # noqa: E402
from fullduplex.layers import allow_in_process  # noqa: E402

# djangochannelsrestframework ---------------------------------------------------------------------


class GroupSerializer(serializers.ModelSerializer):
    class Meta:
        model = Group
        fields = ("id", "name")


class GroupConsumer(ListModelMixin, CreateModelMixin, GenericAsyncAPIConsumer):
    """REST over a socket, and news of the model to all who asked."""

    queryset = Group.objects.all()
    serializer_class = GroupSerializer
    permission_classes = (permissions.AllowAny,)

    @model_observer(Group)
    async def changed(self, message: Any, observer: Any = None, **kwargs: Any) -> None:
        await self.send_json(message)

    @changed.serializer
    def changed(self, instance: Group, action: Any, **kwargs: Any) -> dict[str, Any]:
        return {"news": action.value, "name": instance.name}

    @action()
    async def subscribe(self, **kwargs: Any) -> tuple[dict[str, Any], int]:
        await self.changed.subscribe()
        return {}, 201


async def rest() -> dict[str, Any]:
    result: dict[str, Any] = {}
    writer = WebsocketCommunicator(GroupConsumer.as_asgi(), "/")
    reader = WebsocketCommunicator(GroupConsumer.as_asgi(), "/")
    for communicator in (writer, reader):
        await communicator.connect()
    await reader.send_json_to({"action": "subscribe", "request_id": 1})
    result["subscribed"] = (await reader.receive_json_from())["response_status"]
    await writer.send_json_to({"action": "create", "data": {"name": "editors"}, "request_id": 2})
    result["created"] = (await writer.receive_json_from())["data"]
    result["news"] = await reader.receive_json_from()
    await writer.send_json_to({"action": "list", "request_id": 3})
    result["list"] = (await writer.receive_json_from())["data"]
    for communicator in (writer, reader):
        await communicator.disconnect()
    return result


# channelsmultiplexer -----------------------------------------------------------------------------


class Upper(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json(content.upper())


class Reverse(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json(content[::-1])


class Streams(AsyncJsonWebsocketDemultiplexer):
    applications = {"upper": Upper.as_asgi(), "reverse": Reverse.as_asgi()}  # noqa: RUF012


async def multiplexer() -> dict[str, Any]:
    result: dict[str, Any] = {}
    streams = WebsocketCommunicator(Streams.as_asgi(), "/")
    await streams.connect()
    for stream in ("upper", "reverse"):
        await streams.send_json_to({"stream": stream, "payload": "hello"})
        result[stream] = await streams.receive_json_from()
    await streams.disconnect()
    return result


# django-private-chat2 ----------------------------------------------------------------------------

chat_application = ProtocolTypeRouter(
    {"websocket": AuthMiddlewareStack(URLRouter([path("chat_ws", ChatConsumer.as_asgi())]))}
)


def cookie_of(user: User) -> tuple[bytes, bytes]:
    client = Client()
    client.force_login(user)
    return b"cookie", f"sessionid={client.cookies['sessionid'].value}".encode()


async def chat(cookies: list[tuple[bytes, bytes]], grace_pk: int) -> dict[str, Any]:
    """Ada writes to Grace, who reads it."""
    text, read = 3, 6
    stranger = WebsocketCommunicator(chat_application, "/chat_ws")
    result: dict[str, Any] = {"stranger": await stranger.connect()}
    ada, grace = (WebsocketCommunicator(chat_application, "/chat_ws", headers=[cookie]) for cookie in cookies)
    for communicator in (ada, grace):
        await communicator.connect()
    await ada.send_json_to({"msg_type": text, "text": "hello", "user_pk": str(grace_pk), "random_id": -1})
    result["grace"] = [await grace.receive_json_from() for _ in range(3)]
    result["ada"] = [await ada.receive_json_from()]
    sent = result["ada"][0]["db_id"]
    await grace.send_json_to({"msg_type": read, "user_pk": result["grace"][0]["sender"], "message_id": sent})
    result["ada"].append(await ada.receive_json_from())
    result["grace"].append(await grace.receive_json_from())
    for communicator in (ada, grace):
        await communicator.disconnect()
    return result


# strawberry-graphql ------------------------------------------------------------------------------


@strawberry.type
class Query:
    hello: str = "world"


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def say(self, text: str) -> bool:
        await get_channel_layer().group_send("news", {"type": "news.item", "text": text})
        return True


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def news(self, info: strawberry.Info) -> AsyncGenerator[str, None]:
        async with info.context["ws"].listen_to_channel("news.item", groups=["news"]) as messages:
            yield "listening"
            async for message in messages:
                yield message["text"]


graphql_application = GraphQLProtocolTypeRouter(strawberry.Schema(Query, Mutation, Subscription))


async def graphql() -> list[str]:
    """What a subscription over a socket says of a mutation over HTTP."""
    async with GraphQLWebsocketCommunicator(graphql_application, "/graphql") as client:
        said = []
        async for answer in client.subscribe("subscription { news }"):
            said.append(answer.data["news"])
            if len(said) > 1:
                break
            body = json.dumps({"query": 'mutation { say(text: "it works") }'}).encode()
            headers = [(b"content-type", b"application/json")]
            response = await HttpCommunicator(graphql_application, "POST", "/graphql", body, headers).get_response()
            said.append(json.loads(response["body"])["data"]["say"])
    return said


async def main(cookies: list[tuple[bytes, bytes]], grace_pk: int) -> dict[str, Any]:
    return {**await rest(), **await multiplexer(), "chat": await chat(cookies, grace_pk), "graphql": await graphql()}


if __name__ == "__main__":
    allow_in_process("this is the only process")
    call_command("migrate", verbosity=0)
    people = [User.objects.create_user(name) for name in ("ada", "grace")]
    cookies = [cookie_of(person) for person in people]
    print(json.dumps({**asyncio.run(main(cookies, people[1].pk)), "original": "channels" in sys.modules}))

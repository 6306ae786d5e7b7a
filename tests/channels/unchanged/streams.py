"""Consumers of channelsmultiplexer and of strawberry-graphql."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import strawberry
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.layers import get_channel_layer
from channelsmultiplexer import AsyncJsonWebsocketDemultiplexer
from strawberry.channels import GraphQLWSConsumer


class Upper(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json(content.upper())


class Reverse(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json(content[::-1])


class Streams(AsyncJsonWebsocketDemultiplexer):
    applications = {"upper": Upper.as_asgi(), "reverse": Reverse.as_asgi()}  # noqa: RUF012


@strawberry.type
class Query:
    hello: str = "world"


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def say(self, text: str) -> bool:
        await get_channel_layer().group_send("said", {"type": "said", "text": text})
        return True


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def said(self, info: strawberry.Info) -> AsyncGenerator[str, None]:
        async with info.context["ws"].listen_to_channel("said", groups=["said"]) as messages:
            yield "listening"
            async for message in messages:
                yield message["text"]


strawberry_consumer = GraphQLWSConsumer.as_asgi(schema=strawberry.Schema(Query, Mutation, Subscription))

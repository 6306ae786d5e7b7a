"""A subscription of django-channels-graphql-ws-next, whose package is ``channels_graphql_ws``."""

from __future__ import annotations

from typing import Any

import channels_graphql_ws
import graphene


class OnSaid(channels_graphql_ws.Subscription):
    text = graphene.String()

    class Arguments:
        room = graphene.String(required=True)

    @staticmethod
    def subscribe(root: Any, info: Any, room: str) -> list[str]:
        return [room]

    @staticmethod
    def publish(payload: dict[str, str], info: Any, room: str) -> OnSaid:
        return OnSaid(text=payload["text"])


class Say(graphene.Mutation):
    ok = graphene.Boolean()

    class Arguments:
        room = graphene.String(required=True)
        text = graphene.String(required=True)

    @staticmethod
    async def mutate(root: Any, info: Any, room: str, text: str) -> Say:
        await OnSaid.broadcast(group=room, payload={"text": text})
        return Say(ok=True)


class Query(graphene.ObjectType):
    hello = graphene.String(default_value="world")


class Mutation(graphene.ObjectType):
    say = Say.Field()


class Subscription(graphene.ObjectType):
    on_said = OnSaid.Field()


class GraphConsumer(channels_graphql_ws.GraphqlWsConsumer):
    schema = graphene.Schema(query=Query, mutation=Mutation, subscription=Subscription)
    confirm_subscriptions = True

"""A client of endpoints, for asyncio: tests, services, scripts. It needs no Django.

::

    async with connect("wss://example.com/realtime/") as client:
        room = client.subscribe("chat.1")
        await client.publish("chat.1", {"text": "hello"})
        async for event in room:
            match event:
                case Message(data=data):
                    ...
                case Subscribed(recovered=False) | Gap():
                    ...                                 # fetch the state anew

It reconnects by itself, goes on where it was, and drops what comes twice.
"""

from fullduplex.client.client import Client, connect
from fullduplex.client.errors import ClientClosed, RequestFailed
from fullduplex.client.messages import Event, Gap, Message, Position, Subscribed
from fullduplex.client.subscription import Subscription

__all__ = [
    "Client",
    "ClientClosed",
    "Event",
    "Gap",
    "Message",
    "Position",
    "RequestFailed",
    "Subscribed",
    "Subscription",
    "connect",
]

"""What a consumer is: an object per connection, whose methods are named for the types of what comes in.

``{"type": "chat.message"}`` from the channel layer calls ``chat_message(event)``, ``websocket.receive`` from the
client ``websocket_receive(event)``. One handler runs at a time, in order for each source. It is an ASGI
application, and needs no handler of ours.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, ClassVar

from asgiref.sync import (
    AsyncToSync,
    SyncToAsync,
    async_to_sync,
    markcoroutinefunction,
    sync_to_async,
)
from django.http import HttpRequest

from fullduplex.asgi import Receive, Scope, Send
from fullduplex.exceptions import StopConsumer
from fullduplex.layers import note_serving
from fullduplex.layers.channels import DEFAULT_CHANNEL_LAYER, get_channel_layer
from fullduplex.threads.context import current_lease, enter_lease

Message = dict[str, Any]
Source = Callable[[], Awaitable[Any]]
Dispatch = Callable[[Any], Awaitable[None]]
#: An ASGI application that ``path()`` takes as a view, too, as the routes of URLRouter are written.
Routable = Callable[..., Coroutine[Any, Any, Any]]


def get_handler_name(message: Message) -> str:
    """Return the name of the method for a message: its type, with ``_`` for ``.``.

    Raises:
        ValueError: it has no type, or one that names something private.
    """
    if "type" not in message:
        raise ValueError("Incoming message has no 'type' attribute")
    name: str = message["type"].replace(".", "_")
    if name.startswith("_"):
        raise ValueError("Malformed type in message (leading underscore)")
    return name


async def await_many_dispatch(consumer_callables: Sequence[Source], dispatch: Dispatch) -> None:
    """Await all sources, and dispatch one after the other what they return, until something raises."""
    if len(consumer_callables) == 1:
        while True:
            await dispatch(await consumer_callables[0]())
    tasks = {asyncio.ensure_future(source()): source for source in consumer_callables}
    try:
        while True:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task, source in tuple(tasks.items()):
                if task.done():
                    del tasks[task]
                    await dispatch(task.result())
                    tasks[asyncio.ensure_future(source())] = source
    except GeneratorExit:  # its loop has been closed: nothing can be awaited any more
        tasks.clear()
        raise
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)


class AsyncConsumer:
    """Calls its ``async`` methods for messages of the client and of the channel layer.

    Attributes:
        scope: the ASGI scope of the connection.
        channel_layer: the layer, or None without one.
        channel_name: this consumer's own channel on it.
    """

    _sync: ClassVar[bool] = False
    fullduplex_socket: ClassVar[bool] = True
    #: For routers that take applications: an object is one.
    fullduplex_asgi: ClassVar[bool] = True

    channel_layer_alias: str = DEFAULT_CHANNEL_LAYER
    scope: Scope
    channel_layer: Any = None
    channel_name: str
    channel_receive: Source
    base_send: Callable[[Any], Any]
    _executor: Any = None

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if args:
            refuse_wrong_call(cls, args[0])
        return super().__new__(cls)

    async def __call__(self, scope: Scope, receive: Receive = ..., send: Send = ..., **captured: Any) -> None:  # type: ignore[assignment]
        """Serve one ASGI connection, to its end."""
        refuse_wrong_call(type(self), scope, called="()")
        self.scope = scope
        self._executor = getattr(AsyncToSync.executors, "current", None)
        if self._has_thread():
            await self._serve(receive, send)
            return
        lease = enter_lease(is_bound=scope.get("type") == "http")
        try:
            await self._serve(receive, send)
        finally:
            self._restore_executor()
            if lease is not None:
                lease.end()

    async def dispatch(self, message: Message) -> None:
        """Call the handler for a message.

        Raises:
            ValueError: there is none.
        """
        await self._handler(message)(message)

    async def send(self, message: Message) -> None:
        """Send an ASGI event to the client."""
        await self.base_send(message)

    @classmethod
    def as_asgi(cls, **initkwargs: Any) -> Routable:
        """Return an ASGI application that makes a consumer for each connection, with ``initkwargs``."""

        async def app(scope: Scope, receive: Receive | None = None, send: Send | None = None, **captured: Any) -> None:
            refuse_wrong_call(cls, scope, called=".as_asgi()")
            consumer = cls(**initkwargs)
            await consumer(scope, receive, send)

        app.consumer_class = cls  # type: ignore[attr-defined]
        app.consumer_initkwargs = initkwargs  # type: ignore[attr-defined]
        app.fullduplex_socket = app.fullduplex_asgi = True  # type: ignore[attr-defined]
        return functools.update_wrapper(app, cls, updated=())

    # Inside ----------------------------------------------------------------------------------

    async def _serve(self, receive: Receive, send: Send) -> None:
        sources: list[Source] = [receive]
        note_serving((self.scope.get("state") or {}).get("fullduplex.worker_count"))
        layer = self.channel_layer = get_channel_layer(self.channel_layer_alias)
        if layer is not None:
            self.channel_name = await layer.new_channel()
            if hasattr(layer, "watch_gaps") and hasattr(self, "channel_layer_gap"):
                layer.watch_gaps(self.channel_name)
            self.channel_receive = functools.partial(layer.receive, self.channel_name)
            sources.append(self.channel_receive)
        self.base_send = async_to_sync(_coroutine_function(send)) if self._sync else send
        try:
            await self._dispatch_all(sources)
        except StopConsumer:
            pass
        finally:
            if hasattr(layer, "discard_channel"):
                await layer.discard_channel(self.channel_name)

    async def _dispatch_all(self, sources: Sequence[Source]) -> None:
        await await_many_dispatch(sources, self.dispatch)

    def _handler(self, message: Message) -> Callable[[Message], Any]:
        handler: Callable[[Message], Any] | None = getattr(self, get_handler_name(message), None)
        if handler is None:
            raise ValueError(f"No handler for message type {message['type']}")
        return handler

    def _restore_executor(self) -> None:
        """Sync code that is cancelled while it awaits leaves the executor of that wait behind, which has ended."""
        AsyncToSync.executors.current = self._executor

    def _has_thread(self) -> bool:
        """Whether somebody has provided for the sync code of this connection: our handler, or a test."""
        lease = current_lease()
        if lease is not None:
            return not lease.ended
        return SyncToAsync.thread_sensitive_context.get(None) is not None or self._executor is not None


# Django then calls what stands in ``path()`` by mistake, class or object, on the loop, and hears what is wrong with it.
markcoroutinefunction(AsyncConsumer)


class SyncConsumer(AsyncConsumer):
    """Calls its methods in a thread: those of one connection in order, those of different ones at the same time."""

    _sync: ClassVar[bool] = True

    async def dispatch(self, message: Message) -> None:
        await sync_to_async(self._handler(message))(message)

    def send(self, message: Message) -> None:  # type: ignore[override]
        self.base_send(message)


def _coroutine_function(send: Send) -> Callable[[Message], Coroutine[Any, Any, None]]:
    """What ``async_to_sync`` takes; a server's ``send`` may be anything that returns an awaitable."""

    async def send_event(event: Message) -> None:
        await send(event)

    return send_event


def refuse_wrong_call(consumer: type, argument: object, called: str = "") -> None:
    """Tell those who pass a consumer as it is to ``path()``, a router or a server.

    Raises:
        TypeError: ``argument`` is a request, or a scope where it should be none.
    """
    name = consumer.__name__
    advice = f"{name}.as_view() in the URLconf, {name}.as_asgi() in URLRouter and ProtocolTypeRouter"
    if isinstance(argument, HttpRequest):
        raise TypeError(f"{name}{called} is no view. Pass {advice}.")
    if not called and isinstance(argument, dict) and "type" in argument:
        raise TypeError(f"{name} is a class, and no ASGI application. Pass {advice}.")

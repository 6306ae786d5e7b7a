"""Consumers for WebSockets: classes with ``connect``, ``receive`` and ``disconnect``, sync and async.

::

    class ChatConsumer(AsyncJsonWebsocketConsumer):
        groups = ["lobby"]

        async def receive_json(self, content):
            await self.channel_layer.group_send("lobby", {"type": "chat.message", "text": content["text"]})

        async def chat_message(self, event):
            await self.send_json({"text": event["text"]})

    urlpatterns = [path("ws/chat/", ChatConsumer.as_view())]

The API is that of Channels. ``disconnect()`` runs once for each consumer that began to connect, however it ends.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from asgiref.sync import async_to_sync
from django.core.serializers.json import DjangoJSONEncoder

from fullduplex.asgi import Event, Receive, Send
from fullduplex.conf import get_settings
from fullduplex.exceptions import (
    AcceptConnection,
    DenyConnection,
    Disconnected,
    InvalidChannelLayerError,
    RemoteProtocolError,
    StopConsumer,
)
from fullduplex.realtime.hub import GAP
from fullduplex.realtime.prepared import prepare
from fullduplex.sockets.consumer import AsyncConsumer, Message, Source, SyncConsumer, await_many_dispatch
from fullduplex.sockets.served import serve_socket
from fullduplex.sockets.views import View, websocket
from fullduplex.sockets.websocket import WebSocket

logger = logging.getLogger("fullduplex.sockets")

#: Of an accept: by name, or as pairs, where one name may come twice.
Headers = Mapping[Any, Any] | Iterable[tuple[Any, Any]]

_NO_LAYER = (
    "BACKEND is unconfigured or doesn't support groups of consumers: several workers need one on Redis for them, and a "
    "single one that keeps a HISTORY needs that or the in-process one. The local layer has sockets alone"
)


class InvalidMessage(RemoteProtocolError, ValueError):
    """The client sent something that is no JSON; a view closes with its code, and nothing is logged as an error."""


class _Socket(AsyncConsumer):
    """What the sync and the async consumers share.

    Attributes:
        groups: names of groups that it joins before ``connect`` and leaves at its end.
    """

    groups: Sequence[str] | None = None
    _accepted: bool = False
    _held: list[Message] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if self.groups is None:
            self.groups = []

    @classmethod
    def as_view(cls, **initkwargs: Any) -> View[...]:
        """Return a view for the URLconf, which makes a consumer for each socket, with ``initkwargs``.

        The handshake goes through the middleware, as with ``@websocket``, and decorators such as ``login_required``
        apply. The scope has ``url_route``, ``cookies``, and of the request ``session`` and ``user``.
        """

        async def view(socket: WebSocket, *args: Any, **kwargs: Any) -> None:
            await serve_socket(cls(**initkwargs), socket, args, kwargs, defer_accept=cls._sync)

        view = functools.update_wrapper(view, cls, updated=())
        del view.__wrapped__
        socket_view = websocket(view)
        socket_view.consumer_class = cls  # type: ignore[attr-defined]
        socket_view.consumer_initkwargs = initkwargs  # type: ignore[attr-defined]
        return socket_view

    async def _serve(self, receive: Receive, send: Send) -> None:
        """Serve, and let what groups brought before the accept follow it."""

        async def noting_send(event: Event) -> None:
            await send(event)
            if event["type"] == "websocket.accept":
                self._accepted = True
                held, self._held = self._held, None
                for message in held or ():
                    await send(_send_event(message.get("text"), message.get("bytes")))

        await super()._serve(receive, noting_send)

    def _hold(self, message: Message) -> bool:
        """Keep a message of a group for after the accept, which it must not bring about; False when that was.

        Raises:
            RuntimeError: too much waits for it.
        """
        if self._accepted:
            return False
        self._held = [*(self._held or ()), message]
        most_bytes = get_settings().outbox_max_bytes
        if sum(prepare(_data(held)).size_bytes for held in self._held) > most_bytes:
            raise RuntimeError(f"More than OUTBOX_MAX_BYTES, {most_bytes}, came from groups before accept().")
        return True

    async def _dispatch_all(self, sources: Sequence[Source]) -> None:
        """See to it that the end is dispatched, too: a ``websocket.disconnect``, whoever it comes from."""
        began = ended = False

        async def dispatch(message: Message) -> None:
            nonlocal began, ended
            began = True
            ended = ended or message.get("type") == "websocket.disconnect"
            await self.dispatch(message)

        try:
            await await_many_dispatch(sources, dispatch)
        except BaseException as error:
            if began and not ended and not isinstance(error, GeneratorExit):
                await self._disconnect_after(error)
            raise

    async def _disconnect_after(self, error: BaseException) -> None:
        """The consumer ended before its client: what ``disconnect()`` raises then is logged, and ``error`` goes on."""
        message = {"type": "websocket.disconnect", "code": _code_of(error), "reason": ""}
        self._restore_executor()
        try:
            async with asyncio.timeout(get_settings().disconnect_grace_s):
                await self.dispatch(message)
        except StopConsumer:
            pass
        except Exception as failure:
            if failure.__context__ is error:
                failure.__context__ = None  # which is told elsewhere
            logger.exception("disconnect() of %s failed, after %s", type(self).__name__, type(error).__name__)


def _code_of(error: BaseException) -> int:
    """Return the close code for ``disconnect()``, when the consumer has not been told one by the client."""
    if isinstance(error, Disconnected):
        return error.code
    if isinstance(error, RemoteProtocolError):
        return error.close_code
    if isinstance(error, StopConsumer):
        return 1000
    return 1006 if isinstance(error, (OSError, asyncio.CancelledError)) else 1011


def _accept_event(subprotocol: str | None, headers: Headers | None) -> Message:
    message: Message = {"type": "websocket.accept", "subprotocol": subprotocol}
    if headers:
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        message["headers"] = [_field(pair) for pair in pairs]
    return message


def _send_event(text_data: str | None, bytes_data: bytes | None) -> Message:
    if text_data is not None:
        return {"type": "websocket.send", "text": text_data}
    if bytes_data is not None:
        return {"type": "websocket.send", "bytes": bytes_data}
    raise ValueError("You must pass one of bytes_data or text_data")


def _data(message: Message) -> str | bytes:
    text: str | None = message.get("text")
    return text if text is not None else bytes(message["bytes"])


def _close_event(code: int | bool | None, reason: str | None) -> Message:
    message: Message = {"type": "websocket.close"}
    if code is not None and code is not True:
        message["code"] = code
    if reason:
        message["reason"] = reason
    return message


def _field(pair: Any) -> Any:
    """Return a name and a value as an accept carries them; what is so already as it was given, as Channels does."""
    name, value = pair
    field = (_bytes(name).lower(), _bytes(value))
    return pair if tuple(pair) == field else field


def _bytes(text: Any) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode("latin-1")


class WebsocketConsumer(SyncConsumer, _Socket):
    """A synchronous consumer: its methods run in a thread, one message at a time."""

    def connect(self) -> None:
        """The handshake is here: :meth:`accept`, :meth:`close`, or do so later."""
        self.accept()

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """A message of the client is here."""

    def disconnect(self, code: int) -> None:
        """The socket is over; nothing can be sent any more."""

    def accept(self, subprotocol: str | None = None, headers: Headers | None = None) -> None:
        super().send(_accept_event(subprotocol, headers))

    def send(  # type: ignore[override]
        self, text_data: str | None = None, bytes_data: bytes | None = None, close: bool | int = False
    ) -> None:
        """Send a text or a binary message, and then perhaps close, with a code or without."""
        super().send(_send_event(text_data, bytes_data))
        if close:
            self.close(close)

    def close(self, code: int | bool | None = None, reason: str | None = None) -> None:
        """Close the socket; before it is accepted, refuse it."""
        super().send(_close_event(code, reason))

    def websocket_send(self, message: Message) -> None:
        """Something was sent to a group of this consumer with :class:`fullduplex.Group`: it goes to the client."""
        if not self._hold(message):
            self.send(text_data=message.get("text"), bytes_data=message.get("bytes"))

    def channel_layer_gap(self, message: Message) -> None:
        """Messages to ``message["groups"]`` may be missing: the broker was lost, and is back. What happens says
        ``GAP_POLICY``; override it to do better."""
        if get_settings().gap_policy == "disconnect":
            self.close(GAP, "messages may be missing")
        elif get_settings().gap_message:
            self.send(get_settings().gap_message)

    def websocket_connect(self, message: Message) -> None:
        try:
            for group in self.groups or ():
                async_to_sync(self.channel_layer.group_add)(group, self.channel_name)
        except AttributeError:
            raise InvalidChannelLayerError(_NO_LAYER) from None
        try:
            self.connect()
        except AcceptConnection:
            self.accept()
        except DenyConnection:
            self.close()

    def websocket_receive(self, message: Message) -> None:
        if message.get("text") is not None:
            self.receive(text_data=message["text"])
        else:
            self.receive(bytes_data=message["bytes"])

    def websocket_disconnect(self, message: Message) -> None:
        try:
            for group in self.groups or ():
                async_to_sync(self.channel_layer.group_discard)(group, self.channel_name)
        except AttributeError:
            raise InvalidChannelLayerError(_NO_LAYER) from None
        finally:
            self.disconnect(message.get("code", 1005))
        raise StopConsumer


class AsyncWebsocketConsumer(_Socket):
    """An asynchronous consumer."""

    async def connect(self) -> None:
        """The handshake is here: :meth:`accept`, :meth:`close`, or do so later."""
        await self.accept()

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """A message of the client is here."""

    async def disconnect(self, code: int) -> None:
        """The socket is over; nothing can be sent any more."""

    async def accept(self, subprotocol: str | None = None, headers: Headers | None = None) -> None:
        await super().send(_accept_event(subprotocol, headers))

    async def send(  # type: ignore[override]
        self, text_data: str | None = None, bytes_data: bytes | None = None, close: bool | int = False
    ) -> None:
        """Send a text or a binary message, and then perhaps close, with a code or without."""
        await super().send(_send_event(text_data, bytes_data))
        if close:
            await self.close(close)

    async def close(self, code: int | bool | None = None, reason: str | None = None) -> None:
        """Close the socket; before it is accepted, refuse it."""
        await super().send(_close_event(code, reason))

    async def websocket_send(self, message: Message) -> None:
        """Something was sent to a group of this consumer with :class:`fullduplex.Group`: it goes to the client."""
        if not self._hold(message):
            await self.send(text_data=message.get("text"), bytes_data=message.get("bytes"))

    async def channel_layer_gap(self, message: Message) -> None:
        """Messages to ``message["groups"]`` may be missing: the broker was lost, and is back. What happens says
        ``GAP_POLICY``; override it to do better."""
        if get_settings().gap_policy == "disconnect":
            await self.close(GAP, "messages may be missing")
        elif get_settings().gap_message:
            await self.send(get_settings().gap_message)

    async def websocket_connect(self, message: Message) -> None:
        try:
            for group in self.groups or ():
                await self.channel_layer.group_add(group, self.channel_name)
        except AttributeError:
            raise InvalidChannelLayerError(_NO_LAYER) from None
        try:
            await self.connect()
        except AcceptConnection:
            await self.accept()
        except DenyConnection:
            await self.close()

    async def websocket_receive(self, message: Message) -> None:
        if message.get("text") is not None:
            await self.receive(text_data=message["text"])
        else:
            await self.receive(bytes_data=message["bytes"])

    async def websocket_disconnect(self, message: Message) -> None:
        try:
            for group in self.groups or ():
                await self.channel_layer.group_discard(group, self.channel_name)
        except AttributeError:
            raise InvalidChannelLayerError(_NO_LAYER) from None
        finally:
            await self.disconnect(message.get("code", 1005))
        raise StopConsumer


class JsonWebsocketConsumer(WebsocketConsumer):
    """A synchronous consumer that speaks JSON in text messages."""

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any) -> None:
        """Decode a message.

        Raises:
            InvalidMessage: it is binary, or no JSON.
        """
        try:
            content = self.decode_json(_require_text(text_data))
        except (ValueError, RecursionError) as error:
            raise _invalid(error) from error
        self.receive_json(content, **kwargs)

    def receive_json(self, content: Any, **kwargs: Any) -> None:
        """A message of the client is here, decoded."""

    def send_json(self, content: Any, close: bool | int = False) -> None:
        super().send(text_data=self.encode_json(content), close=close)

    @classmethod
    def decode_json(cls, text_data: str) -> Any:
        return json.loads(text_data)

    @classmethod
    def encode_json(cls, content: Any) -> str:
        return json.dumps(content, cls=DjangoJSONEncoder)


class AsyncJsonWebsocketConsumer(AsyncWebsocketConsumer):
    """An asynchronous consumer that speaks JSON in text messages."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any) -> None:
        """Decode a message.

        Raises:
            InvalidMessage: it is binary, or no JSON.
        """
        try:
            content = await self.decode_json(_require_text(text_data))
        except (ValueError, RecursionError) as error:
            raise _invalid(error) from error
        await self.receive_json(content, **kwargs)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """A message of the client is here, decoded."""

    async def send_json(self, content: Any, close: bool | int = False) -> None:
        await super().send(text_data=await self.encode_json(content), close=close)

    @classmethod
    async def decode_json(cls, text_data: str) -> Any:
        return json.loads(text_data)

    @classmethod
    async def encode_json(cls, content: Any) -> str:
        return json.dumps(content, cls=DjangoJSONEncoder)


def _require_text(text_data: str | None) -> str:
    if text_data is None:
        raise InvalidMessage("No text section for incoming WebSocket frame!", close_code=1003)
    return text_data


def _invalid(error: Exception) -> InvalidMessage:
    if isinstance(error, InvalidMessage):
        return error
    return InvalidMessage("a JSON message was expected", close_code=1007)

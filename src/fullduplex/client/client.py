"""A client: one connection at a time, and what outlives each of them: subscriptions, requests without an answer.

Tasks of a client::

    run ──┬─ dial, wait, dial again
          ├─ read     what the server says; it never waits for the application
          └─ write    what goes to the server, in order
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Callable
from functools import partial
from typing import Any

from fullduplex.client.connection import Connection, GetToken
from fullduplex.client.errors import STABLE_S, ClientClosed, LineLost, RequestFailed, passes, wait_s
from fullduplex.client.line import Dial, Line, dialer, pause
from fullduplex.client.messages import Position, position_of
from fullduplex.client.subscription import State, Subscription

logger = logging.getLogger("fullduplex.client")


def connect(url: str, **options: Any) -> Client:
    """Return a client for ``async with``, which opens the connection; :class:`Client` has the options."""
    return Client(url, **options)


class _Request:
    """A publish or a call that has no answer yet."""

    __slots__ = ("answer", "attempt", "is_sent", "message")

    def __init__(self, message: dict[str, Any]) -> None:
        self.message = message
        self.answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.is_sent = False
        self.attempt = 0

    @property
    def may_repeat(self) -> bool:
        return "key" in self.message


class Client:
    """A client of one endpoint.

    Args:
        url: ``ws://`` or ``wss://``.
        token: returns a token, where the endpoint takes them; asked before each connection and before it expires.
        on_status: called with ``connecting``, ``connected``, ``reconnecting`` and ``closed``.
        connect_timeout_s: of one attempt to connect, up to its welcome.
        max_buffer_bytes: of messages of one subscription that wait for the application.
        max_message_bytes: of one message of the server.
        max_waiting_count: requests that wait for their answer, or to be sent; above it ``publish`` and ``call`` wait.
        dial: opens a connection, in the place of a WebSocket to ``url``.
        options: of ``websockets.asyncio.client.connect``: ``additional_headers``, ``origin``, ``ssl``, ``proxy``.

    Attributes:
        status: as ``on_status`` was told last.
    """

    def __init__(
        self,
        url: str,
        *,
        token: GetToken | None = None,
        on_status: Callable[[str], None] | None = None,
        connect_timeout_s: float = 10.0,
        max_buffer_bytes: int = 4_194_304,
        max_message_bytes: int = 16_777_216,
        max_waiting_count: int = 1_000,
        dial: Dial | None = None,
        **options: Any,
    ) -> None:
        self.status = "closed"
        self._dial = dial or dialer(url, connect_timeout_s, max_message_bytes, options)
        self._get_token = token
        self._on_status = on_status
        self._connect_timeout_s = connect_timeout_s
        self._max_buffer_bytes = max_buffer_bytes
        self._places = asyncio.Semaphore(max_waiting_count)
        self._subscriptions: dict[str, Subscription] = {}
        self._requests: dict[_Request, None] = {}  # in order
        self._timers: set[asyncio.TimerHandle] = set()
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._opened: asyncio.Future[None] | None = None
        self._closed: ClientClosed | None = None

    async def __aenter__(self) -> Client:
        """Open the first connection, however many attempts that takes.

        Raises:
            ClientClosed: the server has refused it for good.
        """
        self._opened = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run())
        try:
            await asyncio.shield(self._opened)
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def subscribe(self, group: str, after: Position | None = None) -> Subscription:
        """Subscribe to a group, from a position on, or from now on.

        Raises:
            ValueError: there is a subscription to it already: share that one.
            ClientClosed: the client is closed.
        """
        if self._closed is not None:
            raise self._closed
        if group in self._subscriptions:
            raise ValueError(f"there is a subscription to {group!r} already")
        subscription = Subscription(self, group, after, self._max_buffer_bytes)
        self._subscriptions[group] = subscription
        self._send_subscribe(subscription)
        return subscription

    async def publish(
        self, group: str, data: dict[str, Any] | list[Any], *, key: str = "", timeout_s: float | None = 30.0
    ) -> Position | None:
        """Publish, and wait until the server has taken it; over a lost connection it is sent again.

        Args:
            key: idempotency key; empty: a random one. A group that keeps a history keeps a message once for each key.

        Returns:
            Its place in the history; None: the group keeps none.

        Raises:
            RequestFailed: the server refuses it.
            TimeoutError: no answer has come; whether it was published is unknown.
            ClientClosed: the client is closed.
        """
        message = {"type": "publish", "group": group, "data": data, "key": key or secrets.token_urlsafe(16)}
        return position_of(await self._ask(message, timeout_s))

    async def call(self, method: str, params: Any = None, *, timeout_s: float | None = 30.0) -> Any:
        """Call a method of the endpoint, and return its result.

        Raises:
            RequestFailed: the server refuses it; with the code ``lost`` the connection broke meanwhile.
            TimeoutError, ClientClosed: as of :meth:`publish`.
        """
        return (await self._ask({"type": "call", "method": method, "params": params}, timeout_s)).get("result")

    async def close(self) -> None:
        """Close the client; what waits for an answer gets none."""
        self._end(ClientClosed(1000))
        task, self._task = self._task, None
        connection = self._connection
        if connection is not None:
            await connection.close()
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    # Requests --------------------------------------------------------------------------------

    async def _ask(self, message: dict[str, Any], timeout_s: float | None) -> dict[str, Any]:
        async with asyncio.timeout(timeout_s), self._places:
            if self._closed is not None:
                raise self._closed
            request = _Request(message)
            self._requests[request] = None
            try:
                self._send_requests()
                return await request.answer
            finally:
                self._requests.pop(request, None)

    def _send_requests(self) -> None:
        """Send what waits, as far as the server admits."""
        connection = self._connection
        if connection is None:
            return
        for request in [*self._requests]:
            if not request.is_sent and not request.answer.done() and connection.has_room:
                request.is_sent = True
                connection.ask(request.message, partial(self._answered, request))

    def _answered(self, request: _Request, told: dict[str, Any]) -> None:
        if not request.answer.done():
            if told["type"] != "error":
                request.answer.set_result(told)
            elif request.may_repeat and passes(told["code"]):
                self._later(request.attempt, partial(self._repeat, request))
                request.attempt += 1
            else:
                request.answer.set_exception(RequestFailed(told["code"], told.get("message", "")))
        self._send_requests()

    def _repeat(self, request: _Request) -> None:
        request.is_sent = False
        self._send_requests()

    # Subscriptions ---------------------------------------------------------------------------

    def subscribe_again(self, subscription: Subscription) -> None:
        """The application has taken what waited."""
        subscription.state = State.WAITING
        self._send_subscribe(subscription)

    def pause(self, subscription: Subscription) -> None:
        """Too much waits for the application."""
        if self._connection is not None:
            self._connection.ask({"type": "unsubscribe", "group": subscription.group}, _ignore)

    async def end_subscription(self, subscription: Subscription) -> None:
        """The application has enough."""
        self._subscriptions.pop(subscription.group, None)
        was_asked = subscription.state in (State.ASKED, State.LIVE)
        subscription.end(None)
        if was_asked and self._connection is not None:
            await self._connection.answer_to({"type": "unsubscribe", "group": subscription.group})

    def _send_subscribe(self, subscription: Subscription) -> None:
        connection = self._connection
        if connection is None or subscription.state is not State.WAITING:
            return
        subscription.state = State.ASKED
        message: dict[str, Any] = {"type": "subscribe", "group": subscription.group}
        if subscription.position is not None:
            message["after"] = {"offset": subscription.position.offset, "epoch": subscription.position.epoch}
        connection.ask(message, partial(self._subscribe_answered, subscription))

    def _subscribe_answered(self, subscription: Subscription, told: dict[str, Any]) -> None:
        if subscription.state is not State.ASKED:
            return
        if told["type"] == "error":
            self._refused(subscription, told["code"], told.get("message", ""))
        else:
            subscription.take(told, 0)

    def _refused(self, subscription: Subscription, code: str, reason: str) -> None:
        """The server does not begin it, or has ended it: try again later where that may do."""
        if passes(code):
            subscription.state = State.FULL  # nothing is taken meanwhile
            self._later(subscription.attempt, partial(self._subscribe_later, subscription))
            subscription.attempt += 1
        else:
            self._subscriptions.pop(subscription.group, None)
            subscription.end(RequestFailed(code, reason))

    def _subscribe_later(self, subscription: Subscription) -> None:
        if self._subscriptions.get(subscription.group) is subscription and subscription.state is State.FULL:
            subscription.lost()
            self._send_subscribe(subscription)

    def _later(self, attempt: int, callback: Callable[[], None]) -> None:
        def call() -> None:
            self._timers.discard(timer)
            callback()

        timer = asyncio.get_running_loop().call_later(wait_s(attempt, random.random()), call)
        self._timers.add(timer)

    # Connections -----------------------------------------------------------------------------

    async def _run(self) -> None:
        """Connect, and connect again, until it is over."""
        attempt = 0
        self._tell("connecting")
        while True:
            try:
                await self._serve()
            except LineLost as error:
                lost = error
            connection, self._connection = self._connection, None
            self._note_loss()
            if lost.is_final:
                self._end(ClientClosed(lost.code, lost.reason))
                return
            if connection is not None and asyncio.get_running_loop().time() - connection.opened_s >= STABLE_S:
                attempt = 0
            self._tell("reconnecting")
            await pause(wait_s(attempt, random.random()))
            attempt += 1

    async def _serve(self) -> None:
        """Open one connection, and serve it to its end.

        Raises:
            LineLost: always.
        """
        line: Line | None = None
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                line = await self._dial()
                connection = Connection(line, self._told, self._make_room, self._get_token)
                await connection.open()
            self._connection = connection
            if self._opened is not None and not self._opened.done():
                self._opened.set_result(None)
            self._tell("connected")
            for subscription in [*self._subscriptions.values()]:
                self._send_subscribe(subscription)
            self._send_requests()
            await connection.run()
        except TimeoutError as error:
            raise LineLost(1006, "it took too long", False) from error
        except LineLost:
            raise
        except Exception as error:
            logger.exception("The connection to the endpoint failed")
            raise LineLost(1006, str(error), False) from error
        finally:
            if line is not None:
                line.abort()

    def _told(self, told: dict[str, Any], size_bytes: int) -> None:
        """What the server says of a group."""
        subscription = self._subscriptions.get(told["group"])
        if subscription is None:
            return
        if told["type"] == "unsubscribed":
            if subscription.state is State.LIVE:
                self._refused(subscription, told["code"], told.get("reason", ""))
        else:
            subscription.take(told, size_bytes)

    async def _make_room(self, group: str, size_bytes: int) -> None:
        subscription = self._subscriptions.get(group)
        if subscription is not None and not subscription.has_room(size_bytes):
            await subscription.make_room(size_bytes)

    def _note_loss(self) -> None:
        for subscription in self._subscriptions.values():
            subscription.lost()
        for request in [*self._requests]:
            if request.may_repeat:
                request.is_sent = False
            elif request.is_sent and not request.answer.done():
                request.answer.set_exception(RequestFailed("lost", "the connection broke, and it may be done or not"))

    def _end(self, closed: ClientClosed) -> None:
        if self._closed is not None:
            return
        self._closed = closed
        for timer in self._timers:
            timer.cancel()
        for subscription in self._subscriptions.values():
            subscription.end(None if closed.code == 1000 else closed)
        self._subscriptions.clear()
        for request in [*self._requests]:
            if not request.answer.done():
                request.answer.set_exception(closed)
        if self._opened is not None and not self._opened.done():
            self._opened.set_exception(closed)
            self._opened.exception()  # who opened it may have gone
        self._tell("closed")

    def _tell(self, status: str) -> None:
        self.status = status
        if self._on_status is not None:
            self._on_status(status)


def _ignore(told: dict[str, Any]) -> None:
    pass

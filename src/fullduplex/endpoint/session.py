"""One socket that speaks ``fullduplex.v1``.

One task reads. Each request that waits for something has a task of its own; those of one group follow one another.
All of them, and what they have begun, end with the socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from functools import partial
from typing import Any

from django.http import HttpResponse
from django.http.response import HttpResponseBase

from fullduplex.endpoint import answers, grammar
from fullduplex.endpoint.grammar import PROTOCOL
from fullduplex.endpoint.subscription import Subscription
from fullduplex.exceptions import Disconnected, RequestRefused
from fullduplex.realtime.outbox import Outbox
from fullduplex.realtime.prepared import Prepared
from fullduplex.sockets.views import refuse
from fullduplex.sockets.websocket import WebSocket

# Of requests of one client that wait for their answer: an eighth of what max_requests of the longest would have.
_MAX_PENDING_BYTES = 1_048_576

# A timer that comes so late was held up, and what the client sent meanwhile has not been read.
_LATE_S = 1.0

_PING = Prepared(grammar.PING)  # one frame for all


async def serve_socket(hooks: answers.Hooks, socket: WebSocket) -> HttpResponseBase | None:
    """Serve one socket to its end; return the refusal of its handshake."""
    if PROTOCOL not in socket.subprotocols:
        refuse(socket.request, f"it offers no subprotocol {PROTOCOL}")
        text = f"This address speaks the WebSocket subprotocol {PROTOCOL}: new WebSocket(url, [{PROTOCOL!r}]).\n"
        return HttpResponse(text, status=400, content_type="text/plain; charset=utf-8")
    refusal = await hooks.on_connect()
    if refusal is not None:
        return refusal
    session = Session(hooks, socket)
    hooks.serving = session
    try:
        await session.serve()
    finally:
        hooks.serving = None
        try:
            await session.stop()
        finally:  # who holds it up is cancelled with it
            await hooks.on_disconnect(socket.close_code or 1006)
    return None


class SocketWay:
    """The way to the client of one socket: its outbox. What it has not read when it is cut, it gets when it resumes."""

    __slots__ = ("_outbox", "deliver", "drained", "held_bytes", "piece_bytes", "turn")

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.deliver = outbox.deliver
        self.drained = outbox.drained
        self.held_bytes = 0
        self.piece_bytes = outbox.max_bytes // 4
        self.turn = asyncio.Lock()

    async def send_large(self, prepared: Prepared) -> None:
        await self.send(str(prepared.data))

    async def send(self, text: str) -> None:
        """Send something behind what was delivered; wait while the client reads more slowly than this side writes."""
        await self._outbox.send({"type": "websocket.send", "text": text})


class Session:
    """One client, from its welcome to its end."""

    def __init__(self, hooks: answers.Hooks, socket: WebSocket) -> None:
        self._loop = asyncio.get_running_loop()
        self._hooks = hooks
        self._socket = socket
        self._outbox = socket.outbox("disconnect")  # whatever was dropped could not be made up for
        self._way = SocketWay(self._outbox)
        self._subscriptions: dict[str, Subscription] = {}
        self._starting: set[str] = set()
        self._lines: dict[str, asyncio.Task[None]] = {}  # the last request of each group
        self._tasks: set[asyncio.Task[None]] = set()
        self._pending_bytes = 0
        self._last_id = 0
        self._authenticated = not hooks.takes_tokens
        self._token_count = 0  # that were accepted
        self._is_over = False
        self._heard_s = self._loop.time()
        self._heartbeat: asyncio.TimerHandle | None = None
        self._expiry: asyncio.TimerHandle | None = None

    @property
    def groups(self) -> list[str]:
        return list(self._subscriptions)

    async def serve(self) -> None:
        """Speak with the client until it leaves."""
        hooks = self._hooks
        await self._socket.accept(PROTOCOL)
        await self._way.send(answers.welcome(hooks))
        self._heard_s = self._loop.time()
        self._watch(self._heard_s + hooks.heartbeat_s)
        if hooks.takes_tokens:
            self._expiry = self._loop.call_later(
                hooks.heartbeat_s, self._outbox.cut, grammar.UNAUTHORIZED, "no valid token came in time"
            )
        try:
            async for message in self._socket:
                self._heard_s = self._loop.time()
                if not await self._take(message):
                    return
        except Disconnected:
            pass

    async def stop(self) -> None:
        """Leave nothing behind."""
        for timer in (self._heartbeat, self._expiry):
            if timer is not None:
                timer.cancel()
        for task in self._tasks:
            task.cancel()
        while self._subscriptions:  # in tasks of their own, which go on when this call is cancelled
            _, subscription = self._subscriptions.popitem()
            self._start(subscription.stop())
        if self._tasks:
            await asyncio.wait([*self._tasks])

    def end(self, group: str, code: str, reason: str) -> None:
        """End a subscription, and tell the client."""
        subscription = self._subscriptions.pop(group, None)
        if subscription is not None:
            self._way.deliver(Prepared(grammar.write(grammar.unsubscribed(group, code, reason))))
            self._start(subscription.stop())

    # What the client says ----------------------------------------------------------------------

    async def _take(self, text: str | bytes) -> bool:
        """Take one message; False when the connection is over for it."""
        if len(text) > self._hooks.max_message_bytes or (
            not text.isascii() and isinstance(text, str) and len(text.encode()) > self._hooks.max_message_bytes
        ):
            await self._socket.close(1009, "a message is longer than max_message_bytes")
            return False
        try:
            if isinstance(text, bytes):
                raise grammar.NotThisProtocol("a message is text")
            message = grammar.read_message(text)
        except grammar.NotThisProtocol as error:
            await self._socket.close(grammar.BAD_MESSAGE, str(error))
            return False
        kind = message["type"]
        if kind == "ping":
            await self._way.send(grammar.PONG)
        elif kind != "pong":
            await self._take_request(message, text)
        return True

    async def _take_request(self, message: dict[str, Any], text: str) -> None:
        size_bytes = len(text)
        request_id = grammar.read_id(message)
        try:
            if request_id is not None and request_id <= self._last_id:
                request_id = None
                raise RequestRefused("bad_request", "The `id` of a request is higher than those before it.")
            self._last_id = request_id or self._last_id
            request = grammar.read_request(message, request_id)
            grammar.check_text(text, message)
            self._admit(request, size_bytes)
        except RequestRefused as error:
            await self._way.send(grammar.write(grammar.error(request_id, error.code, error.message)))
            return
        self._pending_bytes += size_bytes
        if isinstance(request, grammar.Token):
            await self._answer(request, size_bytes, None)  # what follows depends on it
        elif isinstance(request, grammar.Call):
            self._start(self._answer(request, size_bytes, None))
        else:
            before = self._lines.get(request.group)
            self._lines[request.group] = self._start(self._answer(request, size_bytes, before))

    def _admit(self, request: grammar.Request, size_bytes: int) -> None:
        """
        Raises:
            RequestRefused: it may not be done now.
        """
        if isinstance(request, grammar.Token):
            return
        if not self._authenticated:
            raise RequestRefused("unauthorized", "A valid token comes first.")
        if len(self._tasks) >= self._hooks.max_requests or (
            self._tasks and self._pending_bytes + size_bytes > _MAX_PENDING_BYTES
        ):
            raise RequestRefused("limit", "Too many requests wait for their answer.")

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task: asyncio.Task[None] = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _answer(self, request: grammar.Request, size_bytes: int, before: asyncio.Task[None] | None) -> None:
        """Do what a request asks for, behind the one ``before``, and answer it."""
        try:
            if before is not None:
                await asyncio.wait({before})
            what = type(request).__name__.lower()
            text = await answers.answered(self._hooks, request.id, what, partial(self._do, request))
            if text is not None:
                await self._way.send(text)
        except Disconnected:
            pass  # who reads hears of it
        finally:
            self._pending_bytes -= size_bytes
            group = getattr(request, "group", None)
            if group is not None and self._lines.get(group) is asyncio.current_task():
                del self._lines[group]

    async def _do(self, request: grammar.Request) -> dict[str, Any] | None:
        match request:
            case grammar.Subscribe():
                await self._subscribe(request)
                return None
            case grammar.Unsubscribe():
                subscription = self._subscriptions.pop(request.group, None)
                if subscription is not None:
                    await subscription.stop()
                return {"type": "reply", "id": request.id}
            case grammar.Publish():
                return await answers.publish(self._hooks, request)
            case grammar.Call():
                return await answers.call(self._hooks, request)
            case grammar.Token():
                return await self._authenticate(request)

    async def _subscribe(self, request: grammar.Subscribe) -> None:
        """Begin a subscription, which tells the client itself: nothing may come between its answer and its messages."""
        group = request.group
        if group in self._subscriptions:
            raise RequestRefused("bad_request", f"This client subscribes to {group} already.")
        if len(self._subscriptions) + len(self._starting) >= self._hooks.max_groups:
            raise RequestRefused("limit", f"A client may subscribe to {self._hooks.max_groups} groups.")
        self._starting.add(group)
        token_count = self._token_count
        try:
            await answers.check_subscribe(self._hooks, group)
            subscription = Subscription(group, self._way, self._ended)
            await subscription.start(request.id, request.after)
        finally:
            self._starting.discard(group)
        if self._is_over:
            await subscription.stop()
            return
        self._subscriptions[group] = subscription
        if token_count != self._token_count:
            self._start(self._check_again([group]))

    async def _authenticate(self, request: grammar.Token) -> dict[str, Any]:
        expires_in_s = await answers.authenticate(self._hooks, request.token)
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        if expires_in_s is not None:
            self._expiry = self._loop.call_later(
                expires_in_s, self._outbox.cut, grammar.TOKEN_EXPIRED, "the token has expired"
            )
        self._authenticated = True
        self._token_count += 1
        await self._check_again(self.groups)
        return {"type": "reply", "id": request.id, "expires_in_s": expires_in_s}

    async def _check_again(self, groups: list[str]) -> None:
        """End those subscriptions that the token in force does not allow, and those of which that cannot be told."""
        try:
            while groups:
                check = partial(answers.check_again, self._hooks, groups[-1])
                refused = await answers.answered(self._hooks, None, "subscribe", check)
                group = groups.pop()
                if refused is not None:
                    error = grammar.read_message(refused)
                    self.end(group, error["code"], error["message"])
        finally:
            for group in groups:
                self.end(group, "timeout", "Whether the new token allows it is not known.")

    def _ended(self, subscription: Subscription, code: str, reason: str) -> None:
        """A subscription cannot go on."""
        if self._subscriptions.get(subscription.group) is subscription:
            self.end(subscription.group, code, reason)

    # The heartbeat ---------------------------------------------------------------------------

    def _watch(self, due_s: float) -> None:
        self._heartbeat = self._loop.call_at(due_s, self._beat, due_s)

    def _beat(self, due_s: float) -> None:
        """Ask a silent client for a sign of life, and end one that gives none."""
        now_s, heartbeat_s = self._loop.time(), self._hooks.heartbeat_s
        silent_s = now_s - self._heard_s
        if now_s - due_s > _LATE_S:
            self._watch(now_s + _LATE_S)
        elif silent_s >= 2 * heartbeat_s:
            self._outbox.cut(grammar.HEARTBEAT_LOST, "no sign of life")
        elif silent_s >= heartbeat_s:
            self._outbox.deliver(_PING)
            self._watch(self._heard_s + 2 * heartbeat_s)
        else:
            self._watch(self._heard_s + heartbeat_s)

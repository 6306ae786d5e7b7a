"""One connection of a client: its requests by their ids, its heartbeat, its token."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from fullduplex.client.errors import LineLost
from fullduplex.client.line import Line
from fullduplex.client.messages import BAD_MESSAGE, NotThisProtocol, read_message

logger = logging.getLogger("fullduplex.client")

UNAUTHORIZED = 4501

_LATE_S = 1.0  # a timer that comes so late was held up, and what has come meanwhile has not been read

GetToken = Callable[[], Awaitable[str]]
Told = dict[str, Any]


class Connection:
    """Speaks with a server over one line, from its welcome on.

    Args:
        on_told: gets what the server says of groups, with the length of it.
        make_room: is awaited before a message of so many bytes is taken for a group; nothing is read meanwhile.
        get_token: returns a token; None: there is none to be had.

    Attributes:
        opened_s: time of the loop when it could be used.
    """

    def __init__(
        self,
        line: Line,
        on_told: Callable[[Told, int], None],
        make_room: Callable[[str, int], Awaitable[None]],
        get_token: GetToken | None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._line = line
        self._on_told = on_told
        self._make_room = make_room
        self._get_token = get_token
        self._outgoing: asyncio.Queue[str] = asyncio.Queue()
        self._answers: dict[int, Callable[[Told], None]] = {}
        self._last_id = 0
        self._heard_s = self._loop.time()
        self._heartbeat_s = 0.0
        self._max_requests = 0
        self._max_message_bytes = 0
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._refreshing: asyncio.Task[None] | None = None
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self.opened_s = 0.0

    @property
    def has_room(self) -> bool:
        """Whether the server takes one more request."""
        return len(self._answers) < self._max_requests

    def ask(self, message: Told, on_answer: Callable[[Told], None]) -> None:
        """Send a request; ``on_answer`` gets the answer, unless the connection ends first."""
        self._last_id += 1
        text = json.dumps({**message, "id": self._last_id}, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        if len(text.encode()) > self._max_message_bytes:
            told = {"type": "error", "code": "too_large", "message": f"more than {self._max_message_bytes} bytes"}
            self._loop.call_soon(on_answer, told)
            return
        self._answers[self._last_id] = on_answer
        self._outgoing.put_nowait(text)

    async def answer_to(self, message: Told) -> Told | None:
        """Send a request and return the answer; None: the connection ended first."""
        answer: asyncio.Future[Told] = self._loop.create_future()
        self.ask(message, lambda told: None if answer.done() else answer.set_result(told))
        waited: set[asyncio.Future[Any]] = {answer, self._lost}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        return answer.result() if answer.done() else None

    async def open(self) -> None:
        """Hear the welcome, and send a token where one is wanted.

        Raises:
            LineLost: it ended before.
        """
        welcome = await self._read_or_refuse(await self._line.receive())
        if welcome["type"] != "welcome":
            raise await self._refuse("a welcome comes first")
        self._heartbeat_s = welcome["heartbeat_s"]
        self._max_requests, self._max_message_bytes = welcome["max_requests"], welcome["max_message_bytes"]
        if welcome.get("token"):
            await self._send_first_token()
        self.opened_s = self._heard_s = self._loop.time()

    async def run(self) -> None:
        """Serve it to its end.

        Raises:
            LineLost: always.
        """
        self._watch(self._heard_s + 2 * self._heartbeat_s)
        writer = self._loop.create_task(self._write())
        try:
            while True:
                text = await self._line.receive()
                self._heard_s = self._loop.time()
                told = await self._read_or_refuse(text)
                if told["type"] == "message":
                    await self._make_room(told["group"], len(text))
                self._take(told, len(text))
        finally:
            await self._stop(writer)

    async def close(self) -> None:
        """Close it politely."""
        await self._line.close(1000)

    def abort(self) -> None:
        self._line.abort()

    # What the server says ----------------------------------------------------------------------

    def _take(self, told: Told, size: int) -> None:
        kind = told["type"]
        if kind in ("reply", "error", "subscribed"):
            on_answer = self._answers.pop(told.get("id") or 0, None)
            if on_answer is not None:
                on_answer(told)
        elif kind == "ping":
            self._outgoing.put_nowait('{"type":"pong"}')
        elif kind in ("message", "gap", "unsubscribed"):
            self._on_told(told, size)

    async def _read_or_refuse(self, text: str | bytes) -> Told:
        try:
            return read_message(text)
        except NotThisProtocol as error:
            raise await self._refuse(str(error)) from error

    async def _refuse(self, reason: str) -> LineLost:
        await self._line.close(BAD_MESSAGE)
        return LineLost(BAD_MESSAGE, reason, True)

    async def _write(self) -> None:
        try:
            while True:
                await self._line.send(await self._outgoing.get())
        except LineLost:
            pass  # who reads hears of it

    async def _stop(self, writer: asyncio.Task[None]) -> None:
        if not self._lost.done():
            self._lost.set_result(None)
        for timer in self._timers.values():
            timer.cancel()
        tasks = {task for task in (writer, self._refreshing) if task is not None}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    # The heartbeat ---------------------------------------------------------------------------

    def _watch(self, due_s: float) -> None:
        self._timers["heartbeat"] = self._loop.call_at(due_s, self._look, due_s)

    def _look(self, due_s: float) -> None:
        """Give up a server that has been silent for too long."""
        now_s = self._loop.time()
        if now_s - due_s > _LATE_S:
            self._watch(now_s + _LATE_S)
        elif now_s - self._heard_s >= 2 * self._heartbeat_s:
            self._line.abort()
        else:
            self._watch(self._heard_s + 2 * self._heartbeat_s)

    # The token -------------------------------------------------------------------------------

    async def _send_first_token(self) -> None:
        if self._get_token is None:
            await self._line.close(1000)
            raise LineLost(UNAUTHORIZED, "the endpoint wants a token", True)
        self.ask({"type": "token", "token": await self._get_token()}, self._token_taken)
        await self._line.send(self._outgoing.get_nowait())
        while self._answers:
            told = await self._read_or_refuse(await self._line.receive())
            self._take(told, 0)
            if told["type"] == "error":
                await self._line.close(1000)
                raise LineLost(UNAUTHORIZED, told.get("message", ""), True)

    def _token_taken(self, told: Told) -> None:
        expires_in_s = told.get("expires_in_s")
        if told["type"] == "reply" and expires_in_s is not None:
            self._timers["token"] = self._loop.call_later(0.8 * expires_in_s, self._refresh)

    def _refresh(self) -> None:
        self._refreshing = self._loop.create_task(self._send_token())

    async def _send_token(self) -> None:
        """Send another token. Without one the server ends the connection, and the next one asks again."""
        assert self._get_token is not None
        try:
            self.ask({"type": "token", "token": await self._get_token()}, self._token_taken)
        except Exception:
            logger.exception("No new token could be had")

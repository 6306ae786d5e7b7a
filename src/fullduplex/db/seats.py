"""The database connections of one event loop: a bounded number of seats, one for each session that needs one now."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from fullduplex.conf import get_settings
from fullduplex.db import turns
from fullduplex.exceptions import ConnectionsExhausted
from fullduplex.threads.connections import are_clean, begin_thread, clean_connections, close_connections
from fullduplex.threads.waits import Waits

logger = logging.getLogger("fullduplex.handler")

KEPT_COUNT = 16  # idle seats that keep their connections; those above close theirs after IDLE_THREAD_S


class Seat:
    """One connection to each database, by alias: Django's wrappers, which connect when they are first used."""

    __slots__ = ("idle_since_s", "is_bound", "wrappers")

    def __init__(self, is_bound: bool) -> None:
        self.is_bound = is_bound
        self.wrappers: dict[str, Any] = {}
        self.idle_since_s = 0.0


class Seats:
    """The seats of one loop. Only code on that loop touches them.

    Attributes:
        taken_count: seats that sessions have, or that are being cleaned.
        waits: what waiting for one has cost.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.taken_count = 0
        self.waits = Waits()
        # Of requests, and of all others, which must see nothing that a request has told its database session.
        self._idle: dict[bool, list[Seat]] = {True: [], False: []}
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._cleaning: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        begin_thread()  # cursors that the server keeps are noted

    @property
    def idle_count(self) -> int:
        return len(self._idle[True]) + len(self._idle[False])

    @property
    def waiting_count(self) -> int:
        return len(self._waiting)

    async def take(self, is_bound: bool) -> Seat:
        """Return a seat, in the order of those that ask.

        Raises:
            ConnectionsExhausted: none became free in time.
        """
        settings = get_settings()
        if self._waiting or self.taken_count >= settings.connections_max_count:
            await self._wait(settings.threads_wait_s)
        else:
            self.taken_count += 1
        idle = self._idle[is_bound]
        if idle:
            return idle.pop()  # the one used last: few connections at low load
        others = self._idle[not is_bound]
        if others and self.taken_count + len(others) > settings.connections_max_count:
            self._close(others.pop(0))
        return Seat(is_bound)

    async def _wait(self, limit_s: float) -> None:
        """Wait until somebody passes his place on: ``taken_count`` stays as it is."""
        began_s = time.monotonic()
        turn: asyncio.Future[None] = self.loop.create_future()
        self._waiting.append(turn)
        timer = self.loop.call_later(limit_s, _expire, turn)
        try:
            await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._pass_on()  # it came at the same moment
            elif turn in self._waiting:
                self._waiting.remove(turn)
            if isinstance(error, ConnectionsExhausted):
                self.waits.exhausted_count += 1
                logger.error("%s All %d are taken (CONNECTIONS_MAX_COUNT).", error, self.taken_count)
            raise
        finally:
            timer.cancel()
            self.waits.note(time.monotonic() - began_s)

    def _pass_on(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.taken_count -= 1

    def give_back(self, seat: Seat, spoiled: bool = False) -> None:
        """Clean the seat for the next session, and let that have it. Most have nothing to be rolled back.

        Args:
            spoiled: nobody knows what its connections have been told: they are closed.
        """
        if spoiled:
            self._close(seat)
        if are_clean(seat.wrappers.values()):
            self._put_idle(seat)
            return
        try:
            turn, outcome = turns.begin(seat, clean_connections)
        except Exception:
            logger.exception("The connections of a session could not be cleaned")
            self._close(seat)
            turn = None
        if turn is None or turn.dead:
            self._put_idle(seat)
        else:
            task = self.loop.create_task(self._clean(seat, turn, outcome))
            self._cleaning.add(task)
            task.add_done_callback(self._cleaning.discard)

    async def _clean(self, seat: Seat, turn: turns.Turn, outcome: Any) -> None:
        try:
            await turns.finish(turn, outcome)
        except BaseException as error:
            self._close(seat)
            if not isinstance(error, Exception):
                raise
            logger.exception("The connections of a session could not be cleaned")
        finally:
            self._put_idle(seat)

    def put_moved(self, seat: Seat) -> None:
        """A thread has taken what the seat held, and left what it had itself, clean."""
        self._put_idle(seat)

    def _put_idle(self, seat: Seat) -> None:
        if seat.wrappers:
            seat.idle_since_s = time.monotonic()
            self._idle[seat.is_bound].append(seat)
            if self._timer is None and self.idle_count > KEPT_COUNT:
                self._timer = self.loop.call_later(get_settings().idle_thread_s, self._shrink)
        self._pass_on()

    def _shrink(self) -> None:
        """Close connections that a burst has left behind."""
        self._timer = None
        idle_s = get_settings().idle_thread_s
        before_s = time.monotonic() - idle_s
        for idle in self._idle.values():
            while idle and self.idle_count > KEPT_COUNT and idle[0].idle_since_s <= before_s:
                self._close(idle.pop(0))
        if self.idle_count > KEPT_COUNT:
            self._timer = self.loop.call_later(max(idle_s, 0.1), self._shrink)

    def _close(self, seat: Seat) -> None:
        """Close its connections, which does not wait for anything."""
        turns.begin(seat, close_connections)
        seat.wrappers = {}

    def begin(self) -> None:
        self._end = self._until_the_loop_ends()
        try:
            self._end.asend(None).send(None)
        except StopIteration:  # it has come to its yield
            pass

    async def _until_the_loop_ends(self) -> AsyncGenerator[None]:
        """Who runs a loop ends it with ``shutdown_asyncgens()``; nothing else tells that it is about to end."""
        try:
            yield
        finally:
            _seats.pop(self.loop, None)
            if self._timer is not None:
                self._timer.cancel()
            for idle in self._idle.values():
                while idle:
                    self._close(idle.pop())


def _expire(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_exception(ConnectionsExhausted("No connection became free within FULLDUPLEX['THREADS_WAIT_S']."))


def exchange(seat: Seat, thread: dict[str, Any]) -> None:
    """Give a thread what the seat holds, and the seat what the thread has of its own; in that thread.

    Args:
        thread: the attributes of asgiref's Local in it.
    """
    own = {alias: wrapper for alias, wrapper in thread.items() if isinstance(wrapper, BaseDatabaseWrapper)}
    for alias in own:
        del thread[alias]
    thread.update(seat.wrappers)
    seat.wrappers = own
    for wrapper in own.values():
        if not wrapper.allow_thread_sharing:
            wrapper.inc_thread_sharing()


_seats: dict[asyncio.AbstractEventLoop, Seats] = {}


def seats_of(loop: asyncio.AbstractEventLoop) -> Seats:
    """Return those of the running loop."""
    seats = _seats.get(loop)
    if seats is None:
        seats = _seats[loop] = Seats(loop)
        seats.begin()
    return seats

"""What one request or task has of the databases: its seat, and the order of its calls.

Django runs all sync code of a request in one thread: its calls come one after the other, and share one connection to
each database, whichever of the request's tasks makes them. A session keeps that without a thread. A request that gets a
thread after all, because sync code of another kind comes, takes its connections along, and stays in that thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from django.db.transaction import TransactionManagementError

from fullduplex.db import turns
from fullduplex.db.seats import Seat, Seats, exchange
from fullduplex.threads.calls import Call, call_on
from fullduplex.threads.connections import are_clean, clean_connections, has_open_query
from fullduplex.threads.lease import Lease

NEEDS_THREAD = object()


class Line:
    """Calls of one kind, one at a time, in order; calls for a thread among them are put to it when it is their turn."""

    __slots__ = ("_lease", "_waiting", "is_busy")

    def __init__(self, lease: Lease | None) -> None:
        self.is_busy = False
        self._lease = lease
        self._waiting: deque[asyncio.Future[None] | Call] = deque()

    async def enter(self) -> None:
        if not self.is_busy:
            self.is_busy = True
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except BaseException:
            if turn.cancelled():
                self._waiting.remove(turn)
            else:  # it came at the same moment
                self.leave()
            raise

    def defer(self, call: Call) -> None:
        self._waiting.append(call)

    def leave(self) -> None:
        while self._waiting:
            following = self._waiting.popleft()
            if isinstance(following, asyncio.Future):
                if not following.done():
                    following.set_result(None)
                    return
            elif self._lease is not None:
                self._lease.pool.run(self._lease, following)
        self.is_busy = False


class Inside:
    """Async code that is part of a turn: that waits for it, or is an ``aatomic`` block. So are its calls."""

    __slots__ = ("_line", "is_over", "session")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.is_over = False
        self._line = Line(None)

    async def call(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run ``function`` as part of the turn."""
        await self._line.enter()
        try:
            return await turns.run(self.session, function, *args, **kwargs)
        finally:
            self._line.leave()


_inside: contextvars.ContextVar[Inside | None] = contextvars.ContextVar("fullduplex.inside_turn", default=None)


def current_inside() -> Inside | None:
    inner = _inside.get()
    return None if inner is None or inner.is_over else inner


@contextlib.contextmanager
def inside(session: Session) -> Iterator[None]:
    """Around async code that is part of the turn of ``session`` that is in progress."""
    inner = Inside(session)
    token = _inside.set(inner)
    try:
        yield
    finally:
        inner.is_over = True
        _inside.reset(token)


class Session:
    """The calls of one request or task on the loop.

    Args:
        lease: of the request or socket; None: of a task outside of any.

    Attributes:
        wrappers: the connections that its calls use.
        is_moved: a thread of the request has them.
    """

    __slots__ = (
        "__weakref__",
        "_ended",
        "_lease",
        "_line",
        "_seat",
        "_spoiled",
        "_then",
        "is_moved",
        "seats",
        "wrappers",
    )

    def __init__(self, seats: Seats, lease: Lease | None) -> None:
        self.wrappers: dict[str, Any] = {}
        self.is_moved = False
        self.seats = seats
        self._lease = lease
        self._seat: Seat | None = None
        self._line = Line(lease)
        self._ended = self._spoiled = False
        self._then: Callable[[], None] | None = None

    @property
    def is_bound(self) -> bool:
        """Whether it keeps its seat to the end of a request."""
        return self._lease is not None and self._lease.is_bound

    @property
    def is_busy(self) -> bool:
        return self._line.is_busy

    async def call(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run ``function`` when it is its turn; NEEDS_THREAD where the request has a thread by then."""
        if not await self.enter():
            return NEEDS_THREAD
        try:
            return await turns.run(self, function, *args, **kwargs)
        finally:
            self.leave()

    async def enter(self) -> bool:
        """Wait for its turn, and take a seat; return False where the request has a thread by then."""
        await self._line.enter()
        try:
            if self._lease is not None and self._lease.has_thread:
                self.leave()
                return False
            if self._seat is None:
                self._seat = await self.seats.take(self.is_bound)
                self.is_moved = False
                self.wrappers = self._seat.wrappers
                if not are_clean(self.wrappers.values()):  # past their age, or lost, since they were kept
                    await turns.run(self, clean_connections)
        except BaseException:
            self.leave()
            raise
        return True

    def defers(self, call: Call) -> bool:
        """Whether a call for the thread of this request has to wait for the turn that is in progress.

        One that is part of this turn does not: the turn waits for it.
        """
        inner = current_inside()
        if not self.is_busy or (inner is not None and inner.session is self):
            return False
        self._line.defer(call)
        return True

    def move(self, thread: dict[str, Any]) -> None:
        """The request has a thread: what it has of the databases goes there; in that thread, with nothing in progress
        on the loop but a turn that waits for this thread.

        Args:
            thread: the attributes of asgiref's Local in it.
        """
        if self.is_busy and not self.is_bound:
            return  # the thread may serve others before this turn is over
        seat, self._seat = self._seat, None
        self.is_moved = True
        if seat is not None:
            exchange(seat, thread)
            self.wrappers = thread
            call_on(self.seats.loop, self.seats.put_moved, seat)

    def end(self, then: Callable[[], None], *, spoiled: bool) -> bool:
        """Give the seat back, now or after the turn that is in progress.

        Args:
            then: called after that turn, where a thread must not go back before.
            spoiled: code that would have undone what it told the database session was skipped: that one ends.

        Returns:
            Whether ``then`` will be called.
        """
        self._spoiled = spoiled
        if not self.is_busy:
            self._give_back()
            return False
        self._ended, self._then = True, then if self.is_moved else None
        return self.is_moved

    def release(self) -> None:
        """Give the seat back before the end (``arelease_thread``).

        Raises:
            TransactionManagementError: a transaction is open, or a call is in progress.
        """
        if self.is_busy or self._is_open():
            raise TransactionManagementError("arelease_thread() in a transaction: it would be rolled back.")
        self._give_back()

    def leave(self) -> None:
        """The turn is over."""
        if self._ended or not (self.is_bound or self._is_open()):
            self._give_back()
        then, self._then, self._ended = self._then, None, False
        if then is not None:
            then()
        self._line.leave()

    def _is_open(self) -> bool:
        """Whether something would be lost if the next call had another seat."""
        return self._seat is not None and has_open_query(self.wrappers.values())

    def _give_back(self) -> None:
        seat, self._seat = self._seat, None
        if seat is not None:
            self.wrappers = {}
            self.seats.give_back(seat, self._spoiled)

    def __del__(self) -> None:
        """A task outside of any request ends, with a transaction or a cursor open."""
        if self._seat is not None:
            call_on(self.seats.loop, self.seats.give_back, self._seat, True)

"""Many requests in progress at once: gates that they pass together, and what each step of each of them sees.

A *step* is a piece of sync code of a request: a hook, a receiver, a part of a view or of a stream. It notes where it
runs, and what it finds of what the request's first step has left there: a thread-local, an attribute of a connection,
an ``execute_wrapper``, a temporary table, an open cursor, a transaction.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
import threading
from collections.abc import Collection, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connection, connections, transaction
from django.db.backends.signals import connection_created

ALIAS = "crowd"
DEADLINE_S = 20.0  # only ever reached by a hang
CLEAN = {"wrappers": 0, "atomic": False, "autocommit": True, "on commit": 0, "debug": False, "queries": 0}

current: contextvars.ContextVar[Case] = contextvars.ContextVar("case")
local = threading.local()


class Gates:
    """Places that requests pass together: each waits there for all that can still come.

    Places are numbers that rise on the way of a request. One that has come to a place, or has ended, comes to none
    before it: nobody waits for those that an error, an early answer or a disconnect has taken past.

    Attributes:
        missed: where somebody has waited too long; nobody waits after that.
    """

    def __init__(self, places: Collection[int]) -> None:
        self._lock = threading.Lock()
        self._positions: dict[Case, float] = {}
        self.missed: int | None = None
        self._opened: dict[int, Future[None]] = {place: Future() for place in sorted(places)}

    def join(self, case: Case) -> None:
        self._positions[case] = -1

    def leave(self, case: Case) -> None:
        self._move(case, math.inf)

    def wait(self, case: Case, place: int) -> None:
        """Wait in a thread."""
        self._move(case, place)
        if place in self._opened:
            try:
                self._opened[place].result(DEADLINE_S)
            except TimeoutError:
                self._give_up(place)
                raise

    async def wait_on_loop(self, case: Case, place: int) -> None:
        self._move(case, place)
        if place in self._opened:
            try:
                async with asyncio.timeout(DEADLINE_S):
                    await asyncio.shield(asyncio.wrap_future(self._opened[place]))
            except TimeoutError:
                self._give_up(place)
                raise

    def _give_up(self, place: int) -> None:
        with self._lock:
            self.missed = place
            for gate in self._opened.values():
                if not gate.done():
                    gate.set_result(None)

    def _move(self, case: Case, position: float) -> None:
        with self._lock:
            self._positions[case] = max(position, self._positions[case])
            slowest = min(self._positions.values())
            opened = [gate for place, gate in self._opened.items() if place <= slowest and not gate.done()]
            for gate in opened:
                gate.set_result(None)


@dataclass(frozen=True)
class Step:
    """What a step saw.

    Attributes:
        is_error: an :func:`error_step`, which sees nothing in Django's handler.
    """

    name: str
    seen: dict[str, Any]
    is_error: bool = False


@dataclass(frozen=True)
class Socket:
    """What a handshake has become, in a trace."""

    case: Case


@dataclass(eq=False, repr=False)
class Case:
    """One request of many.

    Attributes:
        kind: the route, which says what the view does and whether the client stays.
        acts: by middleware and hook, what it does instead of going on.
        habits: what its first step leaves on the thread for the others, beside what all do.
        layers: the middleware of the project by name, 0 outermost.
        in_django: Django's handler serves it, which runs some of its steps elsewhere.
        thread: of its first step, which is to be that of all.
        told: the view or stream waits for the client to leave.
        released: sync code that waits for the client to leave may go on.
        begun, ended: its sync receiver of ``request_started``, of ``request_finished`` has run.
    """

    number: int
    kind: str
    acts: dict[str, str]
    habits: Collection[str]
    layers: dict[str, int]
    gates: Gates
    in_django: bool
    trace: list[tuple[Case | Socket, threading.Thread]]
    thread: threading.Thread | None = None
    steps: list[Step] = field(default_factory=list)
    logged: list[threading.Thread] = field(default_factory=list)
    answer: tuple[Any, ...] = ()
    error: str = ""
    own_count: int = 0
    foreign_count: int = 0
    block: Any = None
    cursor: Any = None
    told: asyncio.Event = field(default_factory=asyncio.Event)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    released: threading.Event = field(default_factory=threading.Event)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    def __post_init__(self) -> None:
        self.gates.join(self)

    def __repr__(self) -> str:
        return f"<Case {self.number}: {self.kind}>"

    def note(self, name: str, seen: dict[str, Any], is_error: bool = False) -> None:
        thread = threading.current_thread()
        own = "own" if thread is self.thread else "foreign"
        self.steps.append(Step(name, {"thread": own, **seen}, is_error))
        self.trace.append((self, thread))

    def set(self, event: asyncio.Event) -> None:
        """Set an event of the loop, in a thread or on the loop."""
        self.loop.call_soon_threadsafe(event.set)

    def count(self, execute: Any, *args: Any) -> Any:
        """An ``execute_wrapper``: it knows its own queries from those of others."""
        if current.get(None) is self:
            self.own_count += 1
        else:
            self.foreign_count += 1
        return execute(*args)


def step(name: str, place: int = 0, database: bool = True) -> None:
    """Do what sync code of a request does, then wait at ``place``.

    Args:
        database: False where Django has closed connections, those that are old or in a transaction.
    """
    case = _take(name, database)
    case.gates.wait(case, place)


def _take(name: str, database: bool, is_error: bool = False) -> Case:
    case = current.get()
    if case.thread is None:
        case.thread = threading.current_thread()
        _begin(case)
    case.note(name, {**_on_thread(case), **(_in_database(case) if database else {})}, is_error)
    return case


def error_step(name: str) -> None:
    """A step on the way from an exception to a response: Django takes any thread for it, and ours the request's."""
    case = current.get()
    if case.in_django:
        case.steps.append(Step(name, {}, is_error=True))
    else:
        _take(name, database=False, is_error=True)


async def call(name: str, place: int = 0, database: bool = True) -> None:
    """A step from async code."""
    await sync_to_async(step)(name, place, database)


async def gate(place: int) -> None:
    case = current.get()
    await case.gates.wait_on_loop(case, place)


# What a step leaves and finds --------------------------------------------------------------------


def connection_state(database: Any) -> dict[str, Any]:
    return {
        "wrappers": len(database.execute_wrappers),
        "atomic": database.in_atomic_block,
        "autocommit": database.get_autocommit(),
        "on commit": len(database.run_on_commit),
        "debug": database.force_debug_cursor,
        "queries": len(database.queries_log),
    }


def _begin(case: Case) -> None:
    """Note what the request before has left, then leave something for the steps that follow."""
    database: Any = connections[ALIAS]
    case.note("begins", connection_state(database))
    local.case = case
    connection.case = case
    database.execute_wrappers.append(case.count)
    if "debug" in case.habits:
        database.force_debug_cursor = True
    if "atomic" in case.habits:
        case.block = transaction.atomic(using=ALIAS)
        case.block.__enter__()
        transaction.on_commit(lambda: case.note("committed", {}), using=ALIAS)
    with database.cursor() as cursor:
        cursor.execute(f"CREATE TEMPORARY TABLE seen_{case.number} (row INTEGER)")
        cursor.executemany(f"INSERT INTO seen_{case.number} VALUES (%s)", [(row,) for row in range(100)])
    case.cursor = database.cursor()
    case.cursor.execute(f"SELECT row FROM seen_{case.number} ORDER BY row")


def commit() -> None:
    """Leave the transaction that the first step has entered; what Django does at the end of a view."""
    case = current.get()
    if case.block is not None:
        case.block.__exit__(None, None, None)
        case.block = None


def _on_thread(case: Case) -> dict[str, Any]:
    database: Any = connections[ALIAS]
    return {
        "local": _whose(case, getattr(local, "case", None)),
        "attribute": _whose(case, getattr(connection, "case", None)),
        "wrappers": len(database.execute_wrappers),
        "counted": (case.own_count, case.foreign_count),
        "atomic": database.in_atomic_block,
        "debug": database.force_debug_cursor,
    }


def _in_database(case: Case) -> dict[str, Any]:
    database: Any = connections[ALIAS]
    try:
        with database.cursor() as cursor:
            cursor.execute(f"SELECT COUNT(*) FROM seen_{case.number}")
            count = cursor.fetchone()
        found = {"table": count, "cursor": case.cursor.fetchone()}
    except Exception as error:
        found = {"table": repr(error), "cursor": None}
    return {**found, "on commit": len(database.run_on_commit)}


def _whose(case: Case, found: Case | None) -> str:
    if found is None:
        return "nobody's"
    return "own" if found is case else "foreign"


# Around the requests -----------------------------------------------------------------------------


class NotingHandler(logging.Handler):
    """Notes the thread in which Django's ``log_response`` logs the response of a request."""

    def emit(self, record: logging.LogRecord) -> None:
        case = current.get(None)
        if case is not None and record.funcName == "log_response":
            case.logged.append(threading.current_thread())


@contextmanager
def noted_logs() -> Iterator[None]:
    """Note what ``django.request`` is told, and print none of the errors that are meant to happen."""
    loggers: dict[logging.Logger, logging.Handler] = {
        logging.getLogger("django.request"): NotingHandler(),
        logging.getLogger("fullduplex"): logging.NullHandler(),
    }
    for logger, handler in loggers.items():
        logger.addHandler(handler)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, handler in loggers.items():
            logger.removeHandler(handler)
            logger.propagate = True


@contextmanager
def closed_connections() -> Iterator[None]:
    """Close what Django leaves to the garbage collection: connections of threads that have ended."""
    opened: list[Any] = []

    def note(*, connection: Any, **kwargs: Any) -> None:
        opened.append(connection.connection)

    connection_created.connect(note)
    try:
        yield
    finally:
        connection_created.disconnect(note)
        for driver in opened:
            driver.close()

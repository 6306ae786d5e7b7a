"""The database connections of the current thread: what is left open in them, and what Django would close.

Django's ``close_old_connections`` asks the database at the start and the end of each request. A thread that
serves one lease after another asks nothing unless something has gone wrong.

Three things are noted when a connection opens: when that was, which ``execute_wrappers`` receivers of the signal have
installed, and the cursors that are made from then on, since Django keeps no list of them: on the threads of sockets
all, on those of requests the ones whose rows the database server keeps.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple, cast

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.dispatch import Signal

logger = logging.getLogger("fullduplex.handler")

_CURSOR_MAKERS = ("make_cursor", "make_debug_cursor")  # whatever makes a cursor ends there
_OBSERVED = ("cursor", "chunked_cursor")
_OPENED = "_fullduplex_opened_s"
_WRAPPERS = "_fullduplex_wrappers"
_CURSORS = "_fullduplex_cursors"

_thread = threading.local()
_known: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()  # that have connected, of all threads
_opened_count = 0
_lost_s: dict[str, float] = {}  # by alias: when one of its connections was last found to be dead


def _initialized() -> list[Any]:
    """The connections of this thread; that there are none is cheaper to know than to look up."""
    storage = getattr(connections._connections, "_storage", None)  # type: ignore[attr-defined]  # asgiref's Local
    if not isinstance(storage, threading.local):
        return list(connections.all(initialized_only=True))
    return [wrapper for wrapper in storage.__dict__.values() if isinstance(wrapper, BaseDatabaseWrapper)]


def thread_connections() -> dict[str, Any]:
    """The connections of this thread by alias, and whatever else asgiref's Local keeps there."""
    return cast("dict[str, Any]", connections._connections._storage.__dict__)  # type: ignore[attr-defined]


_others_send = connection_created.__dict__.get("send")  # of somebody who came first


def _send_created(sender: Any, **named: Any) -> Any:
    """``connection_created.send``: the wrappers that its receivers install stay with the connection, others do not."""
    connection = named["connection"]
    own = tuple(connection.execute_wrappers)  # of the request that connects
    answers = (_others_send or partial(Signal.send, connection_created))(sender, **named)
    _count(connection)
    connection.__dict__[_OPENED] = time.monotonic()
    connection.__dict__[_WRAPPERS] = tuple(wrapper for wrapper in connection.execute_wrappers if wrapper not in own)
    _track(connection)
    return answers


# Not a receiver: it must be around all of them, and those who watch receivers would see it.
connection_created.send = _send_created  # type: ignore[method-assign]


def _count(connection: Any) -> None:
    global _opened_count
    _opened_count += 1
    _known[id(connection)] = connection


class ConnectionFigures(NamedTuple):
    """How many connections to databases this process has open, and has opened so far."""

    open_count: int
    opened_count: int


def connection_figures() -> ConnectionFigures:
    """Of all threads, from any of them."""
    known = [reference() for reference in _known.valuerefs()]  # a list at once: other threads connect meanwhile
    is_open = [getattr(connection, "connection", None) is not None for connection in known]
    return ConnectionFigures(sum(is_open), _opened_count)


# What is open ------------------------------------------------------------------------------------


def in_transaction() -> bool:
    return any(map(_in_transaction, _initialized()))


def _in_transaction(connection: Any) -> bool:
    return connection.connection is not None and bool(
        connection.in_atomic_block or not connection.autocommit or connection.run_on_commit
    )


def has_open_query(wrappers: Iterable[Any] | None = None) -> bool:
    """Whether a transaction or, where they are tracked, a cursor is open in this thread, or in these connections."""
    found = _initialized() if wrappers is None else wrappers
    return any(_in_transaction(connection) or _has_cursor(connection) for connection in found)


def _has_cursor(connection: Any) -> bool:
    cursors = connection.__dict__.get(_CURSORS)
    return bool(cursors) and any(map(_has_rows, list(cursors)))


def _has_rows(cursor: Any) -> bool:
    """Whether there may be rows to fetch; one whose query failed lives on in the error, to the next collection."""
    raw = cursor.cursor
    return not getattr(raw, "closed", False) and getattr(raw, "description", raw) is not None


def begin_thread() -> None:
    """This thread is one of the pool: from now on cursors are noted in the connections that it opens.

    Those that the server keeps (which have a name), and in the threads of sockets, after :func:`track_cursors`, all.
    """
    _thread.every = False


def track_cursors() -> None:
    """Until the connections of this thread are cleaned, note all cursors."""
    _thread.every = True


def _track(connection: Any) -> None:
    if _CURSORS in connection.__dict__ or not hasattr(_thread, "every"):
        return
    cursors: weakref.WeakSet[Any] = weakref.WeakSet()
    connection.__dict__[_CURSORS] = cursors
    for name in _CURSOR_MAKERS:
        setattr(connection, name, _noting(getattr(connection, name), cursors))


def _noting(make: Callable[..., Any], cursors: weakref.WeakSet[Any]) -> Callable[..., Any]:
    thread = _thread

    def made(raw: Any, *args: Any, **kwargs: Any) -> Any:
        cursor = make(raw, *args, **kwargs)
        if getattr(thread, "every", False) or getattr(raw, "name", None):
            cursors.add(cursor)
        return cursor

    return made


def _close_cursors(connection: Any) -> None:
    """Close in its own thread what was left open.

    Whoever left ``async for`` over ``aiterator()`` has the cursor closed by the event loop, when it is collected. With
    psycopg 3.3 that may wait for ever on a connection which its thread closes at that moment.
    """
    for cursor in list(connection.__dict__.get(_CURSORS, ())):
        try:
            cursor.close()
        except Exception:  # of a connection that is dead
            pass


# What is closed ----------------------------------------------------------------------------------


def is_unclean() -> bool:
    """Whether something in this thread must not wait for the next lease: it is to be rolled back or closed."""
    for connection in _initialized():
        if connection.connection is not None and (
            connection.errors_occurred or _is_past_max_age(connection) or _in_transaction(connection)
        ):
            return True
    return False


def _is_past_max_age(connection: Any) -> bool:
    return connection.close_at is not None and time.monotonic() >= connection.close_at


def mend_connections() -> None:
    """Close the connections that an error, or the death of another one to their database, has left unusable.

    Those in a transaction are left alone: whoever is in it has to hear of it.
    """
    for connection in _initialized():
        if connection.connection is None or _in_transaction(connection):
            continue
        if connection.errors_occurred or _may_be_lost(connection):
            try:
                _close_if_unusable(connection)
            except Exception:
                _give_up(connection)


def _may_be_lost(connection: Any) -> bool:
    lost_s = _lost_s.get(connection.alias)
    return lost_s is not None and connection.__dict__.get(_OPENED, lost_s) <= lost_s


def _close_if_unusable(connection: Any) -> None:
    """What Django does after an error; one connection that is dead has the others of its database looked at."""
    connection.errors_occurred = True
    connection.close_if_unusable_or_obsolete()
    if connection.errors_occurred:
        _lost_s[connection.alias] = time.monotonic()
    else:
        connection.__dict__[_OPENED] = time.monotonic()


def are_clean(wrappers: Iterable[Any]) -> bool:
    """Whether :func:`clean_connections` would find nothing to do in them; it costs a tenth of that."""
    for connection in wrappers:
        attributes = connection.__dict__
        if (
            connection.execute_wrappers
            or connection.queries_log
            or connection.force_debug_cursor
            or connection.errors_occurred
            or attributes.get(_CURSORS)
            or any(name in attributes for name in _OBSERVED)
            or _in_transaction(connection)
            or _is_past_max_age(connection)
            or _may_be_lost(connection)
        ):
            return False
        connection.health_check_done = False
        connection.rollback_exc = None
    return True


def clean_connections() -> bool:
    """Clean the connections of this thread; return whether there are any."""
    initialized = _initialized()
    _thread.every = False  # as begin_thread() has it
    for connection in initialized:
        try:
            _close_cursors(connection)
            _forget_observers(connection)
            if connection.connection is not None:
                _roll_back(connection)
                _close_if_old(connection)
            if any(name in connection.__dict__ for name in _OBSERVED):
                _replace(connection)
        except Exception:  # the thread must go on
            _give_up(connection)
    return bool(initialized)


def _close(connection: Any) -> None:
    """Close it. To close SQLite in memory Django does nothing: that connection ends with the thread of its request."""
    connection.close()
    if connection.connection is not None and not connection.allow_thread_sharing:
        BaseDatabaseWrapper.close(connection)


def _replace(connection: Any) -> None:
    """Somebody has put something on the object itself, and cannot take it away from another thread (debug toolbars)."""
    _close(connection)
    del connections[connection.alias]


def _give_up(connection: Any) -> None:
    """A connection that cannot be cleaned is used no more: the next request makes another."""
    logger.exception("The database connection %r could not be cleaned", connection.alias)
    try:
        del connections[connection.alias]
    except AttributeError:
        pass


def close_connections() -> None:
    for connection in _initialized():
        try:
            _close(connection)
        except Exception:
            logger.exception("The database connection %r could not be closed", connection.alias)


def _forget_observers(connection: Any) -> None:
    """Take away what watches the queries of one request.

    What ``connection_created`` has installed stays. Where that cannot be told from the rest, the connection is
    closed, so that the next one has it installed again.
    """
    connection.queries_log.clear()
    connection.rollback_exc = None  # with its traceback it would keep the request alive
    connection.force_debug_cursor = False
    wrappers = connection.execute_wrappers
    if wrappers:
        kept = connection.__dict__.get(_WRAPPERS, ())
        if len(wrappers) != len(kept) or any(a is not b for a, b in zip(wrappers, kept, strict=True)):
            wrappers[:] = kept
            if connection.connection is not None and _WRAPPERS not in connection.__dict__:
                _roll_back(connection)
                _close(connection)


def _close_if_old(connection: Any) -> None:
    """What ``close_old_connections`` does, without a query."""
    connection.health_check_done = False
    if connection.connection is None:
        return
    if _is_past_max_age(connection):
        _close(connection)
    elif connection.errors_occurred or _may_be_lost(connection):
        _close_if_unusable(connection)


def _roll_back(connection: Any) -> None:
    """End what a view left open; it would go on in the transaction of a stranger."""
    autocommit = connection.settings_dict["AUTOCOMMIT"]
    if connection.in_atomic_block:
        logger.error("A transaction was left open on the database %r; it is rolled back.", connection.alias)
        # As connect() sets them: the block that would reset them never ends.
        connection.in_atomic_block = False
        connection.savepoint_ids = []
        connection.atomic_blocks = []
        connection.needs_rollback = False
    elif not connection.autocommit and autocommit:
        logger.error("Autocommit was left off on the database %r; it is rolled back.", connection.alias)
    elif connection.autocommit:
        connection.run_on_commit = []
        return
    connection.run_on_commit = []
    connection.rollback()
    connection.set_autocommit(autocommit)

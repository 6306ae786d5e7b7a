"""System checks of what makes requests slow, wait for themselves, or ask too much of a database."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Warning
from django.db import connections
from django.utils.module_loading import import_string

from fullduplex.conf import get_settings
from fullduplex.db.engine import ENGINE, uses_engine
from fullduplex.exceptions import ConfigurationError
from fullduplex.handler.seams import patches


def check_threads(**kwargs: Any) -> list[CheckMessage]:
    """A view that asks its own server, and whoever else waits for another request, needs a second thread."""
    try:
        count = get_settings().threads_count
    except ConfigurationError:  # check_settings reports it
        return []
    if count >= 2:
        return []
    return [
        Warning(
            f"FULLDUPLEX['THREADS_COUNT'] is {count}: a sync view that calls this server waits for itself.",
            hint="Give it at least 2; the default is 16.",
            id="fullduplex.W010",
        )
    ]


def check_middleware(**kwargs: Any) -> list[CheckMessage]:
    """In middleware that is only sync a thread waits during each async view and each handshake."""
    messages: list[CheckMessage] = []
    for path in settings.MIDDLEWARE:
        try:
            factory = import_string(path)
        except ImportError:  # the handler reports it, with the traceback
            continue
        if not getattr(factory, "async_capable", False):
            messages.append(
                Info(
                    f"The middleware {path} is only sync: a thread waits in it while an async view runs, one for each "
                    "request in progress.",
                    hint="That is safe, and counts against THREADS_MAX_COUNT only. If it uses neither thread-locals "
                    "nor database connections, make it sync_and_async_middleware. See manage.py explain.",
                    id="fullduplex.I010",
                )
            )
    return messages


def check_observers(**kwargs: Any) -> list[CheckMessage]:
    """The functions that are to observe sockets exist: else each handshake would be answered with 500."""
    try:
        values = get_settings()
    except ConfigurationError:  # check_settings reports it
        return []
    messages: list[CheckMessage] = []
    for name in ("SOCKET_OBSERVER", "SOCKET_VIEW_OBSERVER"):
        path: str = getattr(values, name.lower())
        try:
            found = import_string(path) if path else None
        except ImportError as error:
            messages.append(Error(f"FULLDUPLEX[{name!r}]: {error}.", id="fullduplex.E010"))
            continue
        if path and not callable(found):
            messages.append(Error(f"FULLDUPLEX[{name!r}] = {path!r} is no function.", id="fullduplex.E010"))
    return messages


def check_seams(**kwargs: Any) -> list[CheckMessage]:
    """Where somebody has patched Django, he is called, and some of our fast ways are not taken (``check --deploy``)."""
    return [
        Info(f"{patch}.", hint="See docs/howto/observe.md.", id="fullduplex.I012")
        for patch in patches()
        if patch.seam.cost
    ]


_LIMITS = {"postgresql": "SHOW max_connections", "mysql": "SELECT @@max_connections"}


def check_engine(**kwargs: Any) -> list[CheckMessage]:
    """The async ORM needs no thread where every database has the engine for it, and where connections are kept."""
    databases: dict[str, dict[str, Any]] = settings.DATABASES
    ours = [alias for alias, database in databases.items() if database.get("ENGINE") == ENGINE]
    messages: list[CheckMessage] = []
    if ours and not uses_engine():
        messages.append(
            Warning(
                f"Only {', '.join(ours)} of the databases has the engine {ENGINE}: the async ORM uses threads.",
                hint="What uses one database may use another in the same call: give the engine to all of them.",
                id="fullduplex.W012",
            )
        )
    for alias in ours:
        if databases[alias].get("OPTIONS", {}).get("pool"):
            messages.append(
                Error(
                    f"The engine {ENGINE} of {alias!r} has no OPTIONS['pool'].",
                    hint="CONN_MAX_AGE keeps connections, FULLDUPLEX['CONNECTIONS_MAX_COUNT'] bounds them.",
                    id="fullduplex.E012",
                )
            )
        elif databases[alias].get("CONN_MAX_AGE", 0) == 0:
            messages.append(
                Info(
                    f"CONN_MAX_AGE of {alias!r} is 0: each request connects, and a socket for each of its calls.",
                    hint="Give it a minute, for example: CONN_MAX_AGE = 60.",
                    id="fullduplex.I013",
                )
            )
    return messages


def check_connections(*, databases: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Each thread may hold a connection: the database must admit so many (``check --deploy --database default``)."""
    try:
        values = get_settings()
        count, bounds = values.threads_max_count, "FULLDUPLEX['THREADS_MAX_COUNT']"
        if uses_engine():
            count, bounds = count + values.connections_max_count, f"{bounds} with CONNECTIONS_MAX_COUNT"
    except ConfigurationError:  # check_settings reports it
        return []
    messages: list[CheckMessage] = []
    for alias in databases or ():
        connection = connections[alias]
        statement = _LIMITS.get(connection.vendor)
        if statement is None or connection.settings_dict["OPTIONS"].get("pool"):
            continue
        with connection.cursor() as cursor:
            cursor.execute(statement)
            limit = int(cursor.fetchone()[0])
        if limit < count:
            messages.append(
                Warning(
                    f"The database {alias!r} admits {limit} connections, {bounds} is {count}: "
                    "requests in progress above that would fail to connect.",
                    hint="Set it to what the database has for each worker process, or use a connection pool "
                    "(OPTIONS['pool']); with it requests wait in order, and get 503 after THREADS_WAIT_S.",
                    id="fullduplex.W011",
                )
            )
    return messages

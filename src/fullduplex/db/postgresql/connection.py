"""psycopg's connection, which gives the loop its turn where it waits for the server."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any, TypeVar, cast

import psycopg
from psycopg import AsyncConnection, OperationalError, errors, waiting
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from psycopg.waiting import Ready, Wait

from fullduplex.db.turns import current_turn, wait_for

RV = TypeVar("RV")

logger = logging.getLogger("fullduplex.handler")

INTERVAL_S = 0.1  # psycopg's own: how often it looks whether the socket is still open
CANCEL_TIMEOUT_S = 5.0  # psycopg's own


class Connection(psycopg.Connection[Any]):
    """A connection for Django: in a turn it waits by the loop, in a thread as ever."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lock: Any = _Lock()

    @classmethod
    def connect(cls, conninfo: str = "", **parameters: Any) -> Any:
        if current_turn() is None:
            return super().connect(conninfo, **parameters)
        cursor_factory = parameters.pop("cursor_factory", None)
        other = wait_for(AsyncConnection.connect(conninfo, **parameters))
        connection = cls(other.pgconn)
        connection._autocommit, connection._adapters = other._autocommit, other._adapters
        connection.prepare_threshold = other.prepare_threshold
        if cursor_factory is not None:
            connection.cursor_factory = cursor_factory
        del other.pgconn  # it is ours now
        return connection

    def wait(self, gen: PQGen[RV], interval: float = INTERVAL_S, timeout: float | None = None) -> RV:
        if current_turn() is None:
            return super().wait(gen, interval, timeout)
        try:
            if timeout is not None:  # only LISTEN has one
                return wait_for(waiting.wait_async(gen, self.pgconn.socket, interval, timeout))
            return self._wait(gen)
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                wait_for(self._cancel(gen))
            raise
        except GeneratorExit:
            self.pgconn.finish()
            raise

    def _wait(self, gen: PQGen[RV]) -> RV:
        """What psycopg's ``wait_async`` does, without a coroutine and a timer for each wait."""
        try:
            state = next(gen)
            loop = asyncio.get_running_loop()
            socket = self.pgconn.socket
            while True:
                readiness = loop.create_future()
                reads, writes = state & Wait.R, state & Wait.W
                if reads:
                    loop.add_reader(socket, _note, readiness, Ready.R)
                if writes:
                    loop.add_writer(socket, _note, readiness, Ready.W)
                try:
                    ready = wait_for(readiness)
                finally:
                    if reads:
                        loop.remove_reader(socket)
                    if writes:
                        loop.remove_writer(socket)
                state = gen.send(ready)
        except StopIteration as end:
            return cast(RV, end.value)
        except OSError as error:
            raise OperationalError("connection socket closed") from error

    async def _cancel(self, gen: PQGen[Any]) -> None:
        """Have the server end the query, and read its answer; a connection on which that fails is closed."""
        try:
            cancelling = self._cancel_gen()
            await waiting.wait_conn_async(cancelling, INTERVAL_S, CANCEL_TIMEOUT_S)
            await waiting.wait_async(gen, self.pgconn.socket, INTERVAL_S, CANCEL_TIMEOUT_S)
        except errors.QueryCanceled:
            pass
        except BaseException as error:
            logger.warning("A query could not be cancelled (%s): its connection is closed", type(error).__name__)
            self.pgconn.finish()
            if not isinstance(error, Exception):
                raise


def _note(readiness: asyncio.Future[Any], ready: Ready) -> None:
    if not readiness.done():
        readiness.set_result(ready)


class _Lock:
    """psycopg's lock of a connection, for which nobody waits on the loop: whoever has it may need the loop to go on."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        if self._lock.acquire(blocking=False):
            return
        if asyncio._get_running_loop() is not None:
            raise OperationalError("another call of this request uses the connection")
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()

"""The connection that commands: what many tasks ask for at once goes out in one write."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any

from redis.exceptions import ReadOnlyError, ResponseError

from fullduplex.exceptions import LayerUnavailable
from fullduplex.layers.redis.connecting import NotSent, Refused, open_async, translate
from fullduplex.layers.redis.hosts import AsyncConnection, Host
from fullduplex.layers.redis.limits import RedisLimits
from fullduplex.layers.redis.topology import FAILURES

logger = logging.getLogger("fullduplex.layers")

_BATCH_BYTES = 262_144  # per write; a caller waits for the answers to one batch at most before its own goes out


class Pipeline:
    """One connection of one loop to one server; opened at the first call, and again after a loss.

    Calls are answered in the order in which they were made. While the answers to a batch are read, the next
    batch gathers. A task runs only while there is something to do.
    """

    def __init__(self, host: Host, limits: RedisLimits) -> None:
        self._host = host
        self._limits = limits
        self._waiting: deque[_Call] = deque()
        self._waiting_bytes = 0
        self._room = asyncio.Event()
        self._room.set()
        self._connection: AsyncConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def call(self, packed: bytes) -> Any:
        """Send a command (commands.py) and return the reply. The caller sets the deadline.

        Raises:
            NotSent: the server cannot be reached, or is the wrong one; nothing was done.
            LayerUnavailable: the connection was lost before the answer: whether it was done is unknown.
            ResponseError: the server refuses this command.
        """
        while self._waiting_bytes >= self._limits.max_pending_bytes:
            self._room.clear()
            await self._room.wait()
        if self._closed:
            raise LayerUnavailable("the layer was closed")
        call = _Call(packed)
        self._waiting.append(call)
        self._waiting_bytes += call.size_bytes
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        return await call.answer

    @property
    def is_full(self) -> bool:
        return self._waiting_bytes >= self._limits.max_pending_bytes

    async def close(self) -> None:
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        self._fail(self._take_all(), LayerUnavailable("the layer was closed"))
        await self._disconnect()

    # Inside ----------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while self._waiting:
                try:
                    connection = await self._connected()
                except (NotSent, Refused) as error:
                    self._fail(self._take_all(), error)
                else:
                    await self._exchange(connection, self._take_batch())
        except Exception as error:  # the next call begins anew, and those before it hear of this one
            logger.exception("The connection to Redis at %s failed", self._host.label)
            self._fail(self._take_all(), translate(error, self._host.label))
            await self._disconnect()
        finally:
            self._task = None

    async def _connected(self) -> AsyncConnection:
        connection = self._connection
        if connection is not None:
            if not await _is_stale(connection):
                return connection
            await self._disconnect()
        self._connection = await open_async(self._host, self._limits.connect_timeout_s)
        return self._connection

    async def _exchange(self, connection: AsyncConnection, batch: list[_Call]) -> None:
        unanswered, demoted = deque(batch), False
        try:
            async with asyncio.timeout(self._limits.publish_timeout_s):
                packed = b"".join([call.packed for call in batch])
                await connection.send_packed_command(packed, check_health=False)
                while unanswered:
                    try:
                        reply = await connection.read_response()
                    except ResponseError as error:
                        reply = error
                        demoted = demoted or isinstance(error, ReadOnlyError)
                    unanswered.popleft().settle(reply)
        except FAILURES as error:
            self._fail(unanswered, translate(error, self._host.label))
            await self._disconnect()
        except BaseException as error:
            closed = LayerUnavailable("the layer was closed")
            self._fail(unanswered, translate(error, self._host.label) if isinstance(error, Exception) else closed)
            await self._disconnect()
            raise
        if demoted:  # the sentinels know who is the master now
            await self._disconnect()

    def _take_batch(self) -> list[_Call]:
        batch, size_bytes = [], 0
        while self._waiting and size_bytes < _BATCH_BYTES:
            call = self._waiting.popleft()
            self._waiting_bytes -= call.size_bytes
            size_bytes += call.size_bytes
            if not call.answer.done():  # its caller may have given up
                batch.append(call)
        self._room.set()
        return batch

    def _take_all(self) -> list[_Call]:
        calls = list(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        self._room.set()
        return calls

    def _fail(self, calls: deque[_Call] | list[_Call], error: LayerUnavailable) -> None:
        for call in calls:
            call.settle(error)

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)


class _Call:
    __slots__ = ("answer", "packed", "size_bytes")

    def __init__(self, packed: bytes) -> None:
        self.packed = packed
        self.size_bytes = 64 + len(packed)
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def settle(self, reply: Any) -> None:
        if self.answer.done():
            return
        if isinstance(reply, Exception):
            self.answer.set_exception(reply)
        else:
            self.answer.set_result(reply)


async def _is_stale(connection: AsyncConnection) -> bool:
    """Whether the server has closed an idle connection, or sent what nobody asked for."""
    if not connection.is_connected:
        return True
    can_read = getattr(connection, "can_read", None) or connection.can_read_destructive
    try:
        return bool(await can_read())
    except FAILURES:
        return True

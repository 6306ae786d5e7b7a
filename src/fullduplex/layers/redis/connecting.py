"""Opening connections and asking single questions, for coroutines and for threads, always with a deadline."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from fullduplex.exceptions import LayerUnavailable
from fullduplex.layers.redis.hosts import AsyncConnection, Host, SyncConnection
from fullduplex.layers.redis.limits import RedisLimits
from fullduplex.layers.redis.topology import FAILURES, Steps, T, find_master
from fullduplex.limits import without_secrets

_REFUSALS = (AuthenticationError, AuthorizationError, NoPermissionError)
_ELSEWHERE = (MovedError, AskError, TryAgainError, ClusterDownError, MasterDownError, ReadOnlyError, BusyLoadingError)
_ELSEWHERE_WORDS = ("MOVED ", "ASK ", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN")  # older redis-py has no class for them


class NotSent(LayerUnavailable):
    """The command did not reach a server that would do it: trying again cannot do it twice."""


class Lost(LayerUnavailable):
    """The connection was lost before the answer: whether it was done is unknown."""


class UnknownScript(LayerUnavailable):
    """The server has not seen this script yet, and did nothing."""


class Refused(LayerUnavailable):
    """The server answers, and refuses: wrong password, missing permission. Waiting does not help."""


def backoff_s(attempt: int, limits: RedisLimits) -> float:
    """How long to wait before attempt number ``attempt`` (from 0); jitter keeps processes apart."""
    longest_s: float = min(limits.reconnect_max_s, limits.reconnect_min_s * 2 ** min(attempt, 16))
    return longest_s * random.uniform(0.5, 1.0)


def translate(error: BaseException, label: str) -> LayerUnavailable:
    """An error of redis-py or of a socket in our terms."""
    message = f"Redis at {label}: {without_secrets(str(error)).rstrip('.') or type(error).__name__}"
    if isinstance(error, LayerUnavailable):
        return error
    if isinstance(error, _REFUSALS):
        return Refused(message)
    if isinstance(error, _ELSEWHERE) or str(error).startswith(_ELSEWHERE_WORDS):
        return NotSent(message)
    if isinstance(error, NoScriptError):
        return UnknownScript(message)
    return LayerUnavailable(message) if isinstance(error, ResponseError) else Lost(message)


# For coroutines ------------------------------------------------------------------------------


async def open_async(host: Host, timeout_s: float) -> AsyncConnection:
    """Connect to ``host``, or to the master that its sentinels name.

    Raises:
        NotSent: it cannot be reached.
        Refused: it does not let us in.
    """
    try:
        async with asyncio.timeout(timeout_s):
            if not host.sentinels:
                return await _connect_async(host, timeout_s)
            connection = await _connect_async(await ask_async(find_master(host), timeout_s), timeout_s)
            try:
                await connection.send_command("ROLE", check_health=False)
                _check_role(await connection.read_response())
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
            return connection
    except (*FAILURES, LayerUnavailable) as error:
        raise _unopened(error, host.label) from error


async def ask_async(steps: Steps[T], timeout_s: float) -> T:
    """Drive a discovery of topology.py, each question on a connection of its own."""
    try:
        question = next(steps)
        while True:
            try:
                reply = await _ask_one_async(*question, timeout_s)
            except FAILURES as error:
                question = steps.throw(error)
            else:
                question = steps.send(reply)
    except StopIteration as end:
        found: T = end.value
        return found


async def _ask_one_async(host: Host, command: tuple[str, ...], timeout_s: float) -> Any:
    async with asyncio.timeout(timeout_s):
        connection = await _connect_async(host, timeout_s)
        try:
            await connection.send_command(*command, check_health=False)
            return await connection.read_response()
        finally:
            await connection.disconnect(nowait=True)


async def _connect_async(host: Host, timeout_s: float) -> AsyncConnection:
    connection = host.async_connection(timeout_s)
    try:
        await connection.connect()  # type: ignore[no-untyped-call]
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    return connection


# For threads ---------------------------------------------------------------------------------


def open_sync(host: Host, timeout_s: float, io_timeout_s: float) -> SyncConnection:
    """Like :func:`open_async`, in a thread; reads and writes then wait for ``io_timeout_s``."""
    try:
        if not host.sentinels:
            return _connect_sync(host, timeout_s, io_timeout_s)
        connection = _connect_sync(ask_sync(find_master(host), timeout_s), timeout_s, io_timeout_s)
        try:
            connection.send_command("ROLE", check_health=False)
            _check_role(connection.read_response())
        except BaseException:
            connection.disconnect()
            raise
        return connection
    except (*FAILURES, LayerUnavailable) as error:
        raise _unopened(error, host.label) from error


def ask_sync(steps: Steps[T], timeout_s: float) -> T:
    """Like :func:`ask_async`, in a thread."""
    try:
        question = next(steps)
        while True:
            try:
                reply = _ask_one_sync(*question, timeout_s)
            except FAILURES as error:
                question = steps.throw(error)
            else:
                question = steps.send(reply)
    except StopIteration as end:
        found: T = end.value
        return found


def _ask_one_sync(host: Host, command: tuple[str, ...], timeout_s: float) -> Any:
    connection = _connect_sync(host, timeout_s, timeout_s)
    try:
        connection.send_command(*command, check_health=False)
        return connection.read_response()
    finally:
        connection.disconnect()


def _connect_sync(host: Host, timeout_s: float, io_timeout_s: float) -> SyncConnection:
    connection = host.connection(timeout_s, io_timeout_s)
    try:
        connection.connect()
    except BaseException:
        connection.disconnect()
        raise
    return connection


# For both ------------------------------------------------------------------------------------


def _check_role(reply: Any) -> None:
    """Step 3 of the guidelines for Sentinel clients: a sentinel may not know yet that its master was replaced."""
    if reply[0] != b"master":
        raise ResponseError(f"the sentinels call it the master, and it says that it is a {reply[0].decode()}")


def _unopened(error: BaseException, label: str) -> LayerUnavailable:
    told = translate(error, label)
    return told if isinstance(told, (NotSent, Refused)) else NotSent(str(told))

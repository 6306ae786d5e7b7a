"""The connections of synchronous code: views, signals, workers' tasks, the shell. No event loop, no thread of ours."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from typing import Any

from redis.exceptions import ReadOnlyError, ResponseError

from fullduplex.exceptions import LayerUnavailable
from fullduplex.layers.redis.commands import Argument, Once
from fullduplex.layers.redis.connecting import NotSent, ask_sync, backoff_s, open_sync, translate
from fullduplex.layers.redis.hosts import Host, SyncConnection
from fullduplex.layers.redis.limits import RedisLimits
from fullduplex.layers.redis.topology import FAILURES, Topology


class ThreadConnections:
    """A small pool to each server, for the threads of one process."""

    def __init__(self, topology: Topology, limits: RedisLimits) -> None:
        self._topology = topology
        self._limits = limits
        self._idle: defaultdict[Host, list[SyncConnection]] = defaultdict(list)
        self._free = defaultdict[Host, threading.Semaphore](
            lambda: threading.BoundedSemaphore(limits.max_connections_count)
        )
        self._lock = threading.Lock()

    def call(self, name: bytes, *command: Argument) -> Any:
        """Send a command to the server of ``name`` and return the reply; otherwise like :meth:`make`."""
        return self.make(name, Once(*command))

    def make(self, name: bytes, call: Once) -> Any:
        """Have the server of ``name`` do what is called for, and return the reply.

        Raises:
            LayerUnavailable: not answered within ``publish_timeout_s``; when the connection was lost before the
                answer, whether it was done is unknown.
        """
        end_s = time.monotonic() + self._limits.publish_timeout_s
        attempt = 0
        while True:
            try:
                return self._try(name, call.packed(), end_s)
            except LayerUnavailable as error:
                if call.can_spell_out(error):
                    continue
                if not call.may_repeat(error):
                    raise
                wait_s = backoff_s(attempt, self._limits)
                if time.monotonic() + wait_s >= end_s:
                    raise LayerUnavailable(f"{error} (gave up after {self._limits.publish_timeout_s:g} s)") from error
            time.sleep(wait_s)
            attempt += 1
            self._refresh()

    def close(self) -> None:
        """Close what is idle."""
        with self._lock:
            idle = [connection for connections in self._idle.values() for connection in connections]
            self._idle.clear()
        for connection in idle:
            connection.disconnect()

    # Inside ----------------------------------------------------------------------------------

    def _try(self, name: bytes, packed: bytes, end_s: float) -> Any:
        host = self._topology.host_for(name)
        if host is None:
            self._refresh()
            host = self._topology.host_for(name)
        if host is None:
            raise NotSent("no node of the cluster serves this slot")
        free = self._free[host]
        if not free.acquire(timeout=max(end_s - time.monotonic(), 0)):
            raise LayerUnavailable(
                f"Redis at {host.label}: all {self._limits.max_connections_count} connections of this process are busy"
            )
        try:
            return self._exchange(host, packed)
        finally:
            free.release()

    def _exchange(self, host: Host, packed: bytes) -> Any:
        connection = self._take(host)
        try:
            connection.send_packed_command([packed], check_health=False)
            reply = connection.read_response()
        except ResponseError as error:
            if isinstance(error, ReadOnlyError):  # the sentinels know who is the master now
                connection.disconnect()
            else:
                self._give_back(host, connection)
            raise translate(error, host.label) from error
        except FAILURES as error:
            connection.disconnect()
            raise translate(error, host.label) from error
        except BaseException:
            connection.disconnect()
            raise
        self._give_back(host, connection)
        return reply

    def _take(self, host: Host) -> SyncConnection:
        while True:
            with self._lock:
                connection = self._idle[host].pop() if self._idle[host] else None
            if connection is None:
                return open_sync(host, self._limits.connect_timeout_s, self._limits.publish_timeout_s)
            if not _is_stale(connection):
                return connection
            connection.disconnect()

    def _give_back(self, host: Host, connection: SyncConnection) -> None:
        with self._lock:
            self._idle[host].append(connection)

    def _refresh(self) -> None:
        try:
            ask_sync(self._topology.refresh(), self._limits.connect_timeout_s)
        except LayerUnavailable:
            pass  # the next attempt fails the same way, and tells


def _is_stale(connection: SyncConnection) -> bool:
    """Whether the server has closed an idle connection, or sent what nobody asked for."""
    try:
        return connection.can_read(timeout=0)
    except FAILURES:
        return True

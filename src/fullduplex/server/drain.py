"""A graceful stop: nothing is lost that has begun, nobody is cut off who can end in time, and it always ends in time.

Every response says from the beginning that its connection closes (RFC 9112 section 9.6), so that clients and proxies
take their next request elsewhere. What lasts is told in batches, so that those who come back do not come all at once.
Accepting stops last.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Collection

from fullduplex.net.acceptor import Acceptor
from fullduplex.net.stream import ClientConnection
from fullduplex.server.connections import Connections

logger = logging.getLogger("fullduplex.server")

POLL_INTERVAL_S = 0.05
DISCONNECT_GRACE_S = 0.5
CANCEL_TIMEOUT_S = 3.0  # an application that swallows cancellation must not keep the process alive

# Sockets and event streams that are told in a second. Who is told comes back soon, with a handshake and a page's worth
# of work; a worker takes a few thousand handshakes in a second.
DISMISSED_PER_S = 1_000
AT_ONCE_COUNT = 50


class Drain:
    """The graceful stop of one worker.

    Args:
        connections: those of the worker.
        tasks: the application's calls in progress.
        timeout_s: how long they may take.
        grace_s: how long a connection without a request may still begin one.
        hurry: true when waiting should end at once.
        is_checked: somebody asks now and then whether the service goes on, and must hear that it does not before he
            finds nobody: so the grace is waited for also when nobody else is here.
    """

    def __init__(
        self,
        connections: Connections,
        tasks: Collection[asyncio.Task[None]],
        *,
        timeout_s: float,
        grace_s: float,
        hurry: Callable[[], bool],
        is_checked: bool = False,
    ) -> None:
        self._connections = connections
        self._tasks = tasks
        self._timeout_s = timeout_s
        self._grace_s = min(grace_s, timeout_s / 2)
        self._hurry = hurry
        self._is_checked = is_checked
        self._clock = asyncio.get_running_loop().time
        self._undismissed: list[ClientConnection] = []
        self._batch_count = AT_ONCE_COUNT

    async def run(self, acceptors: Collection[Acceptor], *, stay: bool) -> None:
        """Answer what has begun; then cut off what is left, and cancel what even then does not end.

        Args:
            acceptors: to be stopped.
            stay: go on accepting for the grace; not where another worker does it already.
        """
        began_s = self._clock()
        self._connections.drain(self._grace_s)
        self._gather()
        # A connection of the last moment has its grace, too.
        accept_until_s = began_s + self._grace_s if stay else began_s
        idle_until_s = accept_until_s + self._grace_s
        accepting = True
        while (now_s := self._clock()) < began_s + self._timeout_s and not self._hurry():
            self._dismiss()
            if now_s >= began_s + self._grace_s:
                self._close_idle(now_s, often=now_s < idle_until_s + 2 * POLL_INTERVAL_S)
            if accepting and (now_s >= accept_until_s or not (self._connections or self._is_checked)):
                accepting = False
                for acceptor in acceptors:
                    acceptor.stop(is_end=stay)
            # A TLS handshake has the grace of other connections without a request, and not all the time.
            beginning = now_s < idle_until_s and any(acceptor.beginning_count for acceptor in acceptors)
            if not accepting and not (self._connections or self._tasks or beginning):
                break
            await asyncio.sleep(POLL_INTERVAL_S)
        for acceptor in acceptors:
            acceptor.close()
        await self._cut()

    def _close_idle(self, now_s: float, *, often: bool) -> None:
        """The worker's sweep does the same, but twice a second only."""
        if often:
            for connection in [*self._connections]:
                connection.tick(now_s)

    def _gather(self) -> None:
        """Look for those that last, and mix them: neighbours in the set came together, and would come back together."""
        self._undismissed = [connection for connection in self._connections if connection.lasts]
        random.shuffle(self._undismissed)
        spread_s = min(len(self._undismissed) / DISMISSED_PER_S, self._timeout_s / 2)
        batches_count = max(spread_s / POLL_INTERVAL_S, 1.0)
        self._batch_count = max(round(len(self._undismissed) / batches_count), AT_ONCE_COUNT)

    def _dismiss(self) -> None:
        if not self._undismissed:
            self._gather()
        for _ in range(round(self._batch_count * random.uniform(0.5, 1.5))):
            if not self._undismissed:
                break
            self._undismissed.pop().dismiss()

    async def _cut(self) -> None:
        tasks = self._tasks
        if tasks:
            logger.warning("%d requests did not end within %g s and are cut off", len(tasks), self._timeout_s)
        for connection in [*self._connections]:
            connection.abort()
        await asyncio.sleep(0)
        if tasks:  # told that their clients are gone, most applications end by themselves, and clean up better
            await asyncio.wait(tasks, timeout=DISCONNECT_GRACE_S)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CANCEL_TIMEOUT_S)

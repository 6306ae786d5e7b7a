"""A graceful stop: nobody is cut off who can end in time, and it always ends in time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from fullduplex.net.connection import Connection

logger = logging.getLogger("fullduplex.server")

POLL_INTERVAL_S = 0.05
DISCONNECT_GRACE_S = 0.5
CANCEL_TIMEOUT_S = 3.0  # an application that swallows cancellation must not keep the process alive


async def drain(
    connections: set[Connection],
    tasks: set[asyncio.Task[None]],
    timeout_s: float,
    hurry: Callable[[], bool],
) -> None:
    """Close idle connections, tell sockets to come back (1012), wait for requests; then cut off what is left,
    and cancel what even then does not end.

    Args:
        connections: those of the worker; each removes itself when it ends.
        tasks: the application's calls in progress.
        timeout_s: how long they may take.
        hurry: true when waiting should end at once.
    """
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + timeout_s
    for connection in [*connections]:
        connection.drain()
    while (connections or tasks) and loop.time() < deadline_s and not hurry():  # noqa: ASYNC110 - sets, not events
        await asyncio.sleep(POLL_INTERVAL_S)
    if tasks:
        logger.warning("%d requests did not end within %g s and are cut off", len(tasks), timeout_s)
    for connection in [*connections]:
        connection.abort()
    await asyncio.sleep(0)
    if tasks:  # told that their clients are gone, most applications end by themselves, and clean up better
        await asyncio.wait(tasks, timeout=DISCONNECT_GRACE_S)
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=CANCEL_TIMEOUT_S)

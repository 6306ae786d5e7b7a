"""Hands what the database keeps to the layer, for those who are connected.

The database is the truth, and the layer tells of it promptly: what it does not carry, because it is down or this
process is killed first, is found by the hubs, which look at the positions of their groups every few seconds.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Sequence

from fullduplex.exceptions import LayerError
from fullduplex.layers import get_layer
from fullduplex.layers.history import Kept

logger = logging.getLogger("fullduplex.history")

PAUSE_S = 1.0  # after a failure, at least
PAUSE_FACTOR = 10.0  # of the time that it took: a layer may have a deadline of seconds, and all who append wait for it

_lock = threading.Lock()
_tasks: set[asyncio.Task[None]] = set()
_paused_until_s = 0.0
_unpublished_count = 0


def publish(messages: Sequence[tuple[str, Kept]]) -> None:
    """Publish messages that are kept. It does not raise, and where this thread runs a loop it does not wait."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        for group, kept in messages:
            if not _is_paused():
                begun_s = time.monotonic()
                try:
                    get_layer().publish_kept(group, kept)
                except Exception as error:
                    _note(group, error, begun_s)
    else:  # the end of a transaction on the loop (fullduplex.db)
        task = loop.create_task(_apublish(messages))
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)


async def _apublish(messages: Sequence[tuple[str, Kept]]) -> None:
    for group, kept in messages:
        if not _is_paused():
            begun_s = time.monotonic()
            try:
                await get_layer().apublish_kept(group, kept)
            except Exception as error:
                _note(group, error, begun_s)


def _is_paused() -> bool:
    global _unpublished_count
    if time.monotonic() >= _paused_until_s:
        return False
    with _lock:
        _unpublished_count += 1
    return True


def _note(group: str, error: Exception, begun_s: float) -> None:
    global _paused_until_s, _unpublished_count
    now_s = time.monotonic()
    with _lock:
        _unpublished_count += 1
        _paused_until_s = now_s + max(PAUSE_S, PAUSE_FACTOR * (now_s - begun_s))
    level = logging.WARNING if isinstance(error, LayerError) else logging.ERROR
    what = "A message of the group %r is kept and could not be published; members get it some seconds later: %s"
    logger.log(level, what, group, error, exc_info=level == logging.ERROR)


def unpublished_count() -> int:
    """Messages of this process that the layer did not take, so that members got them later."""
    return _unpublished_count

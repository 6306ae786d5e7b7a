"""Looks at the positions of groups that a database keeps: what nobody told of is found.

A message is in the database before the layer carries it. If the process dies between the two, or the layer is down,
the next message shows the hole; and if none comes, the next look does.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from fullduplex.conf import get_settings
from fullduplex.exceptions import LayerError
from fullduplex.layers.history import History, Position
from fullduplex.realtime.following import Follower
from fullduplex.watched import watched

logger = logging.getLogger("fullduplex.realtime")

SHORTEST_S = 0.05  # between two looks


@runtime_checkable
class Watched(History, Protocol):
    """A history that keeps more than what the layer tells of."""

    async def apositions(self, groups: Sequence[str]) -> dict[str, Position]:
        """Return where these groups are; those that have no count are left out."""

    async def abegin_epoch(self, group: str, position: Position) -> None:
        """Let a group begin another epoch, unless it has got beyond ``position``, or done so already."""


class Watch:
    """Of the groups of one loop, and for the thread of that loop only."""

    def __init__(self) -> None:
        self._followers: dict[Follower, Watched] = {}
        self._task: asyncio.Task[None] | None = None
        self._is_reachable = True

    def add(self, follower: Follower, history: Watched) -> None:
        self._followers[follower] = history
        if self._task is None:
            # In no context: that of a request would have it look in this one's transaction.
            loop = asyncio.get_running_loop()
            looking = watched("Looking at the positions of groups", self._run, logger)
            self._task = loop.create_task(looking, context=contextvars.Context())

    def discard(self, follower: Follower) -> None:
        self._followers.pop(follower, None)
        if not self._followers and self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(max(get_settings().history_look_s, SHORTEST_S) * random.uniform(0.8, 1.2))
            for history in {*self._followers.values()}:
                await self._look([one for one, other in self._followers.items() if other is history], history)

    async def _look(self, followers: Sequence[Follower], history: Watched) -> None:
        before = {follower: follower.position for follower in followers}
        try:
            found = await history.apositions([follower.name for follower in followers])
            for follower in followers:
                was, now = before[follower], found.get(follower.name)
                if now is not None and now.epoch == was.epoch and now.offset < was.offset:
                    logger.error(
                        "The group %r has gone back from %s to %s: was an older state of the database put back?",
                        follower.name,
                        was.offset,
                        now.offset,
                    )
                    await history.abegin_epoch(follower.name, was)
                    follower.look()
                elif now != was:
                    follower.look_beyond(now)
        except LayerError as error:
            if self._is_reachable:
                logger.warning("The positions of groups cannot be read, until this is over: %s", error)
            self._is_reachable = False
        else:
            self._is_reachable = True

"""Errors that a client can cause as often as it likes: one line for each cause in a minute, then how many more.

For the Django tower, which logs what the code of a project raises. A cause is what was done, and where an error of
which kind was raised: no part of it is chosen by a client.
"""

from __future__ import annotations

import asyncio
import logging
from weakref import WeakKeyDictionary

PERIOD_S = 60.0

_Cause = tuple[str, str, str, int]

_failures: WeakKeyDictionary[asyncio.AbstractEventLoop, Failures] = WeakKeyDictionary()


class Failures:
    """Those of one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._more_counts: dict[_Cause, int] = {}

    def admits(self, logger: logging.Logger, what: str, error: BaseException) -> bool:
        """Whether an error is to be logged; else it is counted, and ``logger`` told of the count at the minute's end.

        Args:
            what: failed; the same for all clients and groups.
        """
        cause = (what, type(error).__qualname__, *_place(error))
        count = self._more_counts.get(cause)
        if count is None:
            self._more_counts[cause] = 0
            self._loop.call_later(PERIOD_S, self._sum_up, logger, cause)
            return True
        self._more_counts[cause] = count + 1
        return False

    def _sum_up(self, logger: logging.Logger, cause: _Cause) -> None:
        count = self._more_counts.pop(cause)
        if count:
            what, kind, path, line = cause
            logger.error("%s: %d more of %s at %s:%d within %g s", what, count, kind, path, line, PERIOD_S)


def failures() -> Failures:
    """Return those of the running loop."""
    loop = asyncio.get_running_loop()
    found = _failures.get(loop)
    if found is None:
        found = _failures[loop] = Failures(loop)
    return found


def _place(error: BaseException) -> tuple[str, int]:
    """The file and line that raised it."""
    traceback = error.__traceback__
    if traceback is None:
        return "", 0
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback.tb_frame.f_code.co_filename, traceback.tb_lineno

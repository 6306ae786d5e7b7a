"""What runs for ever is watched: it does not end because something in it went wrong once.

For both towers, below everything that runs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

PAUSE_S = 1.0  # what fails each time is told as often, and no more


async def watched(what: str, run: Callable[[], Awaitable[None]], logger: logging.Logger) -> None:
    """Run it, and start it again when it fails, which is logged. It ends when ``run()`` returns, or by cancellation.

    Args:
        what: what it is, at the beginning of a line of the log.
        run: called for each attempt.
    """
    while True:
        try:
            await run()
        except asyncio.CancelledError:
            if asyncio.current_task().cancelling():  # type: ignore[union-attr]  # there is one: it awaits
                raise
            logger.error("%s was cancelled from within; it is started again", what)
        except Exception:
            logger.exception("%s failed; it is started again", what)
        else:
            return
        await asyncio.sleep(PAUSE_S)

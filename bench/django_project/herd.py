"""A consumer that notes each ``disconnect()`` in a file: for our server, and for Channels on another."""

from __future__ import annotations

import os
from typing import Any

_NOTES = os.environ.get("BENCH_HERD_NOTES", os.devnull)


def note(code: int) -> None:
    """One line for each; writes of a few bytes at the end of a file do not mix."""
    with open(_NOTES, "a") as notes:
        notes.write(f"{code}\n")


def consumer_on(base: Any) -> Any:
    """Make the consumer."""

    class Idle(base):  # type: ignore[misc]  # chosen when it runs
        async def disconnect(self, code: int) -> None:
            note(code)

    return Idle

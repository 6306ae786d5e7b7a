"""Who is in a room: one count per open page, in this process.

Memory is the right place for it in a single process: a server that starts anew starts with empty
rooms, and the pages that were there come back by themselves.
"""

from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .models import Room

_pages: defaultdict[int, Counter[str]] = defaultdict(Counter)


def names(room: Room) -> list[str]:
    """Return the names of those who are in the room."""
    return sorted(_pages.get(room.pk, ()), key=str.casefold)


@asynccontextmanager
async def present(room: Room, name: str) -> AsyncIterator[None]:
    """Be in the room for as long as the block lasts, and let everybody there know."""
    pages = _pages[room.pk]
    pages[name] += 1
    try:
        await _announce(room)
        yield
    finally:
        pages[name] -= 1
        if not pages[name]:
            del pages[name]
        if not pages:
            del _pages[room.pk]
        await _announce(room)


async def _announce(room: Room) -> None:
    await room.group.asend({"type": "here", "names": names(room)})

"""Who is in a room: one count per open page, in this process.

Memory is the right place for it in a single process: a server that starts anew starts with empty
rooms, and the pages that were there come back by themselves.
"""

from collections import Counter, defaultdict

from .models import Room

_pages: defaultdict[int, Counter[str]] = defaultdict(Counter)


def names(room: Room) -> list[str]:
    """Return the names of those who are in the room."""
    return sorted(_pages.get(room.pk, ()), key=str.casefold)


async def enter(room: Room, name: str) -> None:
    """One more page of somebody is open; everybody in the room gets to know."""
    _pages[room.pk][name] += 1
    await _announce(room)


async def leave(room: Room, name: str) -> None:
    """A page of somebody is closed."""
    pages = _pages[room.pk]
    pages[name] -= 1
    if not pages[name]:
        del pages[name]
    if not pages:
        del _pages[room.pk]
    await _announce(room)


async def _announce(room: Room) -> None:
    await room.group.asend({"type": "here", "names": names(room)})

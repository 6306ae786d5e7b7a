"""Messages of groups as clients of endpoints get them: written once and framed once, for any number of clients."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from weakref import WeakKeyDictionary

from fullduplex.endpoint.grammar import envelope
from fullduplex.layers.history import Kept, Position
from fullduplex.realtime.prepared import Prepared

# After a deploy all clients of a group come back for the same messages: envelopes and frames are kept for a while.
MAX_BYTES = 8_388_608
_ENTRY_BYTES = 512  # what an entry costs beside its data, twice: as it was sent, and in the frame

_caches: WeakKeyDictionary[asyncio.AbstractEventLoop, Envelopes] = WeakKeyDictionary()


def enveloped(prepared: Prepared) -> Prepared:
    """Return what subscribers get of a message to a group."""
    made = prepared.enveloped
    if made is None:
        position = prepared.position
        text = envelope(prepared.data, prepared.group, None if position is None else position.offset)
        made = prepared.enveloped = Prepared(text, prepared.group, position)
    return made


class Envelopes:
    """The envelopes that were sent last to clients who came back, within a bound of bytes."""

    def __init__(self) -> None:
        self._made: OrderedDict[tuple[str, Position], Prepared] = OrderedDict()
        self._bytes = 0

    def of(self, group: str, kept: Kept) -> Prepared:
        """Return what subscribers get of a message that was kept."""
        key = (group, kept.position)
        made = self._made.get(key)
        if made is not None:
            self._made.move_to_end(key)
            return made
        made = Prepared(envelope(kept.data, group, kept.position.offset), group, kept.position)
        cost_bytes = _cost(made)
        if cost_bytes <= MAX_BYTES // 8:
            self._made[key] = made
            self._bytes += cost_bytes
            while self._bytes > MAX_BYTES:
                _, oldest = self._made.popitem(last=False)
                self._bytes -= _cost(oldest)
        return made


def envelopes() -> Envelopes:
    """Return those of the running loop."""
    loop = asyncio.get_running_loop()
    cache = _caches.get(loop)
    if cache is None:
        cache = _caches[loop] = Envelopes()
    return cache


def _cost(prepared: Prepared) -> int:
    return 2 * prepared.size_bytes + _ENTRY_BYTES

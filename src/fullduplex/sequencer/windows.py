"""What is kept of groups, in memory: the windows of the in-process layer, and of the sequencer.

::

    append ──> window of a group, the oldest goes first ──> its head alone: the last offset and the epoch ──> forgotten
                                   (count, bytes, age;          (max_bytes; quiet ones first)
                                    all groups: max_bytes)

A *head* remembers a count when nothing of it is kept any more, so that a group that was quiet for long goes on with its
next offset. A group that is forgotten begins another epoch: nobody can say what came before.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

HEAD_BYTES = 512  # of max_bytes allow for one head, which takes half of that: 131,072 heads beside 64 MiB
ENTRY_BYTES = 256  # what a message costs beside its data: the objects around it
WINDOW_BYTES = 1_024  # what a group of which something is kept costs beside its messages
SWEEP_S = 1.0  # between two looks at what has become too old in groups that nobody uses

Group = TypeVar("Group", bound=Hashable)
Item = TypeVar("Item")


class Found(NamedTuple, Generic[Item]):
    """What :meth:`Windows.read` finds; see :class:`fullduplex.layers.history.Missed`."""

    items: list[Item]
    offset: int
    epoch: str
    recovered: bool
    complete: bool


#: What is kept: an item, the bytes of its data, when it came, and its idempotency key. A plain tuple, since making one
#: takes a fourth of a named one's time, and each message makes one.
Entry = tuple[Item, int, float, str]


class _Window(Generic[Item]):
    """The end of a count.

    Attributes:
        entries: without a hole between them; the last one has ``offset``.
        size_bytes: of their data.
    """

    __slots__ = ("age_s", "entries", "epoch", "keys", "offset", "size_bytes")

    def __init__(self, offset: int, epoch: str, age_s: float) -> None:
        self.offset = offset
        self.epoch = epoch
        self.age_s = age_s
        self.entries: deque[Entry[Item]] = deque()
        self.keys: dict[str, Item] = {}
        self.size_bytes = 0

    @property
    def latest_s(self) -> float:
        return self.entries[-1][2]

    def drop_oldest(self) -> int:
        """Return what that frees of all groups' bytes."""
        _, size_bytes, _, key = self.entries.popleft()
        self.size_bytes -= size_bytes
        if key:
            del self.keys[key]
        return size_bytes + ENTRY_BYTES

    def drop_old(self, oldest_s: float) -> int:
        """Drop what came before a moment; return what that frees."""
        freed_bytes = 0
        while self.entries and self.entries[0][2] < oldest_s:
            freed_bytes += self.drop_oldest()
        return freed_bytes


class Windows(Generic[Group, Item]):
    """The windows of all groups; for one thread at a time.

    Args:
        max_bytes: of all groups together; above it the group that was quiet for longest loses its window. Heads have
            half as much for themselves.
        clock: seconds that only grow.
    """

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self._clock = clock
        self._life = secrets.token_hex(6)
        self._forgotten_count = 0
        self._epoch = f"{self._life}.0"  # of a count that begins now
        self._windows: dict[Group, _Window[Item]] = {}
        self._quiet: dict[float, OrderedDict[Group, None]] = {}  # by age_s; who was appended to last, comes last
        self._heads: OrderedDict[Group, tuple[int, str]] = OrderedDict()
        self._sweep_s = clock() + SWEEP_S

    def __bool__(self) -> bool:
        """Whether any group is known."""
        return bool(self._windows or self._heads)

    def find(self, group: Group, key: str, age_s: float) -> Item | None:
        """What is in the window with this idempotency key."""
        window = self._windows.get(group)
        if window is None or key not in window.keys:
            return None
        self._drop_old(group, window, age_s)
        return window.keys.get(key)

    def append(
        self,
        group: Group,
        make: Callable[[int, str], Item],
        size_bytes: int,
        *,
        count: int,
        age_s: float,
        max_bytes: int,
        key: str = "",
    ) -> Item:
        """Keep what ``make(offset, epoch)`` returns, as long as the window has room for it, and return it."""
        now_s = self._clock()
        window = self._windows.get(group)
        if window is None:
            window = self._windows[group] = _Window(*self._heads.pop(group, (0, self._epoch)), age_s)
            self._quiet.setdefault(age_s, OrderedDict())[group] = None
            self.size_bytes += WINDOW_BYTES
        elif window.age_s == age_s:
            self._quiet[age_s].move_to_end(group)
        else:
            self._leave_queue(group, window)
            window.age_s = age_s
            self._quiet.setdefault(age_s, OrderedDict())[group] = None
        window.offset += 1
        item = make(window.offset, window.epoch)
        entries = window.entries
        entries.append((item, size_bytes, now_s, key))
        if key:
            window.keys[key] = item
        window.size_bytes += size_bytes
        self.size_bytes += size_bytes + ENTRY_BYTES
        while len(entries) > count or window.size_bytes > max_bytes:
            self.size_bytes -= window.drop_oldest()
        if entries and entries[0][2] < now_s - age_s:
            self.size_bytes -= window.drop_old(now_s - age_s)
        if not entries:
            self._behead(group, window)
        if self.size_bytes > self.max_bytes:
            self._make_room()
        if now_s >= self._sweep_s:
            self.sweep()
        return item

    def read(
        self, group: Group, after: tuple[int, str] | None, *, age_s: float, max_count: int, max_bytes: int
    ) -> Found[Item]:
        """What came after an offset of an epoch; None: nothing but the position now."""
        window = self._windows.get(group)
        if window is not None:
            self._drop_old(group, window, age_s)
        if window is None or not window.entries:
            offset, epoch = self._head(group)
            return Found([], offset, epoch, after in (None, (offset, epoch)), True)
        offset, epoch = window.offset, window.epoch
        if after is None:
            return Found([], offset, epoch, True, True)
        first = offset - len(window.entries) + 1
        recovered = after[1] == epoch and first <= after[0] + 1 <= offset + 1
        items: list[Item] = []
        for item, size_bytes, _, _ in islice(window.entries, after[0] + 1 - first if recovered else 0, None):
            max_bytes -= size_bytes
            if items and (len(items) >= max_count or max_bytes < 0):
                return Found(items, offset, epoch, recovered, False)
            items.append(item)
        return Found(items, offset, epoch, recovered, True)

    # For whoever takes them over -------------------------------------------------------------

    def counts(self) -> Iterator[tuple[Group, int, str, float, Iterable[Entry[Item]]]]:
        """Of each group its name, last offset, epoch, the time for which messages are kept, and what is: those first
        that were quiet for longest."""
        for group, (offset, epoch) in self._heads.items():
            yield group, offset, epoch, 0.0, ()
        for group in sorted(self._windows, key=lambda name: self._windows[name].latest_s):
            window = self._windows[group]
            yield group, window.offset, window.epoch, window.age_s, window.entries

    def restore(self, group: Group, offset: int, epoch: str, age_s: float, entries: Iterable[Entry[Item]]) -> None:
        """Take over what :meth:`counts` has said of a group that is not known yet."""
        window: _Window[Item] = _Window(offset, epoch, age_s)
        for entry in entries:
            item, size_bytes, _, key = entry
            window.entries.append(entry)
            window.size_bytes += size_bytes
            self.size_bytes += size_bytes + ENTRY_BYTES
            if key:
                window.keys[key] = item
        if window.entries:
            self._windows[group] = window
            self._quiet.setdefault(age_s, OrderedDict())[group] = None
            self.size_bytes += WINDOW_BYTES
            self._drop_old(group, window, age_s)
        else:
            self._heads[group] = (offset, epoch)

    def sweep(self) -> None:
        """Drop what has become too old in groups that nobody uses."""
        now_s = self._clock()
        self._sweep_s = now_s + SWEEP_S
        for age_s, queue in [*self._quiet.items()]:
            while queue:
                group = next(iter(queue))
                window = self._windows[group]
                self._drop_old(group, window, age_s)
                if window.entries:
                    break

    # Inside ----------------------------------------------------------------------------------

    def _drop_old(self, group: Group, window: _Window[Item], age_s: float) -> None:
        self.size_bytes -= window.drop_old(self._clock() - age_s)
        if not window.entries:
            self._behead(group, window)

    def _make_room(self) -> None:
        while self._quiet and self.size_bytes > self.max_bytes:
            quietest = [next(iter(queue)) for queue in self._quiet.values()]
            quiet = min(quietest, key=lambda name: self._windows[name].latest_s)
            window = self._windows[quiet]
            while window.entries and self.size_bytes > self.max_bytes:
                self.size_bytes -= window.drop_oldest()
            if not window.entries:
                self._behead(quiet, window)

    def _behead(self, group: Group, window: _Window[Item]) -> None:
        """Nothing is left of a window but its head."""
        self._leave_queue(group, window)
        del self._windows[group]
        self.size_bytes -= WINDOW_BYTES
        self._heads[group] = (window.offset, window.epoch)
        self._bound_heads()

    def _leave_queue(self, group: Group, window: _Window[Item]) -> None:
        queue = self._quiet[window.age_s]
        del queue[group]
        if not queue:
            del self._quiet[window.age_s]

    def _head(self, group: Group) -> tuple[int, str]:
        """The count of a group of which nothing is kept; it begins, where it is not known."""
        head = self._heads.get(group)
        if head is None:
            head = self._heads[group] = (0, self._epoch)
            self._bound_heads()
        else:
            self._heads.move_to_end(group)
        return head

    def _bound_heads(self) -> None:
        while len(self._heads) > self.max_bytes // HEAD_BYTES:
            self._heads.popitem(last=False)
            self._forgotten_count += 1
            self._epoch = f"{self._life}.{self._forgotten_count:x}"

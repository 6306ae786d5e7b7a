"""What a supervisor keeps about its workers, the dead ones included: their counters must not become less."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from fullduplex.server.children import Child
from fullduplex.server.figures import Family, counters, from_json, join
from fullduplex.server.overview import Overview, Seen


class Books:
    """Of one supervisor."""

    def __init__(self) -> None:
        self._latest: dict[Child, tuple[float, tuple[Family, ...]]] = {}
        self._past: dict[int, tuple[Family, ...]] = {}
        self._restarts: dict[tuple[int, str], int] = defaultdict(int)
        self._reloads = {"done": 0, "failed": 0}

    def take(self, child: Child, rows: list[Any], now_s: float) -> None:
        """What a worker says of itself."""
        self._latest[child] = now_s, tuple(from_json(rows))

    def bury(self, child: Child) -> None:
        """A worker has ended."""
        _, families = self._latest.pop(child, (0.0, ()))
        before = self._past.get(child.slot, ())
        self._past[child.slot] = tuple(join([((), before), ((), [one for one in families if one.grows])]))

    def restarted(self, slot: int, reason: str) -> None:
        """A worker is replaced: ``died``, ``blocked``, ``recycled`` or ``left``."""
        self._restarts[slot, reason] += 1

    def reloaded(self, outcome: str) -> None:
        """A reload is ``done``, or has ``failed``."""
        self._reloads[outcome] += 1

    def overview(self, children: Iterable[Child], is_stopping: bool, now_s: float) -> Overview:
        """All of it, with the workers that there are."""
        seen = []
        for child in children:
            taken_s, families = self._latest.get(child, (None, ()))
            seen.append(Seen(child.slot, child.state, child.beat_s, taken_s, families))
        restarts = Family("fullduplex_worker_restarts", "counter", "Workers that were replaced, and why.")
        for (slot, reason), count in self._restarts.items():
            restarts.add((("worker", str(slot + 1)), ("reason", reason)), [count])
        reloads = counters("fullduplex_reloads", "Reloads.", "outcome", self._reloads)
        return Overview(now_s, is_stopping, tuple(seen), tuple(self._past.items()), (restarts, reloads))

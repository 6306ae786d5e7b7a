"""What a supervisor knows of its workers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from fullduplex.server.overview import State
from fullduplex.server.spawn import Forked, Spawned


class Child:
    """One worker process.

    Attributes:
        slot: whose sockets are its own.
        generation: of code: each reload begins a new one.
        ready_s: since when it is ready, or None.
        beat_s: when its loop was last seen to run.
        until_s: it must have ended by then; None while it may stay.
        accepting: the slots whose sockets it was told to accept from.
        is_silent: its line is closed: it has ended, or is about to.
        is_dumping: it was blocked for too long, and writes its stacks.
    """

    def __init__(self, process: Spawned | Forked, slot: int, generation: int, now_s: float) -> None:
        self.process = process
        self.slot = slot
        self.generation = generation
        self.state = State.STARTING
        self.started_s = now_s
        self.ready_s: float | None = None
        self.beat_s = now_s
        self.until_s: float | None = None
        self.accepting: set[int] = set()
        self.is_silent = False
        self.is_dumping = False

    def __str__(self) -> str:
        return f"{self.slot + 1} (process {self.process.pid})"


class Slot:
    """A place for one worker at a time.

    Attributes:
        current: who has it.
        next: who gets ready to take over.
        failures_count: of workers in a row that did not last.
        due_s: when the next one may start.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.current: Child | None = None
        self.next: Child | None = None
        self.failures_count = 0
        self.due_s = 0.0

    @property
    def children(self) -> Iterator[Child]:
        return (child for child in (self.current, self.next) if child is not None)

    @property
    def is_ready(self) -> bool:
        return self.current is not None and self.current.state is State.READY


def share_out(slots: Iterable[int], serving: Sequence[Child], blocked: Collection[Child]) -> dict[Child, set[int]]:
    """Who accepts at the sockets of which slots: each at its own, and some at those of slots without one that would.

    Args:
        slots: that have sockets, with workers or without.
        serving: workers that are ready, at most one of each slot.
        blocked: those among them whose loops do not run; their sockets stay theirs, too.
    """
    awake = [child for child in serving if child not in blocked] or serving
    accepting = {child: {child.slot} for child in serving}
    for number in slots:
        if awake and all(child.slot != number for child in awake):
            accepting[awake[number % len(awake)]].add(number)
    return accepting

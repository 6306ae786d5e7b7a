"""How a reader is fuzzed: what it is fed, what must hold, and how a finding is reported so that it can be repeated.

Every input follows from a seed and its number alone: ``python -m tests.fuzz --reader R --seed S --start N --inputs 1``
repeats the one that a finding names.
"""

from __future__ import annotations

import faulthandler
import gc
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, ClassVar

from tests.fuzz.mutation import mutate

SLOW_S = 1.0  # of CPU for one input of at most 20 KB; the slowest take a few milliseconds
HANG_S = 120.0
SAMPLE_EVERY = 16
BATCH_COUNT = 1000


class Harness:
    """One reader under test.

    Attributes:
        name: as on the command line.
        share: of a run over all readers, relative to the others'.
        vectors: good and bad examples to start from.
        words: what is put into them.
    """

    name: ClassVar[str]
    share: ClassVar[int] = 1
    vectors: Sequence[bytes]
    words: Sequence[bytes]

    def make(self, random: Random) -> bytes:
        """An input."""
        return mutate(random, self.vectors, self.words)

    def check(self, data: bytes) -> None:
        """Feed the input whole. Any exception is a finding."""
        raise NotImplementedError

    def check_closely(self, data: bytes) -> None:
        """What is worth checking but too slow for every input: other cuts, memory, another implementation."""


@dataclass
class Finding:
    """An input that should not do what it does."""

    reader: str
    number: int
    data: bytes
    error: str

    def __str__(self) -> str:
        return f"{self.reader} input {self.number}: {self.data[:2000]!r}\n{self.error}"


@dataclass
class Report:
    """How a run went."""

    reader: str
    seed: int
    inputs_count: int = 0
    duration_s: float = 0.0
    slowest_s: float = 0.0
    findings: list[Finding] = field(default_factory=list)

    def __str__(self) -> str:
        rate = self.inputs_count / max(self.duration_s, 1e-9)
        return (
            f"{self.reader}: {self.inputs_count} inputs, seed {self.seed}, {self.duration_s:.0f} s ({rate:.0f}/s), "
            f"slowest {self.slowest_s * 1000:.1f} ms, {len(self.findings)} findings"
        )


def run(
    harness: Harness,
    *,
    seed: int,
    inputs_count: int,
    start: int = 0,
    sample_every: int = SAMPLE_EVERY,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Feed inputs ``start`` to ``start + inputs_count`` of a seed.

    Of findings that end in the same line of code only the first is kept.
    """
    report = Report(harness.name, seed)
    seen: set[str] = set()
    random = Random()
    started_s = time.perf_counter()
    try:
        for number in range(start, start + inputs_count):
            if number % BATCH_COUNT == 0:
                faulthandler.dump_traceback_later(HANG_S, exit=True)
                if progress is not None:
                    progress(number)
            random.seed(f"{harness.name} {seed} {number}")
            data = harness.make(random)
            before_s = time.process_time()
            try:
                harness.check(data)
                if number % sample_every == 0:
                    harness.check_closely(data)
            except Exception as error:
                _note(report, seen, number, data, error)
            spent_s = time.process_time() - before_s
            report.slowest_s = max(report.slowest_s, spent_s)
            if spent_s > SLOW_S:
                _note(report, seen, number, data, TimeoutError(f"took {spent_s:.1f} s"))
            report.inputs_count += 1
    finally:
        faulthandler.cancel_dump_traceback_later()
    report.duration_s = time.perf_counter() - started_s
    return report


def _note(report: Report, seen: set[str], number: int, data: bytes, error: Exception) -> None:
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{type(error).__name__} {frames[-1].filename}:{frames[-1].lineno}" if frames else type(error).__name__
    if place not in seen:
        seen.add(place)
        report.findings.append(Finding(report.reader, number, data, "".join(traceback.format_exception(error))))


def retained_bytes(holder: Any) -> int:
    """The bytes of all strings and buffers that an object keeps alive, as far as the garbage collector sees."""
    seen: set[int] = set()
    queue = [holder]
    total = 0
    while queue:
        item = queue.pop()
        if id(item) in seen or isinstance(item, type) or callable(item):
            continue
        seen.add(id(item))
        if isinstance(item, bytes | bytearray | str):
            total += len(item)
        else:
            queue += gc.get_referents(item)
    return total

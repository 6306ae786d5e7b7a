"""Figures as plain numbers: what one process tells of itself, and how those of several add up.

A family is what Prometheus calls a metric. It goes from a worker to the supervisor as JSON, and into text only when
somebody asks for it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

KINDS = ("counter", "gauge", "maximum", "histogram")  # "maximum": a gauge of which several processes give the highest

# Seconds, for whatever is measured in them: from a page out of a cache to a report.
BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

PROJECTS = "PROMETHEUS_MULTIPROC_DIR"  # where prometheus_client keeps what all processes of a project count

Labels = tuple[tuple[str, str], ...]


class Histogram:
    """How often something took how long; plain numbers that only grow."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    def add(self, value_s: float) -> None:
        self.counts[bisect_left(BOUNDS_S, value_s)] += 1
        self.sum_s += value_s


@dataclass(slots=True)
class Family:
    """All samples of one name.

    Attributes:
        kind: one of :data:`KINDS`.
        samples: numbers by labels: one number, or of a histogram one for each of :data:`BOUNDS_S`, one for what is
            above them, and the sum.
    """

    name: str
    kind: str
    help: str
    samples: dict[Labels, list[float]] = field(default_factory=dict)

    @property
    def grows(self) -> bool:
        """Whether it must never become less, also when a process ends that it is of."""
        return self.kind in ("counter", "histogram")

    def add(self, labels: Labels, values: list[float]) -> None:
        """Count the sample of another process in."""
        known = self.samples.get(labels)
        if known is None:
            self.samples[labels] = [*values]
        elif self.kind == "maximum":
            self.samples[labels] = [max(pair) for pair in zip(known, values, strict=True)]
        else:
            self.samples[labels] = [sum(pair) for pair in zip(known, values, strict=True)]


def counter(name: str, help: str, value: float) -> Family:
    return Family(name, "counter", help, {(): [value]})


def gauge(name: str, help: str, value: float) -> Family:
    return Family(name, "gauge", help, {(): [value]})


def histogram(name: str, help: str, measured: Histogram) -> Family:
    return Family(name, "histogram", help, {(): [*measured.counts, measured.sum_s]})


def counters(name: str, help: str, label: str, values: Mapping[Any, int]) -> Family:
    """One counter for each value of a label."""
    return Family(name, "counter", help, {((label, str(key)),): [value] for key, value in values.items()})


def join(sources: Iterable[tuple[Labels, Iterable[Family]]]) -> list[Family]:
    """Add up figures: samples whose labels are the same become one.

    Args:
        sources: figures, each with labels that all its samples get in front of their own.
    """
    joined: dict[str, Family] = {}
    for labels, families in sources:
        for family in families:
            into = joined.setdefault(family.name, Family(family.name, family.kind, family.help))
            if into.kind == family.kind:  # else an application of a new generation means something else by the name
                for own, values in family.samples.items():
                    into.add((*labels, *own), values)
    return [*joined.values()]


def to_json(families: Iterable[Family]) -> list[Any]:
    return [
        [family.name, family.kind, family.help, [[own, values] for own, values in family.samples.items()]]
        for family in families
    ]


def from_json(rows: list[Any]) -> list[Family]:
    return [
        Family(name, kind, help, {tuple((key, value) for key, value in own): values for own, values in samples})
        for name, kind, help, samples in rows
    ]

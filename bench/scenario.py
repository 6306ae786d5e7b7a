"""What a scenario is. A new one is a subclass in bench/scenarios/, named in its ``__init__.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from bench.server import Peer, Server


@dataclass(frozen=True)
class Column:
    """A figure of a table: its key in ``Measurement.figures`` and its heading with the unit."""

    key: str
    heading: str


def cpu_columns(operation: str) -> tuple[Column, Column]:
    """What one operation costs the server in processor time: a figure that a busy machine disturbs least."""
    return Column("cpu_us", f"server µs/{operation}"), Column("user_us", "of it user")


@dataclass
class Measurement:
    """What one peer did in one round.

    Attributes:
        figures: by key of the column; at least the first column's.
        errors: wrong or missing answers. With any, the figures do not count.
        note: what a reader must know to read the figures.
    """

    figures: dict[str, float] = field(default_factory=dict)
    errors: int = 0
    note: str = ""

    @property
    def failed(self) -> bool:
        return self.errors > 0 or not self.figures


class Failed(Exception):
    """A peer cannot be measured: a wrong answer, no answer."""


class Scenario:
    """One question that is put to several peers.

    Attributes:
        name: on the command line.
        title: above the table.
        about: what exactly is measured, in a sentence or two.
        columns: the first is the one whose ratios are shown.
        goals: by name of the peer, the least that ours / theirs shall be (the most, where less is better).
        own_goal: the least that our own figure shall be (the most, where less is better).
        less_is_better: of the first column.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    about: ClassVar[str] = ""
    columns: ClassVar[Sequence[Column]]
    goals: ClassVar[Mapping[str, float]] = {}
    own_goal: ClassVar[float | None] = None
    less_is_better: ClassVar[bool] = False

    def peers(self) -> list[Peer]:
        """The rows; ours first."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Called once before the first round."""

    def measure(self, server: Server, seconds: float) -> Measurement:
        """Check that the server answers right, warm it up, measure for so many seconds.

        Raises:
            Failed: it cannot be measured.
        """
        raise NotImplementedError

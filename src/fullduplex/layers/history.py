"""History: what a group keeps, so that whoever was away for a while asks for what he missed.

::

    position = layer.append("chat.1", '{"text": "hello"}', keep)       # kept and published, as one
    missed = await layer.aread("chat.1", keep, after=position)         # what came after it
    missed.recovered                                                   # True: nothing is missing in between

A *position* is an offset and an epoch. Offsets count the messages of one group: 1, 2, 3; each message has its own. An
epoch is the life of one such count: whatever may have lost messages, or the count itself, begins another one. So two
positions of one epoch can be compared, and with positions of two epochs all that can be said is that something may be
missing.

The *window* of a group is what it keeps: so many messages, so many bytes, for so long (:class:`Keep`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

#: What is kept: str is text, bytes is binary.
Payload = str | bytes

#: Of an idempotency key.
MAX_KEY_LENGTH = 128


class Position(NamedTuple):
    """A place in the history of one group.

    Attributes:
        offset: of the message that was seen last; 0: before the first.
        epoch: of the count that the offset belongs to: 1 to 64 ASCII letters, digits, hyphens, underscores and full
            stops.
    """

    offset: int
    epoch: str


class Kept:
    """A message of a group that keeps a history, with its place in it.

    Attributes:
        data: str for text, bytes for binary.
        position: its own.
        key: the idempotency key that it was published with; empty: none.
    """

    __slots__ = ("data", "key", "position")

    def __init__(self, data: Payload, position: Position, key: str = "") -> None:
        self.data = data
        self.position = position
        self.key = key

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Kept):
            return NotImplemented
        return (self.data, self.position, self.key) == (other.data, other.position, other.key)

    def __hash__(self) -> int:
        return hash((self.data, self.position, self.key))

    def __repr__(self) -> str:
        return f"Kept({self.data!r}, {self.position!r}, {self.key!r})"


@dataclass(frozen=True, slots=True)
class Keep:
    """The window of a group.

    Attributes:
        count: messages that are kept; the oldest goes first.
        age_s: a message is kept for so long.
        max_bytes: of data that is kept; the oldest goes first. A message that is longer than all of it is published
            and not kept, which is an honest gap for those who come back.
    """

    count: int
    age_s: float
    max_bytes: int


class Missed(NamedTuple):
    """What :meth:`History.read` and :meth:`History.aread` answer.

    Attributes:
        messages: the oldest first, without a hole between them.
        position: the newest of the group when it was read; what comes later has a higher offset, or another epoch.
        recovered: ``messages`` begins right behind the position that was asked for. False: something that came after
            it is not kept any more, or its epoch has ended; then ``messages`` is what is left of the window.
        complete: ``messages`` goes up to ``position``. False: a bound of the answer was met; ask again for what comes
            after the last message.
    """

    messages: list[Kept]
    position: Position
    recovered: bool
    complete: bool


class History(Protocol):
    """Keeps messages of groups. A layer with ``supports_history`` is one; the project's database is another.

    - Messages of one group are in one order, the same for all who read it and all who are subscribed.
    - When ``append`` has returned, the message is kept; when it raises, it may be or not. Append it again with the same
      key then: it is kept once, and the position of the first is returned, as long as that is in the window.
    - Nothing is lost in silence: what may have lost a message that was acknowledged begins another epoch.
    """

    def append(self, group: str, data: Payload, keep: Keep, *, key: str = "") -> Position:
        """Keep and publish a message, from code that runs in no event loop; subscribers get a :class:`Kept`.

        Args:
            key: idempotency key, at most 128 printable ASCII characters; empty: none.

        Raises:
            LayerUnavailable: the store cannot be reached; whether it was kept is unknown.
            ChannelFull: a bound stayed exceeded until the deadline; it was not kept.
        """

    async def aappend(self, group: str, data: Payload, keep: Keep, *, key: str = "") -> Position:
        """Like :meth:`append`, from a coroutine. It lets other tasks run."""

    def read(
        self, group: str, keep: Keep, *, after: Position | None, max_count: int = 1_000, max_bytes: int = 1_048_576
    ) -> Missed:
        """Read what came after a position, from code that runs in no event loop.

        Args:
            after: None: nothing is asked for but the position now: no messages, recovered.
            max_count, max_bytes: bounds of the answer; the first message is part of it, however long.

        Raises:
            LayerUnavailable: the store cannot be reached.
        """

    async def aread(
        self, group: str, keep: Keep, *, after: Position | None, max_count: int = 1_000, max_bytes: int = 1_048_576
    ) -> Missed:
        """Like :meth:`read`, from a coroutine. It lets other tasks run."""

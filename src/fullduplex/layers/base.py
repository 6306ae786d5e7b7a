"""What every layer does: move messages between processes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from fullduplex.layers.history import Keep, Kept, Missed, Position

#: A serialised message: str is text, bytes is binary. A layer keeps the difference.
Message = str | bytes


class Event(bytes):
    """An event of the channel layer that stands on a layer of ours, serialised by it. Other layers see none."""


#: What subscribers get: of a group that keeps a history, the message with its position.
Delivered = Message | Kept

#: Takes a message on the loop that subscribed. It does not block, and does not raise.
Deliver = Callable[[Delivered], None]

#: Called on the loop that subscribed when messages may have been missed: the broker was lost, and is back. Whatever
#: is published from then on arrives. It does not block, and does not raise.
Gap = Callable[[], None]


def data_of(delivered: Delivered) -> Message:
    """Return the message itself."""
    return delivered.data if isinstance(delivered, Kept) else delivered


class BaseLayer(ABC):
    """Moves messages from any process to every process that subscribed to their group.

    There is one object per process. It is built without I/O, connects at its first use, and its
    methods may be called from any thread and any loop. What it promises:

    - Each message of one publisher (a thread, or a task) arrives at most once, in the order of publishing.
    - Whoever subscribed before ``publish`` was called gets the message, unless the broker is lost
      meanwhile, or a bound is exceeded.
    - Buffers are bounded in bytes and waits have deadlines: a failure raises
      :class:`~fullduplex.exceptions.LayerError` at the caller.

    The sockets of a process are no business of a layer: the hub subscribes once for each group and hands
    on what arrives. ``fullduplex.testing.layers`` tests a layer against this contract.

    Attributes:
        in_process: it reaches members in its own process only.
        supports_history: it is a :class:`~fullduplex.layers.history.History`, for those who come back.
        supports_presence: it knows who is a member, in all processes.
        supports_queues: it has :meth:`push` and :meth:`pop`.
        reports_gaps: it calls the ``on_gap`` of :meth:`subscribe`; other layers need not take that argument.
    """

    in_process: ClassVar[bool] = False
    supports_history: ClassVar[bool] = False
    supports_presence: ClassVar[bool] = False
    supports_queues: ClassVar[bool] = False
    reports_gaps: ClassVar[bool] = False

    async def open(self) -> None:  # noqa: B027 - a layer without connections has nothing to do
        """Connect for the running loop now, not at the first use; doing it twice is no error.

        Raises:
            LayerUnavailable: the broker cannot be reached.
        """

    async def close(self) -> None:  # noqa: B027
        """Give back what the running loop holds, its subscriptions too; the layer may be used again."""

    @abstractmethod
    def publish(self, group: str, message: Message) -> None:
        """Send ``message`` to all subscribers of ``group``, from code that runs in no event loop.

        Raises:
            LayerUnavailable: the broker cannot be reached.
            ChannelFull: a bound stayed exceeded until the deadline.
        """

    @abstractmethod
    async def apublish(self, group: str, message: Message) -> None:
        """Like :meth:`publish`, from a coroutine. It lets other tasks run, so that a loop that only publishes cannot
        starve them."""

    @abstractmethod
    async def subscribe(self, group: str, deliver: Deliver, on_gap: Gap | None = None) -> None:
        """Call ``deliver(message)`` on the running loop for what is published to ``group`` from now on.

        It returns when the broker has confirmed. A loop subscribes once to a group; doing it again puts the new
        ``deliver`` in the old one's place. When the connection to the broker is lost, the layer connects and
        subscribes anew by itself, and then calls ``on_gap()``.

        Raises:
            LayerUnavailable: the broker cannot be reached; then nothing is subscribed.
        """

    @abstractmethod
    async def unsubscribe(self, group: str) -> None:
        """End the running loop's subscription; ``deliver`` is not called any more. Without one it does nothing."""

    # History, where a layer keeps one ----------------------------------------------------------

    def append(self, group: str, data: Message, keep: Keep, *, key: str = "") -> Position:
        """See :meth:`fullduplex.layers.history.History.append`; so the others."""
        raise NotImplementedError(f"{type(self).__name__} keeps no history")

    async def aappend(self, group: str, data: Message, keep: Keep, *, key: str = "") -> Position:
        raise NotImplementedError(f"{type(self).__name__} keeps no history")

    def read(
        self, group: str, keep: Keep, *, after: Position | None, max_count: int = 1_000, max_bytes: int = 1_048_576
    ) -> Missed:
        raise NotImplementedError(f"{type(self).__name__} keeps no history")

    async def aread(
        self, group: str, keep: Keep, *, after: Position | None, max_count: int = 1_000, max_bytes: int = 1_048_576
    ) -> Missed:
        raise NotImplementedError(f"{type(self).__name__} keeps no history")

    def publish_kept(self, group: str, kept: Kept) -> None:
        """Like :meth:`publish`, of a message that another store keeps. A layer with ``supports_history`` carries the
        position, too; others the data alone, for which the hub then looks in that store."""
        self.publish(group, kept.data)

    async def apublish_kept(self, group: str, kept: Kept) -> None:
        """Like :meth:`publish_kept`, from a coroutine."""
        await self.apublish(group, kept.data)

    # Queues, where a layer has them ----------------------------------------------------------

    async def push(self, queue: str, message: Message, *, capacity: int, expiry_s: float) -> None:
        """Put a message on a queue, from which one of those who :meth:`pop` takes it, now or later.

        Args:
            capacity: messages that may wait there.
            expiry_s: after that it is dropped.

        Raises:
            ChannelFull: ``capacity`` messages wait there.
            LayerUnavailable: the broker cannot be reached.
        """
        raise NotImplementedError(f"{type(self).__name__} has no queues")

    async def pop(self, queue: str) -> Message:
        """Take the oldest message of a queue; wait for one. When cancelled, nothing is lost.

        Raises:
            LayerUnavailable: the broker cannot be reached.
        """
        raise NotImplementedError(f"{type(self).__name__} has no queues")

"""Groups: what is sent to one reaches every socket that joined it, in whatever process."""

from __future__ import annotations

import asyncio
import re

from django.core.exceptions import SynchronousOnlyOperation
from django.db import transaction

from fullduplex.exceptions import ConfigurationError
from fullduplex.layers import get_layer
from fullduplex.layers.history import MAX_KEY_LENGTH, Missed, Position
from fullduplex.realtime.keeping import Keeping, keeping_of, outbox_of, rule_of
from fullduplex.realtime.prepared import Payload, Prepared, prepare

# Channels' rule, so that any layer of that family can carry our groups.
MAX_NAME_LENGTH = 99
_NAME = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_NAME_LENGTH}}}")


class Group:
    """A name that sockets join and anybody sends to. Groups of one name are equal; making one costs nothing.

    Args:
        name: 1 to 99 of the ASCII letters, digits, hyphen, underscore and full stop.

    Raises:
        TypeError: ``name`` is no str.
        ValueError: it is empty, too long, or has other characters.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"the name of a group is a str, not {type(name).__name__}")
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"{name!r} is no name for a group: it takes 1 to {MAX_NAME_LENGTH} ASCII letters, digits, hyphens, "
                f"underscores and full stops. Free text can be named by its primary key or slug."
            )
        self.name = name

    @property
    def keeps_history(self) -> bool:
        """Whether ``FULLDUPLEX["HISTORY"]`` has it keep what was sent."""
        return rule_of(self.name) is not None

    def send(self, payload: Payload, *, key: str = "") -> Position | None:
        """Send to all members, from synchronous code: views, signals, tasks, the shell.

        Args:
            payload: dict or list: JSON as text; str: text; bytes: binary.
            key: idempotency key, at most 128 characters: a group that keeps a history takes a message once, however
                often it is sent with the same key, as long as the first is kept. Others do not look at it.

        Returns:
            The place of the message in the history; None: the group keeps none.

        Raises:
            SynchronousOnlyOperation: this thread runs an event loop; use :meth:`asend` there.
            TypeError, ValueError: ``payload`` or ``key`` cannot be sent; nothing was.
            LayerNotConfigured: no layer reaches the members from this process.
            LayerError: the layer failed. Of a group that keeps a history, the message may be kept: send it again with
                the same key.
        """
        _refuse_event_loop("send")
        return self._publish(prepare(payload), _checked(key))

    async def asend(self, payload: Payload, *, key: str = "") -> Position | None:
        """Send to all members, from asynchronous code; otherwise like :meth:`send`."""
        prepared = prepare(payload)
        if key != "":
            _checked(key)
        keeping = keeping_of(self.name)
        if keeping is not None:
            return await keeping.history.aappend(self.name, prepared.data, keeping.keep, key=key)
        await get_layer().apublish(self.name, prepared.data)
        return None

    def history(self, after: Position | None = None, *, max_count: int = 1_000, max_bytes: int = 1_048_576) -> Missed:
        """Read what was sent after a position, from synchronous code.

        Args:
            after: None: no messages, but the position now, from which a page that is made now can go on.
            max_count, max_bytes: bounds of the answer. Unless it is ``complete``, ask again, after its last message.

        Raises:
            SynchronousOnlyOperation: this thread runs an event loop; use :meth:`ahistory` there.
            ConfigurationError: the group keeps no history.
            LayerError: the store cannot be reached.
        """
        _refuse_event_loop("history")
        history, keep = self._keeping()
        return history.read(self.name, keep, after=after, max_count=max_count, max_bytes=max_bytes)

    async def ahistory(
        self, after: Position | None = None, *, max_count: int = 1_000, max_bytes: int = 1_048_576
    ) -> Missed:
        """Read what was sent after a position, from asynchronous code; otherwise like :meth:`history`."""
        history, keep = self._keeping()
        return await history.aread(self.name, keep, after=after, max_count=max_count, max_bytes=max_bytes)

    def send_on_commit(self, payload: Payload, using: str | None = None, *, key: str = "") -> None:
        """Send when the open transaction commits: at once without one, never when it is rolled back.

        Args:
            payload: as in :meth:`send`; it is checked and serialised now.
            using: the database alias, by default that of Django.
            key: as in :meth:`send`.

        Raises:
            SynchronousOnlyOperation: this thread runs an event loop, and no transaction can be open in it.
            TypeError, ValueError: ``payload`` cannot be sent.
        """
        _refuse_event_loop("send_on_commit")
        prepared = prepare(payload)
        _checked(key)
        transaction.on_commit(lambda: self._publish(prepared, key), using=using)

    def send_in_transaction(self, payload: Payload, *, key: str = "", using: str | None = None) -> None:
        """Write a message to the outbox, in the open transaction: it is sent if that commits, even if this process is
        killed then, and never if it is rolled back. ``manage.py outbox`` sends it.

        Args:
            payload: as in :meth:`send`; it is checked and serialised now.
            key: as in :meth:`send`; by default one of its own, so that a group that keeps a history gets it once.
            using: alias of the transaction's database; by default that of the app ``fullduplex.history``.

        Raises:
            SynchronousOnlyOperation: this thread runs an event loop; use :meth:`asend_in_transaction` there.
            TransactionManagementError: no transaction is open.
            ConfigurationError: ``fullduplex.history`` is not in INSTALLED_APPS.
            TypeError, ValueError: ``payload`` or ``key`` cannot be sent.
        """
        _refuse_event_loop("send_in_transaction")
        outbox_of().write(self.name, prepare(payload).data, _checked(key), using)

    async def asend_in_transaction(self, payload: Payload, *, key: str = "", using: str | None = None) -> None:
        """Like :meth:`send_in_transaction`, from asynchronous code: in a ``fullduplex.db.aatomic`` block."""
        prepared = prepare(payload)
        await outbox_of().awrite(self.name, prepared.data, _checked(key), using)

    def _publish(self, prepared: Prepared, key: str) -> Position | None:
        keeping = keeping_of(self.name)
        if keeping is not None:
            return keeping.history.append(self.name, prepared.data, keeping.keep, key=key)
        get_layer().publish(self.name, prepared.data)
        return None

    def _keeping(self) -> Keeping:
        keeping = keeping_of(self.name)
        if keeping is None:
            raise ConfigurationError(
                f"The group {self.name!r} keeps no history: no pattern of FULLDUPLEX['HISTORY'] fits its name."
            )
        return keeping

    def __eq__(self, other: object) -> bool:
        return self.name == other.name if isinstance(other, Group) else NotImplemented

    def __hash__(self) -> int:
        return hash((Group, self.name))

    def __repr__(self) -> str:
        return f"Group({self.name!r})"


def is_group_name(name: str) -> bool:
    """Whether a group may have this name."""
    return _NAME.fullmatch(name) is not None


def _checked(key: str) -> str:
    """
    Raises:
        TypeError, ValueError: it is no idempotency key.
    """
    if not isinstance(key, str):
        raise TypeError(f"an idempotency key is a str, not {type(key).__name__}")
    if len(key) > MAX_KEY_LENGTH or not key.isascii() or not key.isprintable():
        raise ValueError(f"an idempotency key has at most {MAX_KEY_LENGTH} printable ASCII characters")
    return key


def _refuse_event_loop(method: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    if method == "send":
        advice = "use `await group.asend(payload)` there."
    elif method == "history":
        advice = "use `await group.ahistory(after)` there."
    elif method == "send_in_transaction":
        advice = "use `await group.asend_in_transaction(payload)` there."
    else:
        advice = (
            "call it in the synchronous function that holds the transaction, or use `await group.asend(payload)` "
            "after that."
        )
    raise SynchronousOnlyOperation(f"Group.{method}() would block the event loop that this thread runs: {advice}")

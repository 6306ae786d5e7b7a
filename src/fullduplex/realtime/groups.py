"""Groups: what is sent to one reaches every socket that joined it, in whatever process."""

from __future__ import annotations

import asyncio
import re

from django.core.exceptions import SynchronousOnlyOperation
from django.db import transaction

from fullduplex.layers import get_layer
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

    def send(self, payload: Payload) -> None:
        """Send to all members, from synchronous code: views, signals, tasks, the shell.

        Args:
            payload: dict or list: JSON as text; str: text; bytes: binary.

        Raises:
            SynchronousOnlyOperation: this thread runs an event loop; use :meth:`asend` there.
            TypeError, ValueError: ``payload`` cannot be sent; nothing was.
            LayerNotConfigured: no layer reaches the members from this process.
            LayerError: the layer failed.
        """
        _refuse_event_loop("send")
        self._publish(prepare(payload))

    async def asend(self, payload: Payload) -> None:
        """Send to all members, from asynchronous code; otherwise like :meth:`send`."""
        prepared = prepare(payload)
        await get_layer().apublish(self.name, prepared.data)

    def send_on_commit(self, payload: Payload, using: str | None = None) -> None:
        """Send when the open transaction commits: at once without one, never when it is rolled back.

        Args:
            payload: as in :meth:`send`; it is checked and serialised now.
            using: the database alias, by default that of Django.

        Raises:
            SynchronousOnlyOperation: this thread runs an event loop, and no transaction can be open in it.
            TypeError, ValueError: ``payload`` cannot be sent.
        """
        _refuse_event_loop("send_on_commit")
        prepared = prepare(payload)
        transaction.on_commit(lambda: self._publish(prepared), using=using)

    def _publish(self, prepared: Prepared) -> None:
        get_layer().publish(self.name, prepared.data)

    def __eq__(self, other: object) -> bool:
        return self.name == other.name if isinstance(other, Group) else NotImplemented

    def __hash__(self) -> int:
        return hash((Group, self.name))

    def __repr__(self) -> str:
        return f"Group({self.name!r})"


def _refuse_event_loop(method: str) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    if method == "send":
        advice = "use `await group.asend(payload)` there."
    else:
        advice = (
            "call it in the synchronous function that holds the transaction, or use `await group.asend(payload)` "
            "after that."
        )
    raise SynchronousOnlyOperation(f"Group.{method}() would block the event loop that this thread runs: {advice}")

"""Appends messages to groups, in a transaction: their rows locked, so that whoever reads meets no hole.

A message has its offset from the row of its group, which stays locked until the transaction is over: offset 8 is given
out when 7 is committed, or has never been. So nobody who has read up to 8 will find 7 later, as happens to those who
follow an id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.db import Error, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from fullduplex.history import identity, statements
from fullduplex.history.errors import attempt
from fullduplex.history.models import KeptGroup, KeptMessage, now_ms
from fullduplex.history.statements import Counted
from fullduplex.layers.history import Keep, Kept, Payload, Position

DELETED_COUNT = 1_000  # rows that one append deletes at most; a window that is made smaller goes bit by bit
SLACK = 20  # a twentieth above COUNT and AGE_S is stored, so that not each append has to delete; nobody reads it


@dataclass(slots=True)
class Message:
    """One to append."""

    group: str
    data: Payload
    keep: Keep
    key: str = ""

    @property
    def size_bytes(self) -> int:
        return len(self.data.encode()) if isinstance(self.data, str) else len(self.data)


class Appended(NamedTuple):
    """What has become of a message.

    Attributes:
        kept: it; of a message whose key was in the window already, the one that is there.
        is_new: it was not.
    """

    kept: Kept
    is_new: bool


def append(alias: str, messages: Sequence[Message], *, wait_s: float | None = None) -> dict[int, Appended]:
    """Append them in one transaction, or as part of the one that is open.

    Args:
        alias: of the database.
        messages: those of one group in their order.
        wait_s: for rows that somebody else has locked; None: as long as the database does. 0: messages to such groups
            are left out, where the database can skip them. Who waits for nothing while he holds something is in no
            deadlock.

    Returns:
        What is kept, by index in ``messages``. Where no transaction was open, messages may be left out: ask again.

    Raises:
        UnknownOutcome: the connection was lost at the commit.
        LockTimeout: it took longer than ``wait_s``.
        django.db.Error: nothing was appended.
    """
    connection = connections[alias]
    names = sorted({message.group for message in messages})
    is_inside = connection.in_atomic_block
    server = identity.server(connection)
    with attempt(connection) as made, transaction.atomic(alias):
        _prepare(connection, server, wait_s)
        groups = _lock(connection, names, skips=wait_s == 0)
        if is_inside and len(groups) < len(names):
            _make_missing(alias, names)
            groups = _lock(connection, names, skips=False)
        kept = _Appending(connection, groups, server.name).run(messages) if groups else {}
        made.end()
    if len(groups) < len(names):
        # In a transaction of their own: here their locks would come behind those of other names.
        try:
            _make_missing(alias, [name for name in names if name not in groups])
        except Error:
            if not kept:  # what was kept has been; the rest is asked for again
                raise
    return kept


def oldest_in_window(group: Counted, keep: Keep) -> int:
    """Return the offset that the window begins with, as far as COUNT decides."""
    return max(group.first, group.last - keep.count + 1)


def _prepare(connection: BaseDatabaseWrapper, server: identity.Server, wait_s: float | None) -> None:
    if server.forgets:  # what is acknowledged must be on disk
        _execute(connection, "SET LOCAL synchronous_commit TO on")
    if wait_s and connection.vendor == "postgresql":
        _execute(connection, f"SET LOCAL lock_timeout TO {int(wait_s * 1_000)}")
    if connection.vendor == "sqlite":
        statements.take_lock(connection)


def _execute(connection: BaseDatabaseWrapper, sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


def _lock(connection: BaseDatabaseWrapper, names: Sequence[str], *, skips: bool) -> dict[str, Counted]:
    """Lock the rows of these groups, in the order of their names; return those that there are, and could be locked."""
    features = connection.features
    skips = skips and features.has_select_for_update_skip_locked
    locks = connection.ops.for_update_sql(skip_locked=skips) if features.has_select_for_update else ""
    return {group.name: group for group in statements.select_groups(connection, names, locks=locks)}


def _make_missing(alias: str, names: Sequence[str]) -> None:
    groups = KeptGroup.objects.using(alias)
    known = set(groups.filter(name__in=names).values_list("name", flat=True))
    groups.bulk_create([KeptGroup(name=name) for name in names if name not in known], ignore_conflicts=True)


class _Appending:
    """One transaction, in which the rows of ``groups`` are locked."""

    def __init__(self, connection: BaseDatabaseWrapper, groups: dict[str, Counted], server: str) -> None:
        self._connection = connection
        self._binary: Callable[[bytes], Any] = connection.Database.Binary  # type: ignore[attr-defined]  # stubs lack it
        self._groups = groups
        self._server = server
        self._now_ms = now_ms()
        self._rows: list[tuple[Any, ...]] = []

    def run(self, messages: Sequence[Message]) -> dict[int, Appended]:
        appended = {index: message for index, message in enumerate(messages) if message.group in self._groups}
        keeps = {message.group: message.keep for message in appended.values()}
        for name, keep in keeps.items():
            self._expire(self._groups[name], keep)
        known = self._known(appended.values(), keeps)
        kept = {}
        for index, message in appended.items():
            found = known.get((message.group, message.key)) if message.key else None
            kept[index] = Appended(found or self._append(self._groups[message.group], message), found is None)
            if message.key:
                known[message.group, message.key] = kept[index].kept
        statements.insert_messages(self._connection, self._rows)
        for name, keep in keeps.items():
            self._trim(self._groups[name], keep)
        statements.update_groups(self._connection, [self._groups[name] for name in keeps])
        return kept

    def _known(self, messages: Iterable[Message], keeps: dict[str, Keep]) -> dict[tuple[str, str], Kept]:
        """Return what the windows have under the keys of these messages; who had a key and is in none gives it up."""
        keys = {message.key for message in messages if message.key}
        if not keys:
            return {}
        groups = {group.id: group for group in self._groups.values()}
        stored = KeptMessage.objects.using(self._connection.alias)
        known = {}
        for message in stored.filter(group__in=groups, key__in=keys):
            group = groups[message.group_id]
            keep = keeps[group.name]
            if message.offset >= oldest_in_window(group, keep) and message.kept_ms > self._now_ms - keep.age_s * 1_000:
                known[group.name, message.key or ""] = kept_message(message, self._position(group, message.offset))
            else:
                stored.filter(group=group.id, offset=message.offset).update(key=None)
        return known

    def _append(self, group: Counted, message: Message) -> Kept:
        group.last += 1
        group.appended_ms = self._now_ms
        size_bytes = message.size_bytes
        if size_bytes > message.keep.max_bytes:
            group.first, group.total_bytes = group.last + 1, 0
        else:
            if group.first == group.last:
                group.oldest_ms = self._now_ms
            group.total_bytes += size_bytes
            self._rows.append(
                (
                    group.id,
                    group.last,
                    self._binary(as_bytes(message.data)),
                    isinstance(message.data, str),
                    size_bytes,
                    message.key or None,
                    self._now_ms,
                )
            )
        return Kept(message.data, self._position(group, group.last), message.key)

    def _expire(self, group: Counted, keep: Keep) -> None:
        """Take out of the window what is too old, so that what is bounded in bytes has room."""
        if group.first <= group.last and group.oldest_ms <= self._now_ms - keep.age_s * 1_000 * (1 + 1 / SLACK):
            self._drop(group, lambda first, total_bytes, kept_ms: kept_ms <= self._now_ms - keep.age_s * 1_000)

    def _trim(self, group: Counted, keep: Keep) -> None:
        """Hold the window to its bounds, and delete a part of what is below it."""
        excess_count = group.last - group.first + 1 - keep.count
        if excess_count > keep.count // SLACK or group.total_bytes > keep.max_bytes:
            lowest = group.last - keep.count + 1
            self._drop(group, lambda first, total_bytes, kept_ms: first < lowest or total_bytes > keep.max_bytes)
        deleted_to = min(group.first - 1, group.trimmed + DELETED_COUNT)
        if deleted_to > group.trimmed:
            stored = KeptMessage.objects.using(self._connection.alias)
            stored.filter(group=group.id, offset__gt=group.trimmed, offset__lte=deleted_to).delete()
            group.trimmed = deleted_to

    def _drop(self, group: Counted, is_out: Callable[[int, int, int], bool]) -> None:
        """Move the beginning of the window on, past the oldest messages, as long as they are out of it."""
        stored = KeptMessage.objects.using(self._connection.alias)
        oldest = stored.filter(group=group.id, offset__gte=group.first).order_by("offset")
        rows = list(oldest.values_list("offset", "size_bytes", "kept_ms")[:DELETED_COUNT])
        if not rows:  # somebody has emptied the table
            group.first, group.total_bytes = group.last + 1, 0
        for offset, size_bytes, kept_ms in rows:
            group.first, group.oldest_ms = offset, kept_ms
            if not is_out(offset, group.total_bytes, kept_ms):
                return
            group.first += 1
            group.total_bytes -= size_bytes

    def _position(self, group: Counted, offset: int) -> Position:
        return Position(offset, identity.epoch(group.nonce, self._server, group.table))


def as_bytes(data: Payload) -> bytes:
    return data.encode() if isinstance(data, str) else bytes(data)


def as_payload(data: Any, is_text: bool) -> Payload:
    """What a column of bytes gives, which some drivers return as a view of memory."""
    return bytes(data).decode() if is_text else bytes(data)


def kept_message(message: KeptMessage, position: Position) -> Kept:
    return Kept(as_payload(message.data, message.is_text), position, message.key or "")

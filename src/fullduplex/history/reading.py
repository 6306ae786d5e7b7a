"""Reads what groups keep: a group and its messages in one statement, so that both are of one moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from django.db import connections
from django.db.models import FilteredRelation, Q

from fullduplex.history import identity
from fullduplex.history.appending import as_payload
from fullduplex.history.models import KeptGroup, now_ms
from fullduplex.layers.history import Keep, Kept, Missed, Position

POSITIONS_COUNT = 500  # groups of one query


class _Row(NamedTuple):
    """A group with one of its messages, or without any."""

    nonce: str
    last: int
    first: int
    table: int
    offset: int | None
    data: Any
    is_text: bool
    key: str | None
    kept_ms: int


def read(alias: str, group: str, keep: Keep, after: Position | None, max_count: int, max_bytes: int) -> Missed:
    """See :meth:`fullduplex.layers.history.History.read`.

    Raises:
        django.db.Error: it cannot be read.
    """
    if after is None:
        return Missed([], position(alias, group), True, True)
    rows = _rows(alias, group, after.offset, max_count)
    if not rows:
        here = position(alias, group)
        return Missed([], here, after == here, True)
    missed = _missed(alias, rows, keep, after, max_count, max_bytes)
    if missed.recovered:
        return missed
    return _missed(alias, _rows(alias, group, rows[0].first - 1, max_count), keep, after, max_count, max_bytes)


def position(alias: str, group: str) -> Position:
    """Return the position of a group; its count begins now, where there is none."""
    found = positions(alias, [group])
    if group not in found:
        KeptGroup.objects.using(alias).bulk_create([KeptGroup(name=group)], ignore_conflicts=True)
        found = positions(alias, [group])
    return found[group]


def positions(alias: str, groups: Sequence[str]) -> dict[str, Position]:
    """Return the positions of those groups that have a count."""
    connection = connections[alias]
    server = identity.server(connection).name
    found = {}
    for start in range(0, len(groups), POSITIONS_COUNT):
        rows = KeptGroup.objects.using(alias).filter(name__in=groups[start : start + POSITIONS_COUNT])
        rows = rows.annotate(table=identity.table(connection))
        for name, nonce, last, table in rows.values_list("name", "nonce", "last", "table"):
            found[name] = Position(last, identity.epoch(nonce, server, table))
    return found


def _rows(alias: str, group: str, after: int, max_count: int) -> list[_Row]:
    later = FilteredRelation("messages", condition=Q(messages__offset__gt=after))
    rows = KeptGroup.objects.using(alias).filter(name=group)
    rows = rows.annotate(later=later, table=identity.table(connections[alias])).order_by("later__offset")
    message = ("later__offset", "later__data", "later__is_text", "later__key", "later__kept_ms")
    columns = rows.values_list("nonce", "last", "first", "table", *message)
    return [_Row(*row) for row in columns[: max_count + 1]]


def _missed(alias: str, rows: Sequence[_Row], keep: Keep, after: Position, max_count: int, max_bytes: int) -> Missed:
    nonce, last, first, table, *_ = rows[0]
    epoch = identity.epoch(nonce, identity.server(connections[alias]).name, table)
    lowest = max(first, last - keep.count + 1)
    oldest_ms = now_ms() - keep.age_s * 1_000
    messages: list[Kept] = []
    complete = True
    for row in rows:
        if row.offset is None or row.offset < lowest or row.offset > last or row.kept_ms < oldest_ms:
            continue
        if messages and row.offset != messages[-1].position.offset + 1:  # somebody has deleted rows
            messages = []
        data = as_payload(row.data, row.is_text)
        max_bytes -= len(row.data)
        if messages and (len(messages) >= max_count or max_bytes < 0):
            complete = False
            break
        messages.append(Kept(data, Position(row.offset, epoch), row.key or ""))
    begins = messages[0].position.offset if messages else last + 1
    recovered = after.epoch == epoch and begins <= after.offset + 1 <= last + 1
    return Missed(messages, Position(last, epoch), recovered, complete)

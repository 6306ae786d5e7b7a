"""Reads what groups keep: a group and its messages in one statement, so that both are of one moment."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connections

from fullduplex.history import identity
from fullduplex.history.appending import as_payload
from fullduplex.history.models import KeptGroup, now_ms
from fullduplex.history.statements import Found, select_groups, select_later
from fullduplex.layers.history import Keep, Kept, Missed, Position

POSITIONS_COUNT = 500  # groups of one query
MAX_OFFSET = 2**63 - 1


def read(alias: str, group: str, keep: Keep, after: Position | None, max_count: int, max_bytes: int) -> Missed:
    """See :meth:`fullduplex.layers.history.History.read`.

    Raises:
        django.db.Error: it cannot be read.
    """
    if after is None:
        return Missed([], position(alias, group), True, True)
    offset = max(0, min(after.offset, MAX_OFFSET))  # clients say what they like
    rows = select_later(connections[alias], group, offset, max_count + 1)
    if not rows:
        here = position(alias, group)
        return Missed([], here, after == here, True)
    missed = _missed(alias, rows, keep, after, max_count, max_bytes)
    if missed.recovered:
        return missed
    window = select_later(connections[alias], group, rows[0].first - 1, max_count + 1)
    return _missed(alias, window or rows, keep, after, max_count, max_bytes)


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
        for group in select_groups(connection, groups[start : start + POSITIONS_COUNT]):
            found[group.name] = Position(group.last, identity.epoch(group.nonce, server, group.table))
    return found


def _missed(alias: str, rows: Sequence[Found], keep: Keep, after: Position, max_count: int, max_bytes: int) -> Missed:
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

"""Sends what is in the outbox: the work of ``manage.py outbox``.

::

    rows of a lane ──> published ──> deleted
                  1             2

A process that is killed before 1 has done nothing. One that is killed between 1 and 2 leaves the row, and the message
is published again: a group that keeps a history knows its key and keeps it once; where the database of the outbox
keeps it, 1 and 2 are one transaction. Other groups get it twice.

The groups are divided into lanes, and one process at a time works in a lane: so messages of one group are published in
the order of their rows, however many processes there are. Where rows can be skipped while others have them locked
(PostgreSQL), the row of the lane is locked for that time, and free when its process is dead. Elsewhere (SQLite) the
process has a lease of it, which ends.
"""

from __future__ import annotations

import logging
import random
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from django.db import connections, router, transaction
from django.db.models import Count, Exists, Min, OuterRef, Q, QuerySet

from fullduplex.exceptions import LayerUnavailable
from fullduplex.history.appending import Message, append, as_payload
from fullduplex.history.models import LANE_COUNT, KeptMessage, OutboxLane, OutboxMessage, now_ms
from fullduplex.history.publishing import publish
from fullduplex.history.store import DatabaseHistory
from fullduplex.layers import get_layer
from fullduplex.realtime.keeping import keeping_of

logger = logging.getLogger("fullduplex.outbox")

BATCH_COUNT = 200
BATCH_S = 5.0  # then no further row of a batch is begun
LEASE_S = 20.0  # BATCH_S, and the longest that a layer takes for one message
RETRY_S = 1.0  # after the first failure of a message; doubled with each
RETRY_MAX_S = 300.0
ERROR_LENGTH = 200  # as the column
STUCK_S = 60.0  # between two lines about what is stuck


class Relay:
    """Sends the messages of one database's outbox, together with others that do.

    Args:
        alias: of the database.
        is_stopped: asked between two messages.
        batch_count: rows of one transaction, at most.
    """

    def __init__(
        self, alias: str, is_stopped: Callable[[], bool] = lambda: False, batch_count: int = BATCH_COUNT
    ) -> None:
        self._alias = alias
        self._is_stopped = is_stopped
        self._batch_count = batch_count
        self._holder = uuid.uuid4().hex
        self._stuck_s = time.monotonic() + STUCK_S
        self._skips = connections[alias].features.has_select_for_update_skip_locked

    def run_once(self) -> int:
        """Send a batch of each lane that has something; return how many messages were sent.

        Raises:
            LayerUnavailable: nothing can be sent now; what was sent before is no longer there.
            django.db.Error: the database failed.
        """
        sent_count = 0
        for lane in self._lanes():
            if self._is_stopped():
                break
            batch = self._work(lane)
            sent_count += len(batch.sent)
            if batch.error is not None:
                raise batch.error
        if time.monotonic() >= self._stuck_s:
            self._stuck_s = time.monotonic() + STUCK_S
            self._tell_stuck()
        return sent_count

    def close(self) -> None:
        """Give up the leases, so that the next one need not wait for their end."""
        self._lanes_table().filter(holder=self._holder).update(held_until_ms=0)

    # Lanes -----------------------------------------------------------------------------------

    def _lanes(self) -> list[int]:
        """The lanes in which something may be due, in another order each time, so that processes spread."""
        due = OutboxMessage.objects.using(self._alias).filter(lane=OuterRef("pk"), due_ms__lte=now_ms())
        lanes = {lane.pk: lane.has_due for lane in self._lanes_table().annotate(has_due=Exists(due))}
        if len(lanes) < LANE_COUNT:
            missing = [OutboxLane(pk=number) for number in range(LANE_COUNT) if number not in lanes]
            self._lanes_table().bulk_create(missing, ignore_conflicts=True)
            return self._lanes()
        found = [number for number, has_due in lanes.items() if has_due]
        random.shuffle(found)
        return found

    def _lanes_table(self) -> QuerySet[OutboxLane]:
        return OutboxLane.objects.using(self._alias)

    def _work(self, lane: int) -> _Batch:
        if self._skips:
            with transaction.atomic(self._alias):
                if self._lanes_table().select_for_update(skip_locked=True).filter(pk=lane).first() is None:
                    return _Batch()
                batch = self._publish(self._due(lane))
                self._settle(batch)
            return batch
        if not self._lease(lane, Q(held_until_ms__lt=now_ms()) | Q(holder=self._holder)):
            return _Batch()
        batch = self._publish(self._due(lane))
        with transaction.atomic(self._alias):
            if not self._lease(lane, Q(holder=self._holder)):
                logger.warning("Sending took longer than %g s; another process has sent the same messages", LEASE_S)
                return _Batch()
            self._settle(batch)
        return batch

    def _lease(self, lane: int, free: Q) -> bool:
        """Take or keep the lease of a lane; it begins with writing, so that SQLite waits for others."""
        held_until_ms = now_ms() + int(LEASE_S * 1_000)
        return self._lanes_table().filter(free, pk=lane).update(holder=self._holder, held_until_ms=held_until_ms) > 0

    # Messages --------------------------------------------------------------------------------

    def _table(self) -> QuerySet[OutboxMessage]:
        return OutboxMessage.objects.using(self._alias)

    def _due(self, lane: int) -> list[OutboxMessage]:
        """The next rows, without those of groups of which one is to be tried later."""
        rows = self._table().filter(lane=lane)
        waiting = rows.filter(due_ms__gt=now_ms()).values_list("group", flat=True).distinct()
        return list(rows.exclude(group__in=[*waiting]).order_by("pk")[: self._batch_count])

    def _publish(self, rows: Sequence[OutboxMessage]) -> _Batch:
        """Publish what this database does not keep itself; the rest is done in :meth:`_settle`."""
        batch = _Batch()
        end_s = time.monotonic() + BATCH_S
        for row in rows:
            if self._is_stopped() or time.monotonic() > end_s:
                break
            if row.group in batch.failed:
                continue
            try:
                self._publish_row(row, batch)
            except LayerUnavailable as error:
                batch.error = error
                break
            except Exception as error:
                batch.failed[row.group] = row, error
            else:
                batch.sent.append(row.pk)
        return batch

    def _publish_row(self, row: OutboxMessage, batch: _Batch) -> None:
        data = as_payload(row.data, row.is_text)
        keeping = keeping_of(row.group)
        if keeping is None:
            get_layer().publish(row.group, data)
        elif isinstance(keeping.history, DatabaseHistory) and router.db_for_write(KeptMessage) == self._alias:
            batch.messages.append(Message(row.group, data, keeping.keep, row.key))
        else:
            keeping.history.append(row.group, data, keeping.keep, key=row.key)

    def _settle(self, batch: _Batch) -> None:
        """In a transaction: keep what this database keeps, and delete the rows of what was sent."""
        if batch.messages:
            appended = sorted(append(self._alias, batch.messages).items())
            published = [(batch.messages[index].group, one.kept) for index, one in appended if one.is_new]
            transaction.on_commit(partial(publish, published), using=self._alias)
        if batch.sent:
            self._table().filter(pk__in=batch.sent).delete()
        for row, error in batch.failed.values():
            row.attempts_count += 1
            retry_s = min(RETRY_S * 2 ** min(row.attempts_count - 1, 20), RETRY_MAX_S) * random.uniform(0.75, 1.25)
            row.due_ms = now_ms() + int(retry_s * 1_000)
            row.error = f"{type(error).__name__}: {error}"[:ERROR_LENGTH]
            row.save(using=self._alias, update_fields=("attempts_count", "due_ms", "error"))
            logger.error(
                "Message %d of the outbox, to the group %r, could not be sent, and those behind it wait: %s; "
                "attempt %d, the next one in %.0f s",
                row.pk,
                row.group,
                row.error,
                row.attempts_count,
                retry_s,
            )

    def _tell_stuck(self) -> None:
        old = self._table().filter(written_ms__lt=now_ms() - STUCK_S * 1_000)
        found = old.aggregate(count=Count("pk"), oldest_ms=Min("written_ms"))
        if found["count"]:
            first = old.order_by("pk").first()
            logger.warning(
                "%d messages have waited in the outbox for more than %.0f s, the oldest for %.0f s: number %s, to the "
                "group %r, after %d attempts%s",
                found["count"],
                STUCK_S,
                (now_ms() - found["oldest_ms"]) / 1_000,
                first and first.pk,
                first and first.group,
                first.attempts_count if first else 0,
                f": {first.error}" if first and first.error else "",
            )


@dataclass(slots=True)
class _Batch:
    """What has become of some rows.

    Attributes:
        sent: their primary keys.
        messages: those of them that are to be kept in the transaction that deletes them.
        failed: by group, the row that failed and why; those behind it were not tried.
        error: the layer is down; nothing further was tried.
    """

    sent: list[int] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    failed: dict[str, tuple[OutboxMessage, Exception]] = field(default_factory=dict)
    error: LayerUnavailable | None = None

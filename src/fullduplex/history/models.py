"""The tables: groups with what they keep, and the outbox.

Times are Unix milliseconds, which no time zone and no USE_TZ changes. Messages are bytes: PostgreSQL's text takes no
NUL.
"""

from __future__ import annotations

import secrets
import time

from django.db import models

from fullduplex.layers.history import MAX_KEY_LENGTH

MAX_GROUP_LENGTH = 99
NONCE_LENGTH = 12
LANE_COUNT = 16


def new_nonce() -> str:
    return secrets.token_hex(NONCE_LENGTH // 2)


def now_ms() -> int:
    return int(time.time() * 1_000)


class KeptGroup(models.Model):
    """A group with its count. Whoever appends has its row locked until his transaction is over.

    Attributes:
        nonce: the group's part of the epoch.
        last: offset of the newest message; 0: none yet.
        first: offset of the oldest that is kept; ``last + 1``: none is.
        trimmed: what is stored up to this offset has been deleted; between it and ``first`` are rows that wait for
            that, since no append deletes more than so many.
        total_bytes: of the data that is kept.
        oldest_ms: when the message ``first`` was appended, or later ones of its batch.
        appended_ms: when the newest was; without any, when the count began.
    """

    name = models.CharField(max_length=MAX_GROUP_LENGTH, unique=True)
    nonce = models.CharField(max_length=NONCE_LENGTH, default=new_nonce)
    last = models.BigIntegerField(default=0)
    first = models.BigIntegerField(default=1)
    trimmed = models.BigIntegerField(default=0)
    total_bytes = models.BigIntegerField(default=0)
    oldest_ms = models.BigIntegerField(default=0)
    appended_ms = models.BigIntegerField(default=now_ms)

    def __str__(self) -> str:
        return self.name


class KeptMessage(models.Model):
    """A message of a group."""

    pk = models.CompositePrimaryKey("group_id", "offset")
    # The row of the group is locked whenever one is written, so that the database need not look for it again.
    group = models.ForeignKey(KeptGroup, models.CASCADE, related_name="messages", db_index=False, db_constraint=False)
    offset = models.BigIntegerField()
    data = models.BinaryField()
    is_text = models.BooleanField()
    size_bytes = models.IntegerField()
    key = models.CharField(max_length=MAX_KEY_LENGTH, null=True)
    kept_ms = models.BigIntegerField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("group", "key"), name="fullduplex_history_key"),)

    def __str__(self) -> str:
        return f"{self.group_id}:{self.offset}"


class OutboxMessage(models.Model):
    """A message that waits to be sent, written in the transaction that it belongs to. Sent, its row is deleted.

    Attributes:
        lane: those of one group are in one, which one process at a time works in.
        key: the idempotency key that it is published with; never empty.
        due_ms: not to be tried before.
        attempts_count: that have failed.
        error: of the last one.
    """

    lane = models.SmallIntegerField()
    group = models.CharField(max_length=MAX_GROUP_LENGTH)
    data = models.BinaryField()
    is_text = models.BooleanField()
    key = models.CharField(max_length=MAX_KEY_LENGTH)
    written_ms = models.BigIntegerField()
    due_ms = models.BigIntegerField(default=0)
    attempts_count = models.IntegerField(default=0)
    error = models.CharField(max_length=200, default="", blank=True)

    class Meta:
        indexes = (
            models.Index(fields=("lane", "id"), name="fullduplex_outbox_lane"),
            models.Index(fields=("due_ms",), name="fullduplex_outbox_due", condition=models.Q(due_ms__gt=0)),
        )

    def __str__(self) -> str:
        return f"{self.pk} to {self.group}"


class OutboxLane(models.Model):
    """A part of the groups; whoever sends the messages of one holds its row.

    Attributes:
        holder: where rows cannot be skipped while others have them locked: who has it until ``held_until_ms``.
    """

    id = models.SmallIntegerField(primary_key=True)
    holder = models.CharField(max_length=32, default="", blank=True)
    held_until_ms = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return str(self.pk)

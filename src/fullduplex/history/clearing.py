"""Takes away what is too old in groups that nobody sends to: the others are trimmed by those who append."""

from __future__ import annotations

from collections.abc import Callable

from django.db import transaction
from django.db.models import F

from fullduplex.history.appending import DELETED_COUNT
from fullduplex.history.models import KeptGroup, KeptMessage, now_ms
from fullduplex.layers.history import Keep

FORGOTTEN_MS = 86_400_000  # a group of which nothing is kept is forgotten a day later, or after its window's age again
GROUPS_COUNT = 500  # of one query


def clear(alias: str, keep_of: Callable[[str], Keep | None]) -> tuple[int, int]:
    """Delete messages that are too old, and the counts of groups that were quiet for much longer.

    Args:
        keep_of: the window of a group; None: it is kept in this database no more.

    Returns:
        How many messages and how many groups were deleted.
    """
    message_count = group_count = 0
    last = ""
    while names := _after(alias, last):
        for name in names:
            keep = keep_of(name)
            age_ms = int(keep.age_s * 1_000) if keep is not None else 0
            while True:
                deleted, is_over, is_forgotten = _clear(alias, name, age_ms)
                message_count += deleted
                if is_over:
                    break
            group_count += is_forgotten
        last = names[-1]
    return message_count, group_count


def _after(alias: str, last: str) -> list[str]:
    groups = KeptGroup.objects.using(alias).filter(name__gt=last).order_by("name")
    return list(groups.values_list("name", flat=True)[:GROUPS_COUNT])


def _clear(alias: str, name: str, age_ms: int) -> tuple[int, bool, bool]:
    """One transaction: return how many messages it has deleted, whether that was all, and whether the group is gone."""
    groups = KeptGroup.objects.using(alias).filter(name=name)
    with transaction.atomic(alias):
        groups.update(first=F("first"))  # locks the row, on SQLite too
        group = groups.filter(appended_ms__lte=now_ms() - age_ms).first()
        if group is None:
            return 0, True, False
        lowest = min(group.last, group.trimmed + DELETED_COUNT)
        messages = KeptMessage.objects.using(alias).filter(group=group, offset__lte=lowest)
        deleted_count, _ = messages.delete()
        is_over = lowest == group.last
        is_forgotten = is_over and group.appended_ms <= now_ms() - age_ms - max(age_ms, FORGOTTEN_MS)
        if is_forgotten:
            groups.delete()
        else:
            groups.update(first=group.last + 1, trimmed=lowest, total_bytes=0)
    return deleted_count, is_over, is_forgotten

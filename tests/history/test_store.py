"""The history in a database: what the contract says, and what databases make of it."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from fullduplex.exceptions import LayerUnavailable
from fullduplex.history import appending, clearing
from fullduplex.history.models import KeptGroup, KeptMessage, now_ms
from fullduplex.history.store import DatabaseHistory
from fullduplex.layers.history import Keep, Position
from fullduplex.testing.layers import MESSAGES
from tests.history.databases import ALIAS, forget

pytestmark = pytest.mark.usefixtures("database")

KEEP = Keep(count=1_000, age_s=3_600, max_bytes=10_000_000)


def offsets(messages: Any) -> list[int]:
    return [kept.position.offset for kept in messages]


def start_of(history: DatabaseHistory, group: str) -> Position:
    return history.read(group, KEEP, after=None).position


def test_messages_are_kept_as_they_were_sent() -> None:
    history = DatabaseHistory()
    start = start_of(history, "g")
    positions = [history.append("g", message, KEEP) for message in MESSAGES]
    missed = history.read("g", KEEP, after=start)
    assert [(type(kept.data), kept.data) for kept in missed.messages] == [(type(data), data) for data in MESSAGES]
    assert [kept.position for kept in missed.messages] == positions
    assert offsets(missed.messages) == [*range(1, len(MESSAGES) + 1)]
    assert (missed.recovered, missed.complete, missed.position) == (True, True, positions[-1])


def test_bounds_of_an_answer() -> None:
    history = DatabaseHistory()
    start = start_of(history, "g")
    for _ in range(5):
        history.append("g", "x" * 100, KEEP)
    first = history.read("g", KEEP, after=start, max_count=2)
    assert (offsets(first.messages), first.complete, first.position.offset) == ([1, 2], False, 5)
    rest = history.read("g", KEEP, after=first.messages[-1].position, max_bytes=250)
    assert (offsets(rest.messages), rest.complete) == ([3, 4], False)
    last = history.read("g", KEEP, after=rest.messages[-1].position, max_bytes=1)
    assert (offsets(last.messages), last.complete) == ([5], True)


@pytest.mark.parametrize(
    "keep", [Keep(3, 3_600, 1_000), Keep(100, 3_600, 30)], ids=["three messages", "thirty bytes of ten each"]
)
def test_a_window(keep: Keep) -> None:
    history = DatabaseHistory()
    start = start_of(history, "g")
    for number in range(10):
        history.append("g", f"{number:010}", keep)
    missed = history.read("g", keep, after=start)
    assert (offsets(missed.messages), missed.recovered) == ([8, 9, 10], False)
    assert history.read("g", keep, after=start._replace(offset=7)).recovered
    assert KeptMessage.objects.count() == 3


def test_a_window_that_becomes_smaller_is_emptied_bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appending, "DELETED_COUNT", 4)
    history = DatabaseHistory()
    start = start_of(history, "g")
    for _ in range(20):
        history.append("g", "x", KEEP)
    small = Keep(2, 3_600, 1_000)
    counts = []
    for _ in range(6):
        history.append("g", "x", small)
        counts.append(KeptMessage.objects.count())
    assert counts[0] == 17
    assert counts[-1] < 6
    assert offsets(history.read("g", small, after=start).messages) == [25, 26]


def test_age(monkeypatch: pytest.MonkeyPatch) -> None:
    history = DatabaseHistory()
    start = start_of(history, "g")
    history.append("g", "old", KEEP, key="k")
    KeptMessage.objects.update(kept_ms=now_ms() - 4_000_000)
    KeptGroup.objects.update(oldest_ms=now_ms() - 4_000_000)
    missed = history.read("g", KEEP, after=start)
    assert (missed.messages, missed.recovered, missed.position.offset) == ([], False, 1)
    assert history.append("g", "new", KEEP, key="k").offset == 2
    assert offsets(history.read("g", KEEP, after=start).messages) == [2]
    assert KeptMessage.objects.count() == 1


def test_a_message_that_is_longer_than_the_window_is_a_gap() -> None:
    history, keep = DatabaseHistory(), Keep(10, 3_600, 100)
    history.append("g", "before", keep)
    long = history.append("g", "x" * 101, keep)
    assert not history.read("g", keep, after=long._replace(offset=1)).recovered
    assert history.read("g", keep, after=long).recovered
    after = history.append("g", "after", keep)
    missed = history.read("g", keep, after=long)
    assert (missed.recovered, offsets(missed.messages)) == (True, [after.offset])


def test_a_key_keeps_a_message_once_as_long_as_it_is_in_the_window() -> None:
    history, keep = DatabaseHistory(), Keep(2, 3_600, 1_000)
    first = history.append("g", "a", keep, key="k")
    assert history.append("g", "b", keep, key="k") == first
    assert history.append("other", "a", keep, key="k").offset == 1
    history.append("g", "c", keep)
    history.append("g", "d", keep)
    assert history.append("g", "e", keep, key="k").offset == 4


def test_positions_of_others() -> None:
    history = DatabaseHistory()
    here = history.append("g", "x", KEEP)
    for after in (Position(0, "another"), Position(1, "another"), here._replace(offset=2), here._replace(offset=2**70)):
        missed = history.read("g", KEEP, after=after)
        assert (missed.recovered, offsets(missed.messages), missed.position) == (False, [1], here)


def test_an_emptied_table_begins_another_epoch() -> None:
    history = DatabaseHistory()
    before = history.append("g", "x", KEEP)
    KeptMessage.objects.all().delete()
    assert not history.read("g", KEEP, after=before._replace(offset=0)).recovered
    KeptGroup.objects.all().delete()
    assert not history.read("g", KEEP, after=before).recovered
    after = history.append("g", "x", KEEP)
    assert (after.offset, after.epoch == before.epoch) == (1, False)


def test_another_epoch_for_all() -> None:
    history = DatabaseHistory()
    before = history.append("g", "x", KEEP)
    history.begin_epochs()
    missed = history.read("g", KEEP, after=before)
    assert (missed.recovered, offsets(missed.messages)) == (False, [1])
    assert history.append("g", "x", KEEP) == (2, missed.position.epoch)


def test_many_publishers_leave_no_hole() -> None:
    """Four threads in transactions of their own, two that go through the writer; a reader meanwhile."""
    history = DatabaseHistory()
    start = start_of(history, "g0")
    is_over = threading.Event()

    def publish(who: int) -> None:
        for number in range(30):
            history.append(f"g{number % 3}", f"{who}.{number}", KEEP)

    def read() -> list[int]:
        seen, here = [], start
        while True:
            ends = is_over.is_set()
            missed = history.read("g0", KEEP, after=here)
            assert missed.recovered
            seen += offsets(missed.messages)
            here = missed.messages[-1].position if missed.messages else here
            if ends:
                connections[ALIAS].close()
                return seen

    with ThreadPoolExecutor(7) as threads:
        reading = threads.submit(read)
        for publishing in [threads.submit(publish, who) for who in range(6)]:
            publishing.result()
        is_over.set()
        assert reading.result() == [*range(1, 61)]
    missed = history.read("g0", KEEP, after=start)
    for who in range(6):
        mine = [kept.data for kept in missed.messages if str(kept.data).startswith(f"{who}.")]
        assert mine == [f"{who}.{number}" for number in range(0, 30, 3)]


async def test_many_tasks_append_in_few_transactions() -> None:
    history = DatabaseHistory()
    positions = await asyncio.gather(*(history.aappend(f"g{n % 2}", str(n), KEEP) for n in range(200)))
    assert sorted(position.offset for position in positions) == sorted([*range(1, 101)] * 2)
    missed = await history.aread("g0", KEEP, after=Position(0, positions[0].epoch))
    assert [kept.data for kept in missed.messages] == [str(n) for n in range(0, 200, 2)]
    assert await history.apositions(["g0", "nobody"]) == {"g0": missed.position}
    await forget()


def test_in_a_transaction_a_message_is_part_of_it() -> None:
    history = DatabaseHistory()
    start = start_of(history, "g")
    with transaction.atomic(ALIAS):
        assert history.append("g", "never", KEEP).offset == 1
        transaction.set_rollback(True, using=ALIAS)
    with transaction.atomic(ALIAS):
        assert history.append("g", "once", KEEP).offset == 1
        with transaction.atomic(ALIAS):
            assert history.append("new", "never", KEEP).offset == 1
            transaction.set_rollback(True, using=ALIAS)
        assert history.append("g", "twice", KEEP).offset == 2
    assert [kept.data for kept in history.read("g", KEEP, after=start).messages] == ["once", "twice"]
    assert not KeptGroup.objects.filter(name="new").exists()


def test_clearing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clearing, "DELETED_COUNT", 2)
    history = DatabaseHistory()
    for _ in range(5):
        history.append("idle", "x", KEEP)
    before = history.append("used", "x", KEEP)
    old = now_ms() - 4_000_000
    KeptMessage.objects.filter(group__name="idle").update(kept_ms=old)
    KeptGroup.objects.filter(name="idle").update(appended_ms=old)
    assert clearing.clear(ALIAS, lambda name: KEEP) == (5, 0)
    assert history.append("idle", "x", KEEP).offset == 6
    KeptGroup.objects.filter(name="idle").update(appended_ms=now_ms() - 100_000_000)
    assert clearing.clear(ALIAS, lambda name: KEEP) == (1, 1)
    assert history.append("idle", "x", KEEP).offset == 1
    assert history.read("used", KEEP, after=before._replace(offset=0)).recovered
    assert clearing.clear(ALIAS, lambda name: None) == (2, 0)


def test_a_commit_without_an_answer_is_tried_again_where_a_key_makes_that_once(monkeypatch: pytest.MonkeyPatch) -> None:
    history = DatabaseHistory()
    start = start_of(history, "g")
    history.append("g", "first", KEEP)
    commit = BaseDatabaseWrapper._commit  # type: ignore[attr-defined]  # the stubs lack it
    lost: list[Any] = []

    def lose(wrapper: Any) -> None:
        """The database commits, and the connection is gone before it says so."""
        commit(wrapper)
        if not lost and wrapper.alias == ALIAS:
            lost.append(wrapper)
            wrapper.connection.close()
            raise OperationalError("the connection is lost")

    monkeypatch.setattr(BaseDatabaseWrapper, "_commit", lose)
    position = history.append("g", "x", KEEP, key="k")
    assert (len(lost), position.offset) == (1, 2)
    lost.clear()
    with pytest.raises(LayerUnavailable, match="the connection is lost"):
        history.append("g", "y", KEEP)
    assert [kept.data for kept in history.read("g", KEEP, after=start).messages] == ["first", "x", "y"]

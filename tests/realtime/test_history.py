"""Groups that keep a history: the API, what the settings say of them, and what is an error."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import SynchronousOnlyOperation
from django.db import transaction
from django.test import TestCase, override_settings

from fullduplex import Group, Position
from fullduplex.checks import check_history
from fullduplex.exceptions import ConfigurationError
from fullduplex.realtime.keeping import keeping_of

pytestmark = pytest.mark.usefixtures("history")

HISTORY = {"kept.short.*": {"COUNT": 2}, "kept.*": {}}


@pytest.fixture
def history() -> Any:
    layer = {"default": {"BACKEND": "fullduplex.layers.memory.MemoryLayer"}}
    with override_settings(FULLDUPLEX={"HISTORY": HISTORY}, CHANNEL_LAYERS=layer):
        yield


async def test_what_was_missed() -> None:
    group = Group("kept.1")
    start = (await group.ahistory()).position
    first = await group.asend({"n": 1})
    await asyncio.to_thread(group.send, b"2")
    missed = await group.ahistory(start)
    assert [kept.data for kept in missed.messages] == ['{"n":1}', b"2"]
    assert (missed.recovered, missed.complete) == (True, True)
    assert first == missed.messages[0].position == Position(start.offset + 1, start.epoch)
    assert (await asyncio.to_thread(group.history, first)).messages == missed.messages[1:]
    assert [kept.data for kept in (await group.ahistory(start, max_count=1)).messages] == ['{"n":1}']


async def test_what_has_left_the_window_is_not_recovered() -> None:
    group = Group("kept.short.1")
    start = (await group.ahistory()).position
    for number in range(3):
        await group.asend([number])
    missed = await group.ahistory(start)
    assert [kept.data for kept in missed.messages] == ["[1]", "[2]"]
    assert not missed.recovered


async def test_a_group_without_a_pattern_keeps_nothing() -> None:
    assert not Group("other").keeps_history
    assert Group("kept.1").keeps_history
    assert await Group("other").asend("x", key="k") is None
    with pytest.raises(ConfigurationError, match=r"'other' keeps no history: no pattern of FULLDUPLEX\['HISTORY'\]"):
        await Group("other").ahistory()


async def test_a_message_is_kept_once_for_its_key() -> None:
    group = Group("kept.key")
    first = await group.asend("a", key="k")
    assert await group.asend("a", key="k") == first
    assert await sync_to_async(group.send)("a", key="k") == first
    assert await group.asend("a", key="l") != first
    assert first is not None
    assert [kept.key for kept in (await group.ahistory(Position(0, first.epoch))).messages] == ["k", "l"]


@pytest.mark.parametrize(("key", "error"), [(b"k", TypeError), ("x" * 129, ValueError), ("ä", ValueError)])
async def test_keys_that_are_none(key: Any, error: type[Exception]) -> None:
    group = Group("kept.wrong")
    with pytest.raises(error, match="an idempotency key"):
        await group.asend("x", key=key)
    with pytest.raises(error, match="an idempotency key"):
        await asyncio.to_thread(group.send, "x", key=key)
    assert (await group.ahistory()).position.offset == 0


async def test_history_in_an_event_loop_names_ahistory() -> None:
    with pytest.raises(SynchronousOnlyOperation, match=r"await group\.ahistory\(after\)"):
        Group("kept.1").history()


class OnCommit(TestCase):
    def test_a_message_is_kept_when_the_transaction_commits(self) -> None:
        with override_settings(FULLDUPLEX={"HISTORY": HISTORY}):
            group = Group("kept.commit")
            start = group.history().position
            with self.captureOnCommitCallbacks(execute=True), transaction.atomic():
                group.send_on_commit("x", key="k")
                group.send_on_commit("x", key="k")
                assert not group.history(start).messages
            assert [kept.key for kept in group.history(start).messages] == ["k"]


async def test_a_layer_that_keeps_nothing_is_an_error() -> None:
    with override_settings(CHANNEL_LAYERS={"default": {"BACKEND": "tests.realtime.test_groups.RecordingLayer"}}):
        with pytest.raises(ConfigurationError, match=r"\['HISTORY'\]\['kept\.\*'\] asks .* RecordingLayer keeps none"):
            await Group("kept.1").asend("x")
        assert [problem.id for problem in check_history()] == ["fullduplex.E004"]
    assert check_history() == []


def test_the_database_takes_its_app() -> None:
    history = {"orders": {"STORE": "database"}}
    with override_settings(FULLDUPLEX={"HISTORY": history}, INSTALLED_APPS=["fullduplex"]):
        with pytest.raises(ConfigurationError, match=r"put 'fullduplex\.history' into INSTALLED_APPS"):
            keeping_of("orders")
        assert [problem.id for problem in check_history()] == ["fullduplex.E004"]

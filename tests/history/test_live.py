"""Groups that a database keeps, with members: what the layer does not tell of is found."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction
from django.test import override_settings

from fullduplex import Group
from fullduplex.history import publishing
from fullduplex.history.models import KeptGroup, KeptMessage
from fullduplex.layers.memory import MemoryLayer
from fullduplex.realtime.hub import Hub
from fullduplex.realtime.outbox import Outbox
from fullduplex.realtime.prepared import Prepared
from tests.history.databases import ALIAS, forget

LOOK_S = 0.05
GROUP = "kept.1"
SETTINGS = {
    "HISTORY": {"kept.*": {"STORE": "database"}},
    "HISTORY_LOOK_S": LOOK_S,
    "GAP_POLICY": "continue",
    "GAP_MESSAGE": "(gap)",
}


class Member(Outbox):
    """Notes what it is given."""

    def __init__(self) -> None:
        self.groups: list[str] = []
        self.seen: list[Any] = []
        self.offsets: list[int] = []

    def deliver(self, prepared: Prepared) -> None:
        self.seen.append(prepared.data)
        if prepared.position is not None:
            self.offsets.append(prepared.position.offset)

    async def until(self, count: int) -> list[Any]:
        async with asyncio.timeout(20):
            while len(self.seen) < count:
                await asyncio.sleep(0.005)
        return self.seen


class Deaf(MemoryLayer):
    """A layer that carries nothing of what is kept elsewhere."""

    def publish_kept(self, group: str, kept: Any) -> None:
        pass

    apublish_kept = None  # type: ignore[assignment]  # nobody calls it


@asynccontextmanager
async def joined() -> AsyncIterator[Member]:
    hub, member = Hub(), Member()
    await hub.join(GROUP, member)
    try:
        yield member
    finally:
        await hub.leave(GROUP, member)
        await forget()


async def in_thread(function: Callable[[], Any]) -> Any:
    return await sync_to_async(function)()


@pytest.fixture(autouse=True)
def _settings(database: Any) -> Any:
    layer = {"default": {"BACKEND": "fullduplex.layers.memory.MemoryLayer"}}
    with override_settings(FULLDUPLEX=SETTINGS, CHANNEL_LAYERS=layer):
        yield


async def test_members_get_each_message_once_in_order() -> None:
    group = Group(GROUP)
    async with joined() as member:
        await asyncio.gather(*(group.asend(str(n)) for n in range(50)), asyncio.to_thread(group.send, "from a thread"))
        await member.until(51)
        assert member.offsets == [*range(1, 52)]


async def test_what_the_layer_did_not_carry_is_found() -> None:
    with override_settings(CHANNEL_LAYERS={"default": {"BACKEND": "tests.history.test_live.Deaf"}}):
        async with joined() as member:
            await Group(GROUP).asend("one")
            await Group(GROUP).asend("two")
            assert await member.until(2) == ["one", "two"]


async def test_a_layer_that_fails_fails_no_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Deaf, "publish_kept", lambda *_: 1 / 0)
    before = publishing.unpublished_count()
    with override_settings(CHANNEL_LAYERS={"default": {"BACKEND": "tests.history.test_live.Deaf"}}):
        async with joined() as member:
            assert await Group(GROUP).asend("one") is not None
            assert await member.until(1) == ["one"]
    assert publishing.unpublished_count() == before + 1


async def test_members_hear_of_a_message_when_its_transaction_commits() -> None:
    def send() -> None:
        with transaction.atomic(ALIAS):
            Group(GROUP).send("one")
            assert member.seen == []

    async with joined() as member:
        await in_thread(send)
        assert await member.until(1) == ["one"]


async def test_a_database_that_went_back_begins_another_epoch_and_is_told() -> None:
    def go_back() -> None:
        KeptMessage.objects.filter(offset__gt=1).delete()
        KeptGroup.objects.update(last=1)

    async with joined() as member:
        for text in ("one", "two", "three"):
            position = await Group(GROUP).asend(text)
        await member.until(3)
        await in_thread(go_back)
        await member.until(4)
        again = await Group(GROUP).asend("another two")
        seen = await member.until(6)
        assert position is not None
        assert again is not None
        assert (again.offset, again.epoch == position.epoch) == (2, False)
        assert seen == ["one", "two", "three", "(gap)", "one", "another two"]


async def test_an_emptied_table_is_told() -> None:
    async with joined() as member:
        await Group(GROUP).asend("one")
        await member.until(1)
        await in_thread(KeptGroup.objects.all().delete)
        assert await member.until(2) == ["one", "(gap)"]
        await Group(GROUP).asend("two")
        assert (await member.until(3))[2] == "two"

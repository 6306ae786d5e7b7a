"""Group: its name, and sending from every kind of code."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import SynchronousOnlyOperation
from django.db import transaction
from django.test import TestCase, override_settings

from fullduplex import Group
from fullduplex.exceptions import LayerNotConfigured, LayerUnavailable
from fullduplex.layers.base import BaseLayer, Deliver, Message
from fullduplex.realtime.hub import get_hub
from tests.realtime.client import FakeClient

RECORDING = override_settings(CHANNEL_LAYERS={"default": {"BACKEND": "tests.realtime.test_groups.RecordingLayer"}})
published: list[tuple[str, Message]] = []


class RecordingLayer(BaseLayer):
    """A layer that notes what it is given."""

    error: Exception | None = None

    def publish(self, group: str, message: Message) -> None:
        if self.error is not None:
            raise self.error
        published.append((group, message))

    async def apublish(self, group: str, message: Message) -> None:
        self.publish(group, message)

    async def subscribe(self, group: str, deliver: Deliver) -> None:
        raise NotImplementedError

    async def unsubscribe(self, group: str) -> None:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def _forget_published() -> None:
    published.clear()


@pytest.mark.parametrize("name", ["a", "chat.lobby", "A-z_0.9", "x" * 99])
def test_names(name: str) -> None:
    assert Group(name).name == name


@pytest.mark.parametrize("name", ["", "x" * 100, "a b", "ä", "a/b", "a:b", "a\n", "a\x00", "\u0661"])
def test_wrong_names(name: str) -> None:
    with pytest.raises(ValueError, match="is no name for a group: it takes 1 to 99 ASCII letters"):
        Group(name)


@pytest.mark.parametrize("name", [None, 1, b"a"])
def test_names_of_a_wrong_type(name: Any) -> None:
    with pytest.raises(TypeError, match="the name of a group is a str"):
        Group(name)


def test_groups_of_one_name_are_equal() -> None:
    assert Group("a") == Group("a")
    assert len({Group("a"), Group("a"), Group("b")}) == 2
    assert Group("a") != "a"
    assert repr(Group("a")) == "Group('a')"


@RECORDING
def test_send() -> None:
    for payload in ({"a": 1}, "text", b"bytes"):
        Group("g").send(payload)
    assert published == [("g", '{"a":1}'), ("g", "text"), ("g", b"bytes")]


@RECORDING
async def test_asend() -> None:
    await Group("g").asend([1, 2])
    assert published == [("g", "[1,2]")]


@RECORDING
async def test_the_caller_gets_the_error() -> None:
    for wrong in (None, {"a": object()}):
        with pytest.raises(TypeError):
            await Group("g").asend(wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            await sync_to_async(Group("g").send)(wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            await sync_to_async(Group("g").send_on_commit)(wrong)  # type: ignore[arg-type]
    assert published == []


@RECORDING
async def test_the_caller_gets_the_error_of_the_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RecordingLayer, "error", LayerUnavailable("down"))
    with pytest.raises(LayerUnavailable):
        await Group("g").asend("x")
    with pytest.raises(LayerUnavailable):
        await asyncio.to_thread(Group("g").send, "x")


async def test_send_in_an_event_loop_names_asend() -> None:
    with pytest.raises(SynchronousOnlyOperation, match=r"await group\.asend\(payload\)"):
        Group("g").send("x")
    with pytest.raises(SynchronousOnlyOperation, match=r"function that holds the transaction.*await group\.asend"):
        Group("g").send_on_commit("x")


async def test_sending_to_nobody() -> None:
    await Group("nobody").asend("x")
    await asyncio.to_thread(Group("nobody").send, "x")


async def test_a_process_without_a_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fullduplex.layers.serving._in_tests", lambda: False)
    monkeypatch.setattr("fullduplex.layers.serving._allowed_reason", None)
    with pytest.raises(LayerNotConfigured):
        await Group("g").asend("x")
    with pytest.raises(LayerNotConfigured):
        await get_hub().join("g", FakeClient(extension=True).outbox)


async def test_from_a_publisher_to_members() -> None:
    members = [FakeClient(extension=True), FakeClient(extension=False)]
    for member in members:
        await get_hub().join("g", member.outbox)
    await Group("g").asend({"n": 1})
    await asyncio.to_thread(Group("g").send, b"2")
    await Group("g").asend("3")
    for _ in range(5):
        await asyncio.sleep(0)
    for member in members:
        assert member.received == ['{"n":1}', b"2", "3"]
        await get_hub().leave_all(member.outbox)


@RECORDING
class OnCommit(TestCase):
    def test_when_the_transaction_commits(self) -> None:
        payload = {"n": 1}
        with self.captureOnCommitCallbacks(execute=True), transaction.atomic():
            Group("g").send_on_commit(payload)
            payload["n"] = 2  # too late: it is serialised at the call
            assert published == []
        assert published == [("g", '{"n":1}')]

    def test_never_when_it_is_rolled_back(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            try:
                with transaction.atomic():
                    Group("g").send_on_commit("x")
                    raise ZeroDivisionError
            except ZeroDivisionError:
                pass
        assert published == []


@RECORDING
@pytest.mark.django_db(transaction=True)
def test_on_commit_without_a_transaction() -> None:
    Group("g").send_on_commit("x", using="default")
    assert published == [("g", "x")]

"""The outbox: what commits is sent, in order, whatever fails meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections, transaction
from django.db.transaction import TransactionManagementError
from django.test import override_settings

from fullduplex import Group
from fullduplex.exceptions import ConfigurationError, LayerError, LayerUnavailable
from fullduplex.history.models import KeptMessage, OutboxLane, OutboxMessage
from fullduplex.history.outbox import lane_of
from fullduplex.history.waking import Waking
from fullduplex.realtime import relay as relay_module
from fullduplex.realtime.relay import Relay
from tests.history.databases import ALIAS, forget
from tests.history.layers import Recording

SETTINGS = {"HISTORY": {"kept.*": {"STORE": "database"}}}


@pytest.fixture(autouse=True)
def _settings(database: Any) -> Iterator[None]:
    layer = {"default": {"BACKEND": "tests.history.layers.Recording"}}
    with override_settings(FULLDUPLEX=SETTINGS, CHANNEL_LAYERS=layer):
        Recording.reset()
        yield


def write(*messages: tuple[str, str]) -> None:
    with transaction.atomic(ALIAS):
        for group, text in messages:
            Group(group).send_in_transaction(text)


def run(relay: Relay) -> None:
    while relay.run_once():
        pass


def kept(group: str) -> list[Any]:
    missed = Group(group).history()
    start = missed.position._replace(offset=0)
    return [message.data for message in Group(group).history(start).messages]


def test_what_commits_is_sent_and_what_is_rolled_back_is_not() -> None:
    write(("a", "1"), ("kept.b", "1"))
    with transaction.atomic(ALIAS):
        Group("a").send_in_transaction("never")
        Group("kept.b").send_in_transaction(b"never")
        transaction.set_rollback(True, using=ALIAS)
    write(("kept.b", "2"), ("a", "2"))
    assert Recording.published == []
    assert Relay(ALIAS).run_once() == 4
    assert Recording.published == [("a", "1"), ("a", "2")]
    assert kept("kept.b") == ["1", "2"]
    assert not OutboxMessage.objects.exists()
    assert Relay(ALIAS).run_once() == 0


def test_the_command() -> None:
    write(("a", "1"), ("kept.b", "1"))
    call_command("outbox", once=True)
    assert (Recording.published, kept("kept.b")) == ([("a", "1")], ["1"])


def test_outside_of_a_transaction_it_is_an_error() -> None:
    with pytest.raises(TransactionManagementError, match=r"outside of a transaction of the database 'history'"):
        Group("a").send_in_transaction("x")


def test_the_app_has_to_be_installed() -> None:
    with (
        override_settings(INSTALLED_APPS=["fullduplex"]),
        pytest.raises(ConfigurationError, match=r"put 'fullduplex\.history' into INSTALLED_APPS"),
    ):
        Group("a").send_in_transaction("x")


def test_a_key_of_ones_own_counts_beside_that_of_send() -> None:
    Group("kept.b").send("1", key="k")
    with transaction.atomic(ALIAS):
        Group("kept.b").send_in_transaction("1", key="k")
    Relay(ALIAS).run_once()
    assert kept("kept.b") == ["1"]


def test_a_message_that_cannot_be_sent_holds_up_its_group_and_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Recording.errors["bad"] = LayerError("too long")
    other = next(name for name in (f"good{n}" for n in range(1_000)) if lane_of(name) == lane_of("bad"))
    write(("bad", "1"), (other, "1"), ("bad", "2"), (other, "2"))
    relay = Relay(ALIAS)
    assert relay.run_once() == 2
    write((other, "3"))
    assert relay.run_once() == 1
    assert Recording.published == [(other, "1"), (other, "2"), (other, "3")]
    assert "to the group 'bad', could not be sent, and those behind it wait: LayerError: too long; attempt 1" in (
        caplog.text
    )
    del Recording.errors["bad"]
    assert relay.run_once() == 0
    OutboxMessage.objects.filter(due_ms__gt=0).update(due_ms=1)
    assert relay.run_once() == 2
    assert Recording.published[3:] == [("bad", "1"), ("bad", "2")]


def test_what_is_stuck_is_told(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_module, "STUCK_S", 0.0)
    Recording.errors["bad"] = LayerError("too long")
    write(("bad", "1"), ("bad", "2"))
    relay = Relay(ALIAS)
    time.sleep(0.002)
    relay.run_once()
    assert "2 messages have waited in the outbox for more than 0 s" in caplog.text
    assert "to the group 'bad', after 1 attempts: LayerError: too long" in caplog.text


def test_while_the_layer_is_down_nothing_is_tried_twice_and_nothing_lost() -> None:
    write(("a", "1"), ("a", "2"), ("kept.b", "1"))
    Recording.errors["a"] = LayerUnavailable("down")
    relay = Relay(ALIAS)
    for _ in range(3):
        with pytest.raises(LayerUnavailable):
            run(relay)
    assert OutboxMessage.objects.filter(attempts_count__gt=0).count() == 0
    Recording.errors.clear()
    run(relay)
    assert (Recording.published, kept("kept.b")) == ([("a", "1"), ("a", "2")], ["1"])


def test_several_processes_send_each_message_once_in_the_order_of_its_group() -> None:
    groups = [f"g{number}" for number in range(5)]
    rounds = 20
    is_written = threading.Event()

    def send() -> None:
        relay = Relay(ALIAS, batch_count=7)
        while True:
            ends = is_written.is_set()
            if relay.run_once() == 0 and ends and not OutboxMessage.objects.exists():
                break
        relay.close()
        connections[ALIAS].close()

    with ThreadPoolExecutor(3) as threads:
        sending = [threads.submit(send) for _ in range(3)]
        for number in range(rounds):
            write(*((group, str(number)) for group in groups))
        is_written.set()
        for one in sending:
            one.result()
    for group in groups:
        assert [text for name, text in Recording.published if name == group] == [str(n) for n in range(rounds)]


def test_a_lane_that_somebody_has_is_left_to_him() -> None:
    write(("a", "1"))
    relay, other = Relay(ALIAS), Relay(ALIAS)
    if relay._skips:
        done, taken = threading.Event(), threading.Event()

        def hold() -> None:
            with transaction.atomic(ALIAS):
                list(OutboxLane.objects.select_for_update())
                taken.set()
                done.wait(20)
            connections[ALIAS].close()

        relay._lanes()
        thread = threading.Thread(target=hold)
        thread.start()
        taken.wait(20)
        assert relay.run_once() == 0
        done.set()
        thread.join()
    else:
        other._lanes()
        assert other._lease(lane_of("a"), relay_module.Q())
        assert relay.run_once() == 0
        other.close()
    assert relay.run_once() == 1


def test_whoever_lost_his_lease_leaves_the_rows_to_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    relay, other = Relay(ALIAS), Relay(ALIAS)
    if relay._skips:
        pytest.skip("a lock of a row is not lost")
    write(("kept.b", "1"))
    monkeypatch.setattr(relay_module, "LEASE_S", -1.0)
    publish = relay._publish

    def publish_slowly(rows: Any) -> Any:
        batch = publish(rows)
        assert other.run_once() == 1
        return batch

    monkeypatch.setattr(relay, "_publish", publish_slowly)
    assert relay.run_once() == 0
    assert kept("kept.b") == ["1"]


def test_a_commit_wakes_whoever_waits() -> None:
    stopped = threading.Event()
    with Waking(ALIAS, stopped) as waking:
        if connections[ALIAS].vendor != "postgresql":
            stopped.set()
            waking.wait(20)
            return
        waking.wait(0.01)
        thread = threading.Thread(target=lambda: (write(("a", "1"), ("a", "2")), connections[ALIAS].close()))
        begun_s = time.monotonic()
        thread.start()
        waking.wait(20)
        assert time.monotonic() - begun_s < 15
        thread.join()


async def test_from_async_code() -> None:
    with pytest.raises(TransactionManagementError):
        await Group("a").asend_in_transaction("x")
    await forget()


def test_kept_messages_and_their_rows_are_one_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    write(("kept.b", "1"), ("kept.b", "2"))

    def fail(*_: Any) -> None:
        raise RuntimeError

    relay = Relay(ALIAS)
    with monkeypatch.context() as patched:
        patched.setattr("django.db.models.query.QuerySet.delete", fail)
        with pytest.raises(RuntimeError):
            relay.run_once()
    assert KeptMessage.objects.count() == 0
    assert relay.run_once() == 2
    assert kept("kept.b") == ["1", "2"]

"""Workers: consumers for what is sent to a channel by name."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from fullduplex.channels.consumer import AsyncConsumer, SyncConsumer
from fullduplex.channels.layers import BaseChannelLayer, InMemoryChannelLayer
from fullduplex.channels.routing import ChannelNameRouter, ProtocolTypeRouter
from fullduplex.channels.worker import Worker
from fullduplex.management.commands import runworker

seen: list[Any] = []


class Thumbnails(AsyncConsumer):
    async def thumbnail_make(self, event: dict[str, Any]) -> None:
        seen.append((self.scope["channel"], event["id"]))


class Mails(SyncConsumer):
    def mail_send(self, event: dict[str, Any]) -> None:
        seen.append((self.scope["channel"], event["id"]))


APPLICATION = ProtocolTypeRouter(
    {"channel": ChannelNameRouter({"thumbnails": Thumbnails.as_asgi(), "mails": Mails.as_asgi()})}
)


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    seen.clear()


async def test_messages_go_to_the_consumer_of_their_channel() -> None:
    layer = InMemoryChannelLayer()
    worker = Worker(APPLICATION, ["thumbnails", "mails"], layer)
    task = asyncio.ensure_future(worker.arun())  # type: ignore[no-untyped-call]
    for number in range(2):
        await layer.send("thumbnails", {"type": "thumbnail.make", "id": number})
        await layer.send("mails", {"type": "mail.send", "id": number})
    async with asyncio.timeout(30):
        while len(seen) < 4:
            await asyncio.sleep(0)
    assert sorted(seen) == [("mails", 0), ("mails", 1), ("thumbnails", 0), ("thumbnails", 1)]
    applications = [details["future"] for details in worker.application_instances.values()]
    for future in [task, *applications]:
        future.cancel()
    await asyncio.wait([task, *applications])


async def test_an_error_ends_the_worker() -> None:
    layer = InMemoryChannelLayer()
    await layer.send("thumbnails", {"no": "type"})
    with pytest.raises(ExceptionGroup) as caught:
        await Worker(APPLICATION, ["thumbnails", "mails"], layer).handle()
    assert caught.group_contains(ValueError, match="message with no type")


def test_a_worker_needs_a_layer() -> None:
    with pytest.raises(ValueError, match="Channel layer is not valid"):
        Worker(APPLICATION, ["mails"], None)


# The command -------------------------------------------------------------------------------------


class Elsewhere(BaseChannelLayer):
    """A layer that reaches other processes."""


def test_runworker(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ready(Worker):
        def run(self) -> None:
            seen.append((self.application, list(self.channels), type(self.channel_layer)))

    monkeypatch.setattr(runworker.Command, "worker_class", Ready)
    layers = {"other": {"BACKEND": f"{__name__}.Elsewhere"}}
    with override_settings(CHANNEL_LAYERS=layers, ASGI_APPLICATION=f"{__name__}.APPLICATION"):
        call_command("runworker", "mails", "thumbnails", layer="other")
        assert seen == [(APPLICATION, ["mails", "thumbnails"], Elsewhere)]
        with pytest.raises(CommandError, match="do not have any CHANNEL_LAYERS"):
            call_command("runworker", "mails")


def test_runworker_has_nothing_to_do_on_the_in_process_layer() -> None:
    with pytest.raises(CommandError, match="nothing reaches another process"):
        call_command("runworker", "mails")

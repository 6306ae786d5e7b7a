"""Channel layers of third parties under our groups."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.test import override_settings

from fullduplex import watched
from fullduplex.checks import check_layer
from fullduplex.layers import adopted, get_layer
from fullduplex.layers.adopted import AdoptedLayer
from fullduplex.layers.base import BaseLayer
from fullduplex.layers.channels import get_channel_layer
from fullduplex.layers.channels_memory import InMemoryChannelLayer
from fullduplex.testing.layers import Inbox, LayerConformance


class ThirdParty(InMemoryChannelLayer):
    """A channel layer that is none of ours, as far as the settings know."""

    in_process = False  # type: ignore[misc]


class TestAdoptedLayer(LayerConformance):
    broker = ThirdParty(capacity=1_000_000)

    def make_layer(self) -> BaseLayer:
        return AdoptedLayer(self.broker)


async def test_the_setting_serves_groups_and_consumers_with_one_layer() -> None:
    with override_settings(CHANNEL_LAYERS={"default": {"BACKEND": f"{__name__}.ThirdParty"}}):
        assert check_layer() == []
        layer = get_layer()
        assert isinstance(layer, AdoptedLayer)
        assert layer.channel_layer is get_channel_layer()
        inbox = Inbox(1.0)
        await layer.subscribe("a", inbox)
        assert list(layer.channel_layer.groups) == ["a"]
        await layer.close()
        assert (layer.channel_layer.groups, layer.channel_layer.channels) == ({}, {})


class Failing(ThirdParty):
    failures = 1
    joined = 0

    async def receive(self, channel: str) -> Any:
        if self.failures:
            self.failures -= 1
            raise ConnectionError
        return await super().receive(channel)

    async def group_add(self, group: str, channel: str) -> None:
        self.joined += 1
        if self.joined == 2:
            raise ConnectionError
        await super().group_add(group, channel)


async def test_a_layer_that_fails_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watched, "PAUSE_S", 0.0)
    monkeypatch.setattr(adopted, "_RENEWAL_S", 0.0)
    channel_layer = Failing()
    layer = AdoptedLayer(channel_layer)
    arrived: list[Any] = []
    await layer.subscribe("a", arrived.append)
    async with asyncio.timeout(30):
        while channel_layer.joined < 3:
            await asyncio.sleep(0)
        await layer.apublish("a", b"hello")
        while not arrived:
            await asyncio.sleep(0)
    assert arrived == [b"hello"]
    assert len(caplog.records) == 2
    channel_layer.joined = 1
    with pytest.raises(ConnectionError):
        await layer.subscribe("b", arrived.append)
    await layer.close()
    assert channel_layer.groups == {}

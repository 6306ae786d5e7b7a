"""The channel layer API: names, capacities, and what CHANNEL_LAYERS means to it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import override_settings

from fullduplex.exceptions import ConfigurationError, InvalidChannelLayerError, LayerNotConfigured
from fullduplex.layers import serving
from fullduplex.layers.channels import BaseChannelLayer, channel_layers, get_channel_layer
from fullduplex.layers.channels_memory import InMemoryChannelLayer


class Elsewhere(BaseChannelLayer):
    """A layer of a third party."""


def configured(backend: str | None = None, **entry: Any) -> Any:
    if backend is not None:
        entry["BACKEND"] = backend
    return override_settings(CHANNEL_LAYERS={"default": entry})


@pytest.mark.parametrize("name", ["a", "chat.room-1_x", "specific.inmemory!a-b.c", "group!", "x" * 99])
def test_names_of_channels(name: str) -> None:
    assert BaseChannelLayer().require_valid_channel_name(name)


@pytest.mark.parametrize("name", ["", "a b", "ä", "a!b!c", "x" * 100, "a\n", None, b"a"])
def test_what_is_no_name(name: Any) -> None:
    layer = BaseChannelLayer()
    with pytest.raises(TypeError, match="Channel name must be a valid unicode string with length < 100"):
        layer.require_valid_channel_name(name)
    with pytest.raises(TypeError, match="Group name must be a valid unicode string"):
        layer.require_valid_group_name(name)


def test_names_to_receive_from_end_at_the_mark() -> None:
    layer = BaseChannelLayer()
    assert layer.valid_channel_names(["a", "b!"], receive=True)
    with pytest.raises(TypeError, match="must end at the !"):
        layer.valid_channel_names(["b!c"], receive=True)
    with pytest.raises(AssertionError):
        layer.valid_channel_names([])
    assert layer.non_local_name("a!b") == "a!"
    assert layer.non_local_name("a") == "a"


def test_deprecated_names_still_work() -> None:
    with pytest.warns(DeprecationWarning, match="require_valid_channel_name"):
        assert BaseChannelLayer().valid_channel_name("a")
    with pytest.warns(DeprecationWarning, match="require_valid_group_name"):
        assert BaseChannelLayer().valid_group_name("a")


def test_capacities_by_pattern() -> None:
    """In Channels the base class keeps the patterns uncompiled, and asking for a capacity fails."""
    layer = BaseChannelLayer(capacity=5, channel_capacity={"http.*": 10, re.compile(r"^ws\."): 20})
    assert [layer.get_capacity(name) for name in ("http.request", "ws.send", "other")] == [10, 20, 5]


async def test_the_base_class_leaves_the_work_to_others() -> None:
    layer = BaseChannelLayer()
    for call in (
        layer.send("a", {}),
        layer.receive("a"),
        layer.new_channel(),
        layer.flush(),
        layer.group_add("a", "b"),
        layer.group_discard("a", "b"),
        layer.group_send("a", {}),
    ):
        with pytest.raises(NotImplementedError):
            await call
    await layer.discard_channel("a")


@pytest.mark.parametrize(
    "backend",
    [
        "fullduplex.layers.memory.MemoryLayer",
        "channels.layers.InMemoryChannelLayer",
        "fullduplex.layers.channels_memory.InMemoryChannelLayer",
    ],
)
def test_the_in_process_layer_by_any_path(backend: str) -> None:
    with configured(backend):
        assert isinstance(get_channel_layer(), InMemoryChannelLayer)
        assert get_channel_layer() is get_channel_layer()


def test_config_and_test_config() -> None:
    with configured("channels.layers.InMemoryChannelLayer", CONFIG={"capacity": 7}, TEST_CONFIG={"expiry": 1}):
        assert get_channel_layer().capacity == 7
        assert channel_layers.make_test_backend("default").expiry == 1
        assert "default" in channel_layers
        assert "other" not in channel_layers
        assert get_channel_layer("other") is None


def test_third_parties_and_exchange() -> None:
    with configured(f"{__name__}.Elsewhere"):
        layer = get_channel_layer()
        assert isinstance(layer, Elsewhere)
        other = InMemoryChannelLayer()
        assert channel_layers.set("default", other) is layer
        assert get_channel_layer() is other
    assert channel_layers.backends == {}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "No BACKEND"),
        ({"BACKEND": "nowhere.Layer"}, "Cannot import BACKEND 'nowhere.Layer'"),
        ({"BACKEND": "x", "ROUTING": "y"}, "ROUTING key"),
    ],
)
def test_a_wrong_entry(entry: dict[str, Any], message: str) -> None:
    with configured(**entry), pytest.raises(InvalidChannelLayerError, match=message) as caught:
        get_channel_layer()
    assert isinstance(caught.value, ConfigurationError)


def test_no_test_config() -> None:
    with configured("channels.layers.InMemoryChannelLayer"), pytest.raises(InvalidChannelLayerError):
        channel_layers.make_test_backend("default")


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of which nothing is known, and which is no test."""
    for name, value in {"_allowed_reason": None, "_serving": False, "_worker_count": None}.items():
        monkeypatch.setattr(serving, name, value)
    monkeypatch.setattr(serving, "_in_tests", lambda: False)
    channel_layers.backends = {}


@pytest.mark.usefixtures("process")
class TestWhereTheInProcessLayerIsNone:
    def test_it_is_implied_where_it_reaches_every_member_only(self) -> None:
        assert get_channel_layer() is None
        serving.note_serving(1)
        assert isinstance(get_channel_layer(), InMemoryChannelLayer)

    async def test_sending_to_nobody_is_an_error(self) -> None:
        with configured("channels.layers.InMemoryChannelLayer"):
            layer = get_channel_layer()
            await layer.group_add("g", "c")
            with pytest.raises(LayerNotConfigured, match="serves no sockets"):
                await layer.group_send("g", {"type": "x"})
            with pytest.raises(LayerNotConfigured):
                await layer.send("c", {"type": "x"})
            serving.note_serving(4)
            with pytest.raises(LayerNotConfigured, match="4 workers"):
                await layer.group_send("g", {"type": "x"})

    async def test_one_that_a_program_makes_for_itself_asks_nobody(self) -> None:
        layer = InMemoryChannelLayer()
        await layer.send("c", {"type": "x"})
        assert await layer.receive("c") == {"type": "x"}

"""Which layer is in force, and where the in-process layer is none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import override_settings

from fullduplex.exceptions import ConfigurationError, LayerNotConfigured
from fullduplex.layers import allow_in_process, close_layer, get_layer, note_serving, serving
from fullduplex.layers.base import BaseLayer
from fullduplex.layers.memory import MemoryLayer

CONFIGURED = override_settings(CHANNEL_LAYERS={"default": {"BACKEND": "fullduplex.layers.memory.MemoryLayer"}})


class Elsewhere(MemoryLayer):
    """A layer that reaches other processes."""

    in_process = False

    def __init__(self, *, url: str = "") -> None:
        super().__init__()
        self.url = url
        self.closed = 0

    async def close(self) -> None:
        self.closed += 1


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process of which nothing is known, and which is no test."""
    monkeypatch.setattr(serving, "_allowed_reason", None)
    monkeypatch.setattr(serving, "_serving", False)
    monkeypatch.setattr(serving, "_worker_count", None)
    monkeypatch.setattr(serving, "_in_tests", lambda: False)
    return


def test_tests_need_no_setting() -> None:
    assert isinstance(get_layer(), MemoryLayer)
    assert get_layer() is get_layer()


@pytest.mark.usefixtures("process")
class TestTheInProcessLayer:
    @pytest.mark.parametrize("settings", [override_settings(), CONFIGURED], ids=["implied", "configured"])
    def test_is_none_in_a_shell(self, settings: Any) -> None:
        with settings, pytest.raises(LayerNotConfigured, match=r"serves no sockets.*Set CHANNEL_LAYERS"):
            get_layer()

    def test_is_not_implied_where_the_server_does_not_tell(self) -> None:
        note_serving(None)
        with pytest.raises(LayerNotConfigured, match=r"does not tell whether other workers.*Set CHANNEL_LAYERS"):
            get_layer()

    @CONFIGURED
    def test_may_be_chosen_where_the_server_does_not_tell(self) -> None:
        note_serving(None)
        assert isinstance(get_layer(), MemoryLayer)

    @pytest.mark.parametrize("settings", [override_settings(), CONFIGURED], ids=["implied", "configured"])
    def test_is_none_among_several_workers(self, settings: Any) -> None:
        note_serving(4)
        with settings, pytest.raises(LayerNotConfigured, match="4 workers serve this site"):
            get_layer()

    def test_is_implied_in_a_single_worker(self) -> None:
        note_serving(1)
        assert isinstance(get_layer(), MemoryLayer)

    def test_is_implied_where_it_is_allowed(self) -> None:
        allow_in_process("runserver")
        note_serving(None)
        assert isinstance(get_layer(), MemoryLayer)

    @override_settings(CHANNEL_LAYERS={"default": {"BACKEND": "tests.layers.test_layers.Elsewhere"}})
    def test_others_work_everywhere(self) -> None:
        assert isinstance(get_layer(), Elsewhere)


class TestTheSetting:
    def test_config_goes_to_the_layer(self) -> None:
        config = {"BACKEND": "tests.layers.test_layers.Elsewhere", "CONFIG": {"url": "x://"}}
        with override_settings(CHANNEL_LAYERS={"default": config}):
            layer = get_layer()
            assert isinstance(layer, Elsewhere)
            assert layer.url == "x://"
        assert isinstance(get_layer(), MemoryLayer)

    def test_the_path_of_channels_is_understood(self) -> None:
        config = {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 10, "expiry": 60}}
        with override_settings(CHANNEL_LAYERS={"default": config}):
            assert isinstance(get_layer(), MemoryLayer)

    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ({"other": {}}, "CHANNEL_LAYERS must be"),
            ("redis", "CHANNEL_LAYERS must be"),
            ({"default": {"CONFIG": {}}}, "CHANNEL_LAYERS must be"),
            ({"default": {"BACKEND": "no.such.Layer"}}, "'no.such.Layer' cannot be imported"),
            ({"default": {"BACKEND": "collections.OrderedDict"}}, "no subclass of fullduplex.layers.BaseLayer"),
            (
                {"default": {"BACKEND": "fullduplex.layers.memory.MemoryLayer", "CONFIG": {"hosts": []}}},
                "CONFIG does not fit",
            ),
            ({"default": {"BACKEND": "fullduplex.layers.BaseLayer"}}, "CONFIG does not fit"),
        ],
    )
    def test_mistakes(self, setting: Any, message: str) -> None:
        with override_settings(CHANNEL_LAYERS=setting), pytest.raises(ConfigurationError, match=message):
            get_layer()

    @override_settings(CHANNEL_LAYERS={"default": {"BACKEND": "tests.layers.test_layers.Elsewhere"}})
    async def test_close(self) -> None:
        await close_layer()  # there is none yet
        layer = get_layer()
        await close_layer()
        assert isinstance(layer, Elsewhere)
        assert layer.closed == 1


def test_a_shell_never_publishes_to_nobody() -> None:
    """The whole story, in a process of its own."""
    script = (
        "import django; from django.conf import settings; settings.configure(); django.setup();"
        "from fullduplex import Group; Group('lobby').send('hello')"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert "LayerNotConfigured: This process serves no sockets" in result.stderr


def test_the_base_layer_is_abstract() -> None:
    with pytest.raises(TypeError):
        BaseLayer()  # type: ignore[abstract]

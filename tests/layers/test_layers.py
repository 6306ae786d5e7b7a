"""Which layer is in force, and where the in-process layer is none."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from fullduplex import layers
from fullduplex.exceptions import ConfigurationError, LayerNotConfigured
from fullduplex.layers import allow_in_process, close_layer, configured, get_layer, note_serving, open_layer, serving
from fullduplex.layers.base import BaseLayer
from fullduplex.layers.channels import channel_layers, get_channel_layer
from fullduplex.layers.in_force import in_force
from fullduplex.layers.local import LocalLayer
from fullduplex.layers.local.place import Place, release
from fullduplex.layers.memory import MemoryLayer

KEPT = override_settings(FULLDUPLEX={"HISTORY": {"chat.*": {}}})
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
    monkeypatch.setattr(layers, "_layer", None)
    monkeypatch.setattr(configured, "_layer", None)
    monkeypatch.setattr(channel_layers, "backends", {})
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

    @CONFIGURED
    def test_is_none_among_several_workers(self) -> None:
        note_serving(4)
        with pytest.raises(LayerNotConfigured, match="4 workers serve this site"):
            get_layer()

    def test_the_local_layer_is_implied_among_several_workers(self) -> None:
        note_serving(4)
        assert isinstance(get_layer(), LocalLayer)

    def test_nothing_is_implied_among_several_workers_where_the_local_layer_cannot_be(self, monkeypatch) -> None:
        monkeypatch.setattr("fullduplex.layers.configured.is_possible", lambda: False)
        note_serving(4)
        with pytest.raises(LayerNotConfigured, match="4 workers serve this site"):
            get_layer()

    def test_is_implied_in_a_single_worker(self) -> None:
        note_serving(1)
        assert isinstance(get_layer(), MemoryLayer)

    @KEPT
    def test_is_not_implied_in_a_single_worker_that_is_to_keep_something(self) -> None:
        note_serving(1)
        assert isinstance(get_layer(), LocalLayer)
        assert get_channel_layer() is None  # consumers would not hear what the layer carries

    @KEPT
    def test_is_implied_in_runserver_whatever_is_to_be_kept(self) -> None:
        allow_in_process("runserver")
        note_serving(1)
        assert isinstance(get_layer(), MemoryLayer)
        assert get_channel_layer() is not None

    @override_settings(FULLDUPLEX={"HISTORY": {"orders.*": {"STORE": "database"}}})
    def test_is_implied_in_a_single_worker_where_the_database_keeps(self) -> None:
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


@pytest.mark.usefixtures("process")
class TestBesideWorkers:
    """A shell or a task, where several workers of ours serve the same project for the same user."""

    @pytest.fixture(autouse=True)
    def place(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
        with tempfile.TemporaryDirectory() as path:
            monkeypatch.setattr("fullduplex.layers.local.place.ABOVE", Path(path))
            yield Place()

    def test_the_local_layer_is_implied_as_long_as_they_run(self, place: Place) -> None:
        for _ in range(2):  # each time anew: they may begin later
            with pytest.raises(LayerNotConfigured, match="No workers of fullduplex serve this project here"):
                get_layer()
        mark = place.mark_served()
        try:
            assert isinstance(get_layer(), LocalLayer)
        finally:
            release(mark)

    def test_a_worker_shows_that_it_serves_and_starts_nothing(self, place: Place) -> None:
        async def scenario() -> None:
            note_serving(4)
            await open_layer()
            assert place.is_served()
            assert not (place.path / "socket").exists()
            await close_layer()
            assert not place.is_served()

        asyncio.run(scenario())

    @KEPT
    @pytest.mark.parametrize("worker_count", [1, 4])
    def test_a_worker_starts_what_is_to_keep_something(self, place: Place, worker_count: int) -> None:
        async def scenario() -> None:
            note_serving(worker_count)
            await open_layer()
            assert place.is_served()
            assert (place.path / "socket").exists()
            await close_layer()

        asyncio.run(scenario())

    def test_a_directory_that_cannot_be_used_is_told_at_the_start_and_at_the_first_use(
        self, place: Place, caplog
    ) -> None:
        place.path.mkdir(mode=0o755)

        async def scenario() -> None:
            note_serving(4)
            await open_layer()
            assert "with mode 700" in caplog.text
            with pytest.raises(ConfigurationError, match="with mode 700"):
                await get_layer().subscribe("a", print)
            await close_layer()

        asyncio.run(scenario())

    def test_what_is_in_force_is_told(self, place: Place) -> None:
        assert "elsewhere an error" in in_force()
        assert "(none run now)" in in_force()
        mark = place.mark_served()
        assert f"LocalLayer in {place.path} for several workers and" in in_force()
        assert "in a single worker of fullduplex" in in_force()
        with KEPT:
            assert f"LocalLayer in {place.path} for workers, of which it keeps what HISTORY says," in in_force()
            assert "in a single worker" not in in_force()
        assert "they run now, and this process reaches them" in in_force()
        release(mark)
        with override_settings(CHANNEL_LAYERS={"default": {"BACKEND": "fullduplex.layers.redis.RedisLayer"}}):
            assert in_force() == "fullduplex.layers.redis.RedisLayer, of CHANNEL_LAYERS"
        with override_settings(CHANNEL_LAYERS={"default": 3}):
            assert in_force().startswith("none: CHANNEL_LAYERS must be")

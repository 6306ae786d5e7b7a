"""The names of Channels as an alias of ours: one module under two names."""

from __future__ import annotations

import importlib
import pickle
import sys
from collections.abc import Iterator
from importlib.resources import files
from importlib.util import find_spec
from types import ModuleType

import pytest
from django.apps import AppConfig
from django.test import override_settings

import fullduplex.channels
from fullduplex.channels.alias import install_alias
from fullduplex.exceptions import ConfigurationError, DenyConnection
from fullduplex.migrate.names import root_of


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """As if nobody had imported Channels; what other tests have imported is there again afterwards."""
    finders = sys.meta_path[:]
    theirs = {name: sys.modules.pop(name) for name in tuple(sys.modules) if root_of(name)}
    yield
    sys.meta_path[:] = finders
    for name in [name for name in sys.modules if root_of(name)]:
        del sys.modules[name]
    sys.modules.update(theirs)


NAMES = {
    "channels": "fullduplex.channels",
    "channels.layers": "fullduplex.channels.layers",
    "channels.generic.websocket": "fullduplex.channels.generic.websocket",
    "channels_redis": "fullduplex.channels.redis",
    "channels_redis.core": "fullduplex.channels.redis.core",
}


def test_both_names_are_one_module() -> None:
    install_alias()
    install_alias()
    for name, ours in NAMES.items():
        module = importlib.import_module(name)
        assert module is importlib.import_module(ours)
        assert module.__spec__ is not None
        assert module.__spec__.name == module.__name__ == ours
    assert find_spec("channels.auth") is not None
    assert files("channels") == files("fullduplex.channels")
    assert pickle.loads(b"cchannels.exceptions\nDenyConnection\n.") is DenyConnection


def test_what_we_have_not_is_not_there() -> None:
    install_alias()
    for name in ("channels.binding", "channels.layers.memory", "channels_redis.sharded"):
        with pytest.raises(ModuleNotFoundError, match=f"No module named '{name}'"):
            importlib.import_module(name)
    assert find_spec("channels.binding") is None


def test_it_comes_too_late_for_what_was_imported() -> None:
    consumers = ModuleType("chat.consumers")
    exec("from channels.exceptions import DenyConnection", vars(consumers))
    sys.modules["chat.consumers"] = consumers
    try:
        with pytest.raises(ConfigurationError, match=r"too late: channels was imported before, by .*chat\.consumers"):
            install_alias()
    finally:
        del sys.modules["chat.consumers"]
    assert sys.modules["channels"].__name__ == "channels"


def test_the_setting_asks_for_it_when_the_application_is_loaded() -> None:
    finders = sys.meta_path[:]
    with override_settings(FULLDUPLEX={"CHANNEL_ALIAS": True}):  # misspelt, which the system check tells
        AppConfig.create("fullduplex")
    assert sys.meta_path == finders
    with override_settings(FULLDUPLEX={"CHANNELS_ALIAS": True}):
        AppConfig.create("fullduplex")
    assert importlib.import_module("channels") is fullduplex.channels
    assert AppConfig.create("channels").name == "fullduplex.channels"  # it may stay in INSTALLED_APPS

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
from django.core.checks import registry
from django.core.management import get_commands
from django.test import override_settings

import fullduplex.channels
from fullduplex.checks import (
    check_asgi_application,
    check_channels,
    check_layer,
    check_runserver,
    check_server,
    check_settings,
)

APPS = ["django.contrib.contenttypes", "django.contrib.auth"]


@pytest.fixture(autouse=True)
def _fresh_commands() -> Iterator[None]:
    get_commands.cache_clear()
    yield
    get_commands.cache_clear()


def test_the_checks_are_registered() -> None:
    assert registry.registry.tag_exists("fullduplex")
    assert {
        check_runserver,
        check_asgi_application,
        check_settings,
        check_server,
        check_channels,
    } <= registry.registry.registered_checks


def test_channels_beside_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in ("channels", "channels_redis")]:
        monkeypatch.delitem(sys.modules, name)
    assert check_channels() == []
    monkeypatch.setitem(sys.modules, "channels", fullduplex.channels)  # an alias
    assert check_channels() == []
    monkeypatch.delitem(sys.modules, "channels")
    consumers = ModuleType("chat.consumers")
    exec("from channels.exceptions import DenyConnection", vars(consumers))
    monkeypatch.setitem(sys.modules, "chat.consumers", consumers)
    try:
        [warning] = check_channels()
        assert warning.id == "fullduplex.W003"
        assert warning.msg.startswith("channels imported beside fullduplex.channels, by ")
        assert "chat.consumers" in warning.msg
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "channels"]:
            monkeypatch.delitem(sys.modules, name)


@override_settings(INSTALLED_APPS=["fullduplex", "django.contrib.staticfiles", *APPS])
def test_our_runserver_first() -> None:
    assert check_runserver() == []


@override_settings(INSTALLED_APPS=["django.contrib.staticfiles", *APPS, "fullduplex"])
def test_another_runserver_first() -> None:
    [warning] = check_runserver()
    assert warning.id == "fullduplex.W001"
    assert "'django.contrib.staticfiles'" in warning.msg
    assert warning.hint is not None
    assert "Put 'fullduplex' before 'django.contrib.staticfiles' in INSTALLED_APPS" in warning.hint


@override_settings(INSTALLED_APPS=["tests.management.derived", "fullduplex", "django.contrib.staticfiles", *APPS])
def test_a_runserver_built_on_ours() -> None:
    assert get_commands()["runserver"] == "tests.management.derived"
    assert check_runserver() == []


@pytest.mark.parametrize("path", ["tests.management.asgi_module.application", None])
def test_an_application_that_exists(path: str | None) -> None:
    with override_settings(ASGI_APPLICATION=path):
        assert check_asgi_application() == []


@pytest.mark.parametrize("path", ["nowhere.asgi.application", "tests.nowhere.application", "application", 42, ""])
def test_an_application_that_does_not_exist(path: object) -> None:
    with override_settings(ASGI_APPLICATION=path):
        [error] = check_asgi_application()
    assert error.id == "fullduplex.E002"
    assert f"ASGI_APPLICATION = {path!r} cannot be imported" in error.msg


@override_settings(FULLDUPLEX={"HANDSHAKE_TIMEOUT_S": 5})
def test_known_settings() -> None:
    assert check_settings() == []


@override_settings(FULLDUPLEX={"HANDSHAKE_TIMEOUT": 5})
def test_an_unknown_setting() -> None:
    [error] = check_settings()
    assert error.id == "fullduplex.E001"
    assert "HANDSHAKE_TIMEOUT_S" in error.msg


@pytest.mark.parametrize("backend", ["fullduplex.layers.memory.MemoryLayer", "channels.layers.InMemoryChannelLayer"])
def test_a_layer_that_exists(backend: str) -> None:
    with override_settings(CHANNEL_LAYERS={"default": {"BACKEND": backend}}):
        assert check_layer() == []


@pytest.mark.parametrize(
    "layers", [{"default": {"BACKEND": "nowhere.Layer"}}, {"default": {}}, {"other": {}}, "memory"]
)
def test_a_layer_that_cannot_be_made(layers: object) -> None:
    with override_settings(CHANNEL_LAYERS=layers):
        [error] = check_layer()
    assert error.id == "fullduplex.E003"
    assert "CHANNEL_LAYERS" in error.msg


@pytest.mark.parametrize(
    "layers",
    [
        {"default": {"BACKEND": "fullduplex.layers.redis.RedisLayer", "CONFIG": {"hosts": "redis://:s3cret@h"}}},
        {"default": {"BACKEND": "fullduplex.layers.redis.RedisLayer", "CONFIG": {"hosts": ["redis://:s3cret/@h"]}}},
        {"defautl": {"BACKEND": "fullduplex.layers.redis.RedisLayer", "CONFIG": {"hosts": ["redis://:s3cret@h"]}}},
        {"default": {"CONFIG": {"hosts": [{"host": "h", "password": "s3cret"}]}}},
    ],
)
def test_a_wrong_layer_is_told_without_its_password(layers: object) -> None:
    with override_settings(CHANNEL_LAYERS=layers):
        [error] = check_layer()
    assert error.id == "fullduplex.E003"
    assert "s3cret" not in error.msg
    assert "(hidden)" in error.msg


def test_no_layer_at_all() -> None:
    assert check_layer() == []


def test_the_server_is_configured_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FULLDUPLEX_WS_MAX_SIZE", "1000")
    assert check_server() == []


def test_an_environment_variable_that_the_server_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FULLDUPLEX_WS_MAX_SIZE", "much")
    [warning] = check_server()
    assert warning.id == "fullduplex.W002"
    assert "FULLDUPLEX_WS_MAX_SIZE" in warning.msg

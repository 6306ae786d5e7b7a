"""Names, kinds and checks of settings, as the metadata of the configuration has them."""

from __future__ import annotations

import pytest

from fullduplex.exceptions import ConfigurationError
from fullduplex.server.settings import all_settings, build, value_of

SETTINGS = all_settings()


def test_every_name_option_and_variable_is_unique():
    flags = [flag for setting in SETTINGS.values() for flag in setting.flags]
    assert len(flags) == len(set(flags))
    assert len({setting.path for setting in SETTINGS.values()}) == len(SETTINGS)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("port", "port"),
        ("ws_max_size", "websocket.max_message_bytes"),
        ("ws_ping_interval", "websocket.ping_interval_s"),
        ("ws_ping_timeout", "websocket.ping_timeout_s"),
        ("ws_per_message_deflate", "websocket.deflate"),
        ("timeout_keep_alive", "http1.keepalive_timeout_s"),
        ("timeout_graceful_shutdown", "graceful_timeout_s"),
        ("backlog", "backlog_count"),
        ("http1_max_head_bytes", "http1.max_head_bytes"),
    ],
)
def test_uvicorn_s_names_where_it_has_the_option_else_the_field_s(name, path):
    assert SETTINGS[name].path == path
    assert SETTINGS[name].variable == f"FULLDUPLEX_{name.upper()}"


def test_every_default_passes_its_own_check_and_is_the_value_of_a_new_configuration():
    config = build({})
    for setting in SETTINGS.values():
        setting.check(setting.default)
        assert value_of(config, setting) == setting.default
        assert setting.help
        assert setting.metavar


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("port", "80", 80),
        ("timeout_keep_alive", "2.5", 2.5),
        ("access_log", "off", False),
        ("access_log", "True", True),
        ("uds_mode", "600", 0o600),
        ("bind", "127.0.0.1:1, unix:/s", ("127.0.0.1:1", "unix:/s")),
    ],
)
def test_texts_become_values(name, text, value):
    assert SETTINGS[name].parse(text) == value


@pytest.mark.parametrize(("name", "text"), [("port", "tcp://x"), ("access_log", "maybe"), ("uds_mode", "9")])
def test_a_text_that_is_no_such_value(name, text):
    with pytest.raises(ConfigurationError, match="is not "):
        SETTINGS[name].parse(text)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("port", 70_000, "--port: 70000 is above 65535"),
        ("workers", 0, "--workers: 0 is below 1"),
        ("timeout_keep_alive", -1.0, "--timeout-keep-alive: -1.0 is below 0"),
        ("timeout_keep_alive", float("nan"), "is below 0"),
        ("loop", "uvlop", "'uvlop' is not one of auto, asyncio, uvloop; did you mean uvloop"),
    ],
)
def test_nonsense_is_refused(name, value, message):
    with pytest.raises(ConfigurationError, match=message):
        build({name: value})


def test_values_reach_their_groups():
    config = build({"port": 1, "ws_max_size": 2, "http1_max_head_bytes": 3})
    assert (config.port, config.websocket.max_message_bytes, config.http1.max_head_bytes) == (1, 2, 3)

"""A configuration that nobody can mean cannot be made, wherever its values come from."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from fullduplex.exceptions import ConfigurationError
from fullduplex.gateway.forwarded import ProxyConfig
from fullduplex.limits import (
    ConnectionLimits,
    HTTP1Limits,
    HTTP2Limits,
    LoadLimits,
    RecycleLimits,
    WebSocketLimits,
    check_value,
    kind_of,
    shown,
    without_secrets,
)
from fullduplex.net.tls import TLSConfig
from fullduplex.server.config import ServerConfig
from fullduplex.server.settings import all_settings

CONFIGURATIONS = (
    ServerConfig,
    HTTP1Limits,
    HTTP2Limits,
    WebSocketLimits,
    ConnectionLimits,
    LoadLimits,
    RecycleLimits,
    TLSConfig,
    ProxyConfig,
)


@pytest.mark.parametrize(
    ("cls", "values", "message"),
    [
        (ServerConfig, {"port": 70_000}, "ServerConfig.port: 70000 is above 65535."),
        (ServerConfig, {"port": "8000"}, "ServerConfig.port: '8000' is not a whole number."),
        (ServerConfig, {"port": None}, "ServerConfig.port: None is not a whole number."),
        (ServerConfig, {"fd": -1}, "ServerConfig.fd: -1 is below 0."),
        (ServerConfig, {"fd": True}, "ServerConfig.fd: True is not a whole number."),
        (ServerConfig, {"workers": 0}, "ServerConfig.workers: 0 is below 1."),
        (ServerConfig, {"bind": "unix:/s"}, "ServerConfig.bind: 'unix:/s' is not a list of texts."),
        (ServerConfig, {"access_log": "no"}, "ServerConfig.access_log: 'no' is not true or false."),
        (ServerConfig, {"loop": "uvlop"}, "'uvlop' is not one of auto, asyncio, uvloop; did you mean uvloop?."),
        (ServerConfig, {"tls": {"certfile": "x"}}, "ServerConfig.tls: {'certfile': 'x'} is not a TLSConfig."),
        (HTTP1Limits, {"max_head_bytes": -1}, "HTTP1Limits.max_head_bytes: -1 is below 0."),
        (WebSocketLimits, {"ping_interval_s": float("nan")}, "WebSocketLimits.ping_interval_s: nan is below 0."),
        (ConnectionLimits, {"max_body_bytes": 1.5}, "ConnectionLimits.max_body_bytes: 1.5 is not a whole number."),
        (LoadLimits, {"max_requests_count": -5}, "LoadLimits.max_requests_count: -5 is below 0."),
        (TLSConfig, {"handshake_timeout_s": 0}, "TLSConfig.handshake_timeout_s: 0 is below 0.1."),
        (ProxyConfig, {"fields": ("x-real-ip",)}, "ProxyConfig.fields: 'x-real-ip' is not one of"),
    ],
)
def test_nonsense_is_refused(cls: Any, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        cls(**values)
    assert message in str(caught.value)


def test_a_changed_configuration_is_checked_as_well() -> None:
    with pytest.raises(ConfigurationError, match=r"ServerConfig\.port: -1 is below 0"):
        dataclasses.replace(ServerConfig(), port=-1)


@pytest.mark.parametrize(
    "values",
    [{"graceful_timeout_s": 3}, {"fd": None}, {"bind": ["127.0.0.1:0"]}, {"startup_timeout_s": float("inf")}],
)
def test_what_can_be_meant(values: dict[str, Any]) -> None:
    ServerConfig(**values)


def test_every_field_is_checked() -> None:
    fields = [field for cls in CONFIGURATIONS for field in dataclasses.fields(cls) if "nested" not in field.metadata]
    assert len(fields) == len(all_settings())
    for field in fields:
        check_value(field, field.default)
        with pytest.raises(ConfigurationError, match=r"is not|is below"):
            check_value(field, {str: 1, int: -1, float: -1.0, bool: 1, tuple: "text"}[kind_of(field)])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("redis://user:s3cret@host:6379/0", "'redis://(hidden)@host:6379/0'"),
        ("redis://:s3/cr@et//s3cret@host", "'redis://(hidden)@host'"),
        ("redis://:s3cret s3cret's3cret@host", "'redis://(hidden)@host'"),
        ("default:s3cret@host:6379", "'(hidden)@host:6379'"),
        ("unix:///run/x?db=1&password=s3cret&x=1", "'unix:///run/x?db=1&password=(hidden)&x=1'"),
        (b"redis://:s3cret@host", "b'redis://(hidden)@host'"),
        (("redis://:s3cret@host", 6379), "('redis://(hidden)@host', 6379)"),
        (
            {"default": {"CONFIG": {"hosts": ["redis://:s3cret@h"], "symmetric_encryption_keys": ["s3cret"]}}},
            "{'default': {'CONFIG': {'hosts': ['redis://(hidden)@h'], 'symmetric_encryption_keys': (hidden)}}}",
        ),
        ({"password": 5, "ssl_keyfile": "/k", 7: None}, "{'password': (hidden), 'ssl_keyfile': '/k', 7: None}"),
        ({"x": "s3cret-less"}, "{'x': 's3cret-less'}"),
        (("h",), "('h',)"),
        ("/path/to?x", "'/path/to?x'"),
    ],
)
def test_a_value_is_shown_without_its_secrets(value: Any, text: str) -> None:
    assert shown(value) == text
    assert shown(value, is_secret=True) == "(hidden)"


def test_errors_of_others_are_told_without_what_their_urls_say() -> None:
    text = "Error 111 connecting to redis://u:s3cret@host:1. Or to u:s3cret@host, or host?token=s3cret&db=1; mail a@b."
    assert without_secrets(text) == (
        "Error 111 connecting to redis://(hidden)@host:1. Or to (hidden)@host, or host?token=(hidden)&db=1; mail a@b."
    )


def test_a_secret_is_neither_in_a_message_nor_in_a_repr() -> None:
    with pytest.raises(ConfigurationError) as caught:
        TLSConfig(keyfile_password=31415926)  # type: ignore[arg-type]
    assert str(caught.value) == "TLSConfig.keyfile_password: (hidden) is not a text."
    config = ServerConfig(tls=TLSConfig(certfile="cert.pem", keyfile_password="s3cret"))
    assert "s3cret" not in repr(config)
    assert "cert.pem" in repr(config)

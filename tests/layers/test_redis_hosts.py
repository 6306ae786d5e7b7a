"""What ``hosts`` may say, and what each form connects to."""

from __future__ import annotations

import ssl
import traceback
from typing import Any

import pytest
from redis import connection as redis_connection

from fullduplex.exceptions import ConfigurationError
from fullduplex.layers.redis import RedisLayer
from fullduplex.layers.redis.connecting import translate
from fullduplex.layers.redis.hosts import read_hosts


@pytest.mark.parametrize(
    ("entry", "attributes"),
    [
        ("redis://h", {"host": "h", "port": 6379, "db": 0}),
        ("redis://:secret@h:7/3", {"host": "h", "port": 7, "db": 3, "password": "secret"}),
        ("valkey://user:secret@h", {"username": "user", "password": "secret"}),
        (("h", 7), {"host": "h", "port": 7}),
        (["h", "7"], {"host": "h", "port": 7}),
        ({"host": "h", "port": 7, "db": 2, "password": "secret"}, {"port": 7, "db": 2, "password": "secret"}),
        ({"address": "redis://h:7", "password": "secret"}, {"host": "h", "port": 7, "password": "secret"}),
        ({"address": ("h", 7)}, {"host": "h", "port": 7}),
        ("unix:///run/redis.sock?db=1", {"path": "/run/redis.sock", "db": 1}),
        ({"unix_socket_path": "/run/redis.sock"}, {"path": "/run/redis.sock"}),
        ({"host": "h", "max_connections": 5, "retry_on_timeout": True, "socket_keepalive": True}, {"host": "h"}),
    ],
)
def test_forms(entry: Any, attributes: dict[str, Any]) -> None:
    (host,) = read_hosts([entry])
    for connection in (host.connection(1.5, 2.5), host.async_connection(1.5)):
        for name, value in attributes.items():
            assert getattr(connection, name) == value
    assert "secret" not in repr(host)


@pytest.mark.parametrize(
    "entry",
    ["rediss://h", "valkeys://h", {"host": "h", "ssl": True}, {"address": "rediss://h", "ssl_cert_reqs": "none"}],
)
def test_tls(entry: Any) -> None:
    (host,) = read_hosts([entry])
    assert isinstance(host.connection(1, 1), redis_connection.SSLConnection)
    assert host.async_connection(1).ssl_context.cert_reqs in (ssl.CERT_REQUIRED, "required", "none", ssl.CERT_NONE)


def test_without_any_it_is_the_local_one() -> None:
    assert [host.label for host in read_hosts(None)] == ["localhost:6379"]


def test_sentinel() -> None:
    (host,) = read_hosts(
        [
            {
                "sentinels": [("s1", 26379), ("s2", 26380)],
                "master_name": "main",
                "sentinel_kwargs": {"password": "of the sentinels"},
                "password": "of the master",
                "db": 3,
            }
        ]
    )
    assert [sentinel.label for sentinel in host.sentinels] == ["s1:26379", "s2:26380"]
    assert host.sentinels[0].connection(1, 1).password == "of the sentinels"  # type: ignore[attr-defined]
    master = host.at(("m", 7)).connection(1, 1)
    assert (master.host, master.port, master.db, master.password) == ("m", 7, 3, "of the master")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "hosts",
    [
        "redis://h",
        {"host": "h"},
        ["http://h"],
        [{"address": "redis://h", "passwrod": "x"}],
        [("h",)],
        [("h", "port")],
        [7],
        [{"sentinels": [("s", 1)]}],
        [{"sentinels": [], "master_name": "main"}],
    ],
)
def test_mistakes(hosts: Any) -> None:
    with pytest.raises(ConfigurationError, match="hosts"):
        RedisLayer(hosts=hosts)


SECRET = "s3cret"


@pytest.mark.parametrize(
    ("hosts", "reason"),
    [
        (f"redis://:{SECRET}@h", r"\['redis://\(hidden\)@h'\]"),
        ([f"redis://:{SECRET}@h:port/0"], "Port could not be cast"),
        ([f"redis://:{SECRET}/{SECRET}@h"], "must have percent-encoded"),
        ([f"redis://:{SECRET}#{SECRET}@h:7"], "must have percent-encoded"),
        ([f"redi://user:{SECRET}@h"], "must specify one of the following schemes"),
        ([f"default:{SECRET}@h:6379"], "must specify one of the following schemes"),
        ([{"address": f"redis://:{SECRET}/{SECRET}@h", "db": 1}], "must have percent-encoded"),
        ([{"address": f"redis://:{SECRET}@h", "pasword": SECRET}], "unexpected keyword argument 'pasword'"),
        ([{"host": "h", "port": "x", "password": SECRET}], "'port': 'x', 'password': \\(hidden\\)"),
        ([(f"redis://:{SECRET}@h", "x")], "invalid literal"),
    ],
)
def test_no_mistake_tells_a_password(hosts: Any, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as caught:
        RedisLayer(hosts=hosts)
    assert SECRET not in "".join(traceback.format_exception(caught.value, chain=True)).replace(repr(hosts), "")


def test_a_url_in_the_place_of_a_host_name_is_told_without_its_password() -> None:
    (host,) = read_hosts([(f"redis://:{SECRET}@h", 7)])
    assert host.label == "redis://(hidden)@h:7"
    error = OSError(f"connecting to redis://:{SECRET}@h:7. Name or service not known.")
    assert str(translate(error, host.label)) == (
        "Redis at redis://(hidden)@h:7: connecting to redis://(hidden)@h:7. Name or service not known"
    )


def test_an_unknown_option_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="publish_timeout"):
        RedisLayer(publish_timeout=1)

"""What the configuration changes in every scope."""

from __future__ import annotations

import pytest

from fullduplex.exceptions import ConfigurationError
from fullduplex.gateway.forwarded import ProxyConfig
from fullduplex.server.amending import make_amend
from fullduplex.server.config import ServerConfig


def scope(path="/a b", raw_path=b"/a%20b", headers=()):
    return {
        "type": "http",
        "scheme": "http",
        "path": path,
        "raw_path": raw_path,
        "root_path": "",
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "headers": [*headers],
    }


def amended(config, **kwargs):
    result = scope(**kwargs)
    make_amend(config)(result)
    return result


def test_by_default_there_is_nothing_to_do():
    assert make_amend(ServerConfig()) is None
    assert make_amend(ServerConfig(root_path="/")) is None


@pytest.mark.parametrize("root_path", ["/app", "/app/"])
def test_paths_include_the_root_path(root_path):
    result = amended(ServerConfig(root_path=root_path))
    assert (result["root_path"], result["path"], result["raw_path"]) == ("/app", "/app/a b", b"/app/a%20b")
    assert amended(ServerConfig(root_path=root_path), path="*", raw_path=b"*")["path"] == "*"


def test_no_header_sets_the_root_path():
    config = ServerConfig(proxy=ProxyConfig(trusted=("*",)))
    headers = [(b"x-forwarded-prefix", b"/evil"), (b"x-script-name", b"/evil"), (b"daphne-root-path", b"/evil")]
    assert amended(config, headers=headers)["root_path"] == ""


def test_proxies_and_root_path_together():
    config = ServerConfig(root_path="/app", proxy=ProxyConfig(trusted=("127.0.0.1",)))
    result = amended(config, headers=[(b"x-forwarded-for", b"1.2.3.4")])
    assert (result["client"], result["path"]) == (("1.2.3.4", 0), "/app/a b")


def test_headers_can_be_switched_off():
    assert make_amend(ServerConfig(proxy=ProxyConfig(trusted=("127.0.0.1",), headers=False))) is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ServerConfig(root_path="app"), "--root-path app: a path begins with a slash"),
        (ServerConfig(proxy=ProxyConfig(protocol=True)), "--proxy-protocol needs --forwarded-allow-ips"),
        (ServerConfig(proxy=ProxyConfig(trusted=("x",))), "--forwarded-allow-ips: 'x'"),
        (ServerConfig(proxy=ProxyConfig(fields=("forwarded", "x-forwarded-for"))), "--forwarded-headers: either"),
    ],
)
def test_nonsense_is_one_clear_line(config, message):
    with pytest.raises(ConfigurationError, match=message):
        make_amend(config)

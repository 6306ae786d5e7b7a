"""HTTP/2 is on by default, and costs nothing before somebody speaks it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import Any

import pytest

from fullduplex.exceptions import ConfigurationError
from fullduplex.net.tls_config import TLSConfig
from fullduplex.server import http2
from fullduplex.server.config import ServerConfig

HEAVY = {"ngh2", "h2", "hpack", "fullduplex.wire.http2", "fullduplex.net.http2_connection"}


def imported_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {*run.stdout.split()}


def test_a_worker_without_tls_imports_nothing_of_it() -> None:
    statement = (
        "from fullduplex.server.worker import Worker; from fullduplex.server.config import ServerConfig\n"
        "worker = Worker(ServerConfig(app='a:b')); worker.find_http2(); assert worker._http2_library"
    )
    assert not HEAVY & imported_by(statement)


def test_with_tls_all_of_it_is_imported_before_the_heap_is_frozen() -> None:
    statement = (
        "from fullduplex.server.http2 import find_http2; from fullduplex.server.config import ServerConfig\n"
        "from fullduplex.net.tls_config import TLSConfig\n"
        "find_http2(ServerConfig(http2_library='ngh2', tls=TLSConfig(certfile='c')))"
    )
    assert imported_by(statement) >= {"ngh2", "fullduplex.wire.http2", "fullduplex.net.http2_connection"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "HTTP/2 (on loopback and UNIX sockets), "),
        ({"h2c": "on"}, "HTTP/2, "),
        ({"h2c": "off"}, ""),
        ({"speak_http2": False}, ""),
        ({"tls": TLSConfig(certfile="c"), "h2c": "off"}, "HTTP/2, "),
    ],
)
def test_which_protocols_are_named(options: dict[str, Any], words: str) -> None:
    config = ServerConfig(**options)
    assert http2.http2_in_words(config, http2.find_http2(config)) == words


def test_where_no_library_is_installed_it_is_not_spoken_and_a_line_says_so(monkeypatch: Any, caplog: Any) -> None:
    caplog.set_level("INFO", "fullduplex.server")
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("ngh2", "h2") else found(name))
    assert http2.find_http2(ServerConfig()) is None
    assert caplog.messages == [
        "HTTP/2 is not spoken: neither ngh2 nor h2 is installed here: pip install 'fullduplex[h2]'"
    ]
    with pytest.raises(
        ConfigurationError, match=r"--http2-library h2: h2 is not installed here: pip install 'fullduplex\[h2\]'"
    ):
        http2.find_http2(ServerConfig(http2_library="h2"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ngh2" else found(name))
    assert http2.find_http2(ServerConfig()) == "h2"

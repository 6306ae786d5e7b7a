"""The configuration file."""

from __future__ import annotations

import os
import tempfile
import weakref
from pathlib import Path

from fullduplex.exceptions import ConfigurationError
from fullduplex.server.settings import all_settings
from fullduplex.server.sources import load
from tests.fuzz.harness import Harness

NAMES = tuple(name.encode() for name in all_settings())
VECTORS = (
    b'app = "mysite.asgi:application"\nport = 8000\naccess_log = false\n',
    b'bind = ["127.0.0.1:80", "unix:/run/a"]\nws_max_size = 1000\ntimeout_keep_alive = 5.5\nuds_mode = "660"\n',
    b'forwarded-allow-ips = "10.0.0.0/8, unix"\nforwarded_headers = ["forwarded"]\nlog_level = "debug"\n',
    b"# a comment\nlimit_connections = 0\n\n[table]\nx = 1\n",
    b"port = 0x1f40\nhost = '''::1'''\nworkers = 1\nws_ping_interval = 1e1\n",
)
WORDS = (
    *NAMES,
    *(b" = ", b"\n", b"[", b"]", b"[[", b"{", b"}", b'"', b"'", b'"""', b",", b".", b"#", b"\\u0000", b"\\", b"\xff"),
    *(b"true", b"false", b"0", b"-1", b"1e400", b"nan", b"inf", b"0o660", b"1979-05-27T07:32:00Z", b'""', b"[]", b"{}"),
    *(b"99999999999999999999999", b"\xc3\xa9", b"\x00", b"\r", b"a.b.c = 1\n"),
)


class ConfigFile(Harness):
    name = "config_file"
    share = 1
    vectors = VECTORS
    words = WORDS

    def __init__(self) -> None:
        handle, name = tempfile.mkstemp(suffix=".toml")
        os.close(handle)
        weakref.finalize(self, os.unlink, name)
        self._path = Path(name)

    def check(self, data: bytes) -> None:
        self._path.write_bytes(data)
        try:
            loaded = load({}, config_file=str(self._path), environ={})
        except ConfigurationError as error:
            assert str(error)
        else:
            assert loaded.describe()

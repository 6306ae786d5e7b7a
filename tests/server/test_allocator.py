"""glibc's malloc is tuned, unless the environment does it."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

from fullduplex.server.allocator import settle_allocator

SCRIPT = """
from fullduplex.server.allocator import settle_allocator

print(settle_allocator())
"""

# Memory of the size of a large response: taken in one thread and freed in another, again and again.
FAULTS = """
import resource
from concurrent.futures import ThreadPoolExecutor
from fullduplex.server.allocator import settle_allocator

assert settle_allocator() is {tuned}
with ThreadPoolExecutor(8) as pool:
    def turn():
        return sum(map(len, pool.map(lambda _: bytes(262_144), range(16))))
    turn()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        turn()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(script: str, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", script]
    return subprocess.run(
        command, env={**kept, **environment}, capture_output=True, text=True, check=True
    ).stdout.strip()


needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")


TLS_BUFFER = """
import asyncio
import ssl
from asyncio import sslproto
from fullduplex.server.allocator import TLS_READ_BYTES, settle_tls_buffers

async def main():
    settle_tls_buffers()
    loop = asyncio.get_running_loop()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    protocol = sslproto.SSLProtocol(loop, asyncio.Protocol(), context, loop.create_future(), server_side=True)
    print(len(protocol.get_buffer(-1)) == TLS_READ_BYTES)

asyncio.run(main())
"""


def test_a_tls_connection_on_asyncio_has_a_smaller_buffer() -> None:
    assert run(TLS_BUFFER) == "True"


def test_a_libc_without_mallopt_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("MALLOC_", "GLIBC_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(os, "confstr_names", {"CS_GNU_LIBC_VERSION": 2}, raising=False)  # as with musl
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())
    assert settle_allocator() is False


@needs_glibc
def test_the_environment_comes_first() -> None:
    assert run(SCRIPT) == "True"
    assert run(SCRIPT, MALLOC_ARENA_MAX="2") == "False"
    assert run(SCRIPT, GLIBC_TUNABLES="glibc.malloc.arena_max=2") == "False"


@needs_glibc
def test_memory_that_threads_free_is_used_again() -> None:
    tuned, untuned = (
        int(run(FAULTS.format(tuned=tuned), **environment))
        for tuned, environment in ((True, {}), (False, {"MALLOC_CHECK_": "0"}))
    )
    assert tuned * 4 < untuned

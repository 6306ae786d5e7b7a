"""Static files in development: no file stays open, whatever its client does."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from fullduplex.handler.static import StaticFilesHandler
from tests.handler.asgi_driver import Connection, http_scope, request
from tests.handler.project import project

SIZE = 1_000_000
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts open files in /proc")


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """A static file; garbage is not collected, so that what is not closed stays open."""
    file = tmp_path / "big.js"
    file.write_bytes(b"x" * SIZE)
    finders = ["django.contrib.staticfiles.finders.FileSystemFinder"]
    gc.disable()
    with override_settings(STATIC_URL="/static/", STATICFILES_DIRS=[tmp_path], STATICFILES_FINDERS=finders):
        yield file
    gc.enable()


def open_count(file: Path) -> int:
    links = [Path("/proc/self/fd", number) for number in os.listdir("/proc/self/fd")]
    return sum(os.path.realpath(link) == str(file) for link in links)


def download(application: Any, **changes: Any) -> Connection:
    connection = Connection(StaticFilesHandler(application), http_scope("/static/big.js", **changes))
    connection.put(type="http.request", body=b"", more_body=False)
    return connection


async def test_a_whole_file(file: Path) -> None:
    with project() as application:
        response = await request(StaticFilesHandler(application), "/static/big.js")
        missing = await request(StaticFilesHandler(application), "/static/none.js")
    assert (response.status, len(response.body), missing.status) == (200, SIZE, 404)
    assert open_count(file) == 0


@pytest.mark.parametrize("extensions", [{}, {"http.response.zerocopysend": {}}], ids=["read here", "by the server"])
async def test_a_connection_that_breaks(file: Path, extensions: dict[str, Any]) -> None:
    with project() as application:
        connection = download(application, extensions=extensions)
        await connection.event()
        connection.broken = True
        connection.put(type="http.disconnect")
        await connection.end()
    assert open_count(file) == 0


async def test_a_client_that_leaves_while_the_file_is_opened(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, left = asyncio.Event(), asyncio.Event()
    loop, serve = asyncio.get_running_loop(), StaticFilesHandler.serve

    def slowly(self: Any, request: Any) -> Any:
        response = serve(self, request)
        loop.call_soon_threadsafe(opened.set)
        asyncio.run_coroutine_threadsafe(left.wait(), loop).result()
        return response

    monkeypatch.setattr(StaticFilesHandler, "serve", slowly)
    with project(FULLDUPLEX={"DISCONNECT_WATCH_S": 0.001}) as application:
        connection = download(application)
        await opened.wait()
        connection.put(type="http.disconnect")
        while connection.receive_count < 2:
            await asyncio.sleep(0)
        left.set()
        await connection.end()
    assert open_count(file) == 0

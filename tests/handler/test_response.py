"""Files: by the server itself where it can, and without a thread where nothing blocks."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.db.models.fields.files import FieldFile, FileField
from django.http import FileResponse, HttpRequest, HttpResponse
from django.urls import path
from django.utils.deprecation import MiddlewareMixin

from fullduplex.handler.response import plain_file
from tests.handler.asgi_driver import Connection, http_scope
from tests.handler.project import project

CONTENT = bytes(range(256)) * 1024
BY_PATH = "http.response.pathsend"
BY_DESCRIPTOR = "http.response.zerocopysend"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "file.bin"
    file.write_bytes(CONTENT)
    return file


async def events(view: Callable[[HttpRequest], HttpResponse], *extensions: str, **settings: Any) -> list[Any]:
    """Return what is sent after the start."""
    with project(path("", view), **settings) as application:
        client = Connection(application, {**http_scope(), "extensions": {name: {} for name in extensions}})
        client.put(type="http.request")
        start = await client.event()
        assert start["status"] == 200
        assert (b"Content-Length", b"%d" % len(CONTENT)) in start["headers"]
        await client.end()
        return [client.events.get_nowait() for _ in range(client.events.qsize())]


@pytest.mark.parametrize("extensions", [(BY_DESCRIPTOR,), (BY_PATH,), (BY_PATH, BY_DESCRIPTOR), ()])
@pytest.mark.parametrize("wrapper", [lambda file: file, File])
async def test_a_file_goes_out_by_the_server_where_it_can(extensions: Any, wrapper: Any, file: Path) -> None:
    opened: list[Any] = []

    def view(request: HttpRequest) -> FileResponse:
        opened.append(file.open("rb"))
        return FileResponse(wrapper(opened[0]))

    sent = await events(view, *extensions)
    if BY_DESCRIPTOR in extensions:
        assert sent == [{"type": BY_DESCRIPTOR, "file": opened[0], "offset": 0, "count": len(CONTENT)}]
    elif BY_PATH in extensions:
        assert sent == [{"type": BY_PATH, "path": str(file)}]
    else:
        blocks = [event.get("body", b"") for event in sent]
        assert b"".join(blocks) == CONTENT
        assert len(blocks[0]) == 65_536  # Django's 4 KiB would cost a hop each
    assert opened[0].closed


@pytest.mark.parametrize("extension", [BY_DESCRIPTOR, BY_PATH])
async def test_from_where_the_file_stands(extension: str, file: Path) -> None:
    def view(request: HttpRequest) -> FileResponse:
        file.write_bytes(b"head" + CONTENT)
        opened = file.open("rb")
        opened.seek(4)
        return FileResponse(opened)

    sent = await events(view, extension)
    if extension == BY_DESCRIPTOR:
        assert (sent[0]["offset"], sent[0]["count"]) == (4, len(CONTENT))
    else:
        assert b"".join(event.get("body", b"") for event in sent) == CONTENT


async def test_a_file_that_was_replaced_is_sent_as_it_was_opened(file: Path) -> None:
    def view(request: HttpRequest) -> FileResponse:
        opened = file.open("rb")
        file.unlink()
        file.write_bytes(b"another")
        return FileResponse(opened)

    sent = await events(view, BY_PATH)
    assert b"".join(event.get("body", b"") for event in sent) == CONTENT


class Capitals(MiddlewareMixin):
    def process_response(self, request: HttpRequest, response: Any) -> Any:
        response.streaming_content = (part.upper() for part in response.streaming_content)
        return response


async def test_content_that_middleware_has_wrapped_is_not_the_file(file: Path) -> None:
    def view(request: HttpRequest) -> FileResponse:
        return FileResponse(file.open("rb"))

    sent = await events(view, BY_PATH, BY_DESCRIPTOR, MIDDLEWARE=[f"{__name__}.Capitals"])
    assert b"".join(event.get("body", b"") for event in sent) == CONTENT.upper()


class Sealed(io.FileIO):
    """What it gives is not what is on the disk."""

    def readinto(self, buffer: Any) -> int:
        count = super().readinto(buffer) or 0
        buffer[:count] = bytes(buffer[:count]).swapcase()
        return count


class Document:
    """As much of a model as a file of it asks for."""


class SealedFile(File):  # type: ignore[type-arg]
    def read(self, size: int = -1) -> Any:
        return self.file.read(size).swapcase()


def test_the_file_of_a_model_is_the_one_on_disk(file: Path) -> None:
    field = FileField(storage=FileSystemStorage(file.parent))
    stored = FieldFile(Document(), field, file.name)
    assert plain_file(stored) is None  # not open, and it does not become so
    with stored.open("rb"):
        plain = plain_file(stored)
        assert plain is not None
        assert plain.name == str(file)


def test_only_files_that_are_read_as_they_are_on_disk_are_plain(file: Path) -> None:
    with file.open("rb") as buffered, file.open("rb", buffering=0) as raw, file.open("r+b") as writable:
        assert plain_file(buffered) is buffered
        assert plain_file(raw) is raw
        assert plain_file(File(File(buffered))) is buffered
        assert plain_file(writable) is None
        assert plain_file(SealedFile(buffered)) is None
    assert plain_file(buffered) is None  # closed
    with io.BufferedReader(Sealed(file, "rb")) as sealed:
        assert plain_file(sealed) is None
    read, write = os.pipe()
    with os.fdopen(read, "rb") as pipe, os.fdopen(write, "wb"):
        assert plain_file(pipe) is None
    for other in (None, io.BytesIO(), ContentFile(b"")):
        assert plain_file(other) is None


# Closing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("unlinked", [False, True])
async def test_closing_a_file_takes_a_thread_only_where_that_frees_it(
    unlinked: bool, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hops: list[Any] = []

    async def hop(function: Any, *args: Any, **kwargs: Any) -> Any:
        hops.append(function)
        return function(*args)

    monkeypatch.setattr("fullduplex.handler.signals.hop", hop)
    opened: list[Any] = []

    def view(request: HttpRequest) -> FileResponse:
        opened.append(file.open("rb"))
        if unlinked:
            file.unlink()
        return FileResponse(opened[0])

    await events(view, BY_DESCRIPTOR)
    assert opened[0].closed
    assert len(hops) == unlinked

"""From Django's response to ASGI events, as few as possible."""

from __future__ import annotations

import io
import logging
import os
import stat
from collections.abc import Mapping
from typing import Any

from django.core.files import File
from django.db.models.fields.files import FieldFile, ImageFieldFile
from django.http import FileResponse, HttpResponse
from django.http.response import HttpResponseBase, ResponseHeaders

from fullduplex.asgi import Scope

logger = logging.getLogger("django.request")

_KNOWN_NAMES_COUNT = 512

_names: dict[str, bytes] = {}


def start_event(response: HttpResponseBase) -> dict[str, Any]:
    """Return ``http.response.start``; header names keep their case, as Django sends them."""
    headers = response.headers
    items = headers._store.values() if type(headers) is ResponseHeaders else response.items()
    fields = [
        (_names.get(name) or _encode(name), value.encode("latin1") if type(value) is str else _bytes(value))
        for name, value in items
    ]
    if response.cookies:
        fields += [(b"Set-Cookie", cookie.OutputString().encode("ascii")) for cookie in response.cookies.values()]
    return {"type": "http.response.start", "status": response.status_code, "headers": fields}


def _encode(name: Any) -> bytes:
    encoded = name.encode("ascii") if isinstance(name, str) else bytes(name)
    if len(_names) < _KNOWN_NAMES_COUNT and isinstance(name, str):
        _names[name] = encoded
    return encoded


def _bytes(value: Any) -> bytes:
    return value.encode("latin1") if isinstance(value, str) else bytes(value)


def is_sent_by_server(response: HttpResponseBase, scope: Scope) -> bool:
    """Whether the response is a file that the server sends without sync code of ours."""
    return file_event(response, scope.get("extensions") or {}) is not None


# Files -------------------------------------------------------------------------------------------

_FILES = (io.BufferedReader, io.FileIO)
_WRAPPERS = (File, FieldFile, ImageFieldFile)


def plain_file(file: Any) -> io.BufferedReader | io.FileIO | None:
    """Return the regular file on disk, open for reading, that ``file`` is or stands for; None where it is none."""
    while type(file) in _WRAPPERS and not file.closed:
        file = file.file
    if type(file) not in _FILES or file.closed or type(getattr(file, "raw", file)) is not io.FileIO:
        return None  # what is read from others may differ from what is on the disk
    return file if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else None


def file_event(response: HttpResponseBase, extensions: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the event by which the server sends the file of a response, or None where it is to be read here."""
    if not isinstance(response, FileResponse):
        return None
    file = plain_file(getattr(response, "file_to_stream", None))  # None when middleware has wrapped the content
    if file is None:
        return None
    if "http.response.zerocopysend" in extensions:
        event = {"type": "http.response.zerocopysend", "file": file, "offset": file.tell()}
        length = response.headers.get("Content-Length")
        return event if length is None else {**event, "count": int(length)}  # the file may have grown since
    if "http.response.pathsend" in extensions and not file.tell():
        path = _path(file)
        return None if path is None else {"type": "http.response.pathsend", "path": path}
    return None


def _path(file: io.BufferedReader | io.FileIO) -> str | None:
    """Return the path of a file, unless it was removed or replaced since it was opened."""
    if not isinstance(file.name, str):
        return None
    path = os.path.abspath(file.name)
    try:
        same = os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except OSError:
        return None
    return path if same else None


def busy_response() -> HttpResponse:
    """For a request that got no thread; the log has it, and a client that comes back later may find one."""
    response = HttpResponse("The server is busy.\n", status=503, content_type="text/plain; charset=utf-8")
    response.headers["Retry-After"] = "5"
    return response

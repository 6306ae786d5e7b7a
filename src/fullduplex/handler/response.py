"""From Django's response to ASGI events, as few as possible."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

from django.core.exceptions import RequestAborted
from django.http import FileResponse
from django.http.response import HttpResponseBase, ResponseHeaders

from fullduplex.handler.threads import hop
from fullduplex.sockets.asgi import Scope, Send

_KNOWN_NAMES_COUNT = 512

_names: dict[str, bytes] = {}


def start_event(response: HttpResponseBase) -> dict[str, Any]:
    """Return ``http.response.start``; header names keep their case, as Django sends them."""
    headers = response.headers
    items = headers._store.values() if type(headers) is ResponseHeaders else response.items()
    fields = [(_names.get(name) or _encode(name), _bytes(value)) for name, value in items]
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


async def send_response(response: HttpResponseBase, scope: Scope, send: Send) -> None:
    """Send a response: two events for one that is complete, ``http.response.pathsend`` for a file where it can be.

    Raises:
        RequestAborted: the client is gone.
    """
    start = start_event(response)
    if response.streaming:
        await _stream(response, start, scope, send)
        return
    body = {"type": "http.response.body", "body": response.content}  # type: ignore[attr-defined]
    try:
        await send(start)
        await send(body)
    except OSError as error:
        raise RequestAborted from error


async def _stream(response: HttpResponseBase, start: dict[str, Any], scope: Scope, send: Send) -> None:
    async def send_or_abort(event: dict[str, Any]) -> None:
        try:
            await send(event)
        except OSError as error:  # not to be taken for one of the content's own
            raise RequestAborted from error

    await send_or_abort(start)
    path = _file_path(response) if "http.response.pathsend" in (scope.get("extensions") or {}) else None
    if path is not None:
        await send_or_abort({"type": "http.response.pathsend", "path": path})
        return
    async with aclosing(_chunks(response)) as chunks:
        async for chunk in chunks:
            await send_or_abort({"type": "http.response.body", "body": chunk, "more_body": True})
    await send_or_abort({"type": "http.response.body"})


async def _chunks(response: Any) -> AsyncGenerator[bytes, None]:
    """The parts of a streaming response; a sync iterator is asked for each in the request's thread.

    Django's own handler reads a sync iterator to its end before it sends anything.
    """
    if response.is_async:
        async with aclosing(aiter(response)) as parts:
            async for part in parts:
                yield part
        return
    parts_in_thread: Iterator[bytes] = await hop(iter, response)
    while (chunk := await hop(next, parts_in_thread, None)) is not None:
        yield chunk


def _file_path(response: HttpResponseBase) -> str | None:
    """Return the path of the file that a response sends whole and unchanged, or None."""
    if not isinstance(response, FileResponse):
        return None
    file = getattr(response, "file_to_stream", None)  # None when middleware has wrapped the content
    if not isinstance(file, (io.BufferedReader, io.FileIO)) or not isinstance(file.name, str) or file.tell():
        return None
    path = os.path.abspath(file.name)
    try:
        same = os.path.samestat(os.fstat(file.fileno()), os.stat(path))  # or it was removed or replaced meanwhile
    except OSError:
        return None
    return path if same else None

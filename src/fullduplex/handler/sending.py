"""A response on its way to the server, in as few events as possible, and the end of its content."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

from django.core.exceptions import RequestAborted
from django.http import FileResponse
from django.http.response import HttpResponseBase

from fullduplex.asgi import Scope, Send
from fullduplex.chain.core import VIEW_CONTENT
from fullduplex.conf import get_settings
from fullduplex.handler.response import file_event, start_event
from fullduplex.threads.hop import hop

logger = logging.getLogger("django.request")

_BLOCK_BYTES = 65_536  # of a file that is read here; Django's 4 KiB would cost a hop each


async def send_response(response: HttpResponseBase, scope: Scope, send: Send) -> None:
    """Send a response: two events for one that is complete, a file by the server itself where it can.

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
    sent = file_event(response, scope.get("extensions") or {})
    if sent is not None:
        await send_or_abort(sent)
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
    parts_in_thread, chunk = await hop(_begin, response)
    while chunk is not None:
        yield chunk
        chunk = await hop(next, parts_in_thread, None)


def _begin(response: Any) -> tuple[Iterator[bytes], bytes | None]:
    """Return the iterator of a response's parts, and the first part."""
    file = getattr(response, "file_to_stream", None)
    if file is not None and response.block_size == FileResponse.block_size and getattr(file, "seekable", bool)():
        response.block_size = _BLOCK_BYTES
    parts = iter(response)
    return parts, next(parts, None)


async def close_content(response: Any) -> None:
    """Close the async content of a stream, whoever ended it and where, before the response is closed.

    That of the view, and what middleware has put around it: an async generator that is closed by the garbage collection
    runs its ``finally`` after ``request_finished``, and on another thread.
    """
    if not response.is_async:
        return
    for content in (response._iterator, getattr(response, VIEW_CONTENT, None)):
        aclose = getattr(content, "aclose", None)
        if aclose is not None:
            try:
                async with asyncio.timeout(get_settings().disconnect_grace_s):
                    await aclose()
            except Exception:
                logger.exception("The content %r of a response did not close", content)

#!/usr/bin/env bash
# Django 5.2.19 GZipMiddleware: of an asynchronous stream it makes one gzip file for each chunk, one behind another.
# One would expect what it does with a synchronous stream: one gzip file, flushed behind each chunk.
# RFC 1952 allows several members, and gzip and curl read them; but browsers stop behind the first (Chromium 156 does),
# and so does a program that holds on to one zlib.decompressobj. Server-sent events of an async view then end with
# the first event that was sent, without an error, and the connection stays open.
# Each chunk costs a head and a tail of 18 bytes besides, and finds nothing of the chunks before it to refer to.

set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check Django==5.2.19
cat > program.py <<'PYTHON'
import asyncio
import sys
import zlib

import django
from django.conf import settings
from django.http import HttpResponse, StreamingHttpResponse
from django.middleware.gzip import GZipMiddleware
from django.test import RequestFactory

settings.configure()
EVENTS = [b"data: %d\n\n" % number for number in range(3)]


async def events():
    for event in EVENTS:
        yield event


def members(data: bytes) -> list[bytes]:
    """The content of each gzip file in it."""
    found = []
    while data:
        reader = zlib.decompressobj(zlib.MAX_WBITS | 16)
        found.append(reader.decompress(data))
        data = reader.unused_data
    return found


async def whole(response: StreamingHttpResponse) -> bytes:
    return b"".join([chunk async for chunk in response])


def zipped(content) -> StreamingHttpResponse:
    request = RequestFactory().get("/", headers={"accept-encoding": "gzip"})
    middleware = GZipMiddleware(lambda request: HttpResponse())
    return middleware.process_response(request, StreamingHttpResponse(content, content_type="text/event-stream"))


of_sync = members(b"".join(zipped(iter(EVENTS))))
of_async = members(asyncio.run(whole(zipped(events()))))
print(f"Django {django.__version__}, Python {sys.version.split()[0]}")
print("gzip files of a synchronous stream of three events:", len(of_sync), of_sync[0])
print("gzip files of an asynchronous one:", len(of_async), of_async[0])
sys.exit(not (of_sync == [b"".join(EVENTS)] and of_async == EVENTS))
PYTHON
venv/bin/python program.py

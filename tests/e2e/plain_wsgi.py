"""WSGI applications without a framework."""

from __future__ import annotations

import time
from tempfile import TemporaryFile


def app(environ, start_response):
    path = environ["PATH_INFO"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/echo":
        return iter(lambda: environ["wsgi.input"].read(65_536), b"")
    if path == "/stream":
        return stream()
    if path == "/sleep":
        print("sleeping", flush=True)
        time.sleep(60)
    if path == "/slow":
        time.sleep(0.3)
    if path == "/file":
        file = TemporaryFile()  # noqa: SIM115 - the server closes it
        file.write(b"x" * 1_000_000)
        file.seek(10)
        return environ["wsgi.file_wrapper"](file)
    return [b"Hello, world!"]


def stream():
    while True:
        yield b"tick\n"
        time.sleep(0.05)

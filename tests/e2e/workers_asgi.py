"""Applications for many workers: what each answer says of the process that gave it, and ways to fail."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import sqlite3
import threading
import time

from tests.e2e import plain_asgi
from tests.e2e.plain_asgi import read, respond


async def app(scope, receive, send):
    """As ``plain_asgi``, with ``x-pid`` in every answer; ``/block`` holds the loop, ``/count`` tells lifespan state."""

    async def send_with_pid(message):
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"x-pid", b"%d" % os.getpid())]
        await send(message)

    if scope["type"] != "http":
        await plain_asgi.app(scope, receive, send)
    elif scope["path"] == "/block":
        time.sleep(float(scope["query_string"] or 60))  # noqa: ASYNC251 - the fault that is looked for
        await respond(send_with_pid, b"free again")
    elif scope["path"] == "/count":
        await respond(send_with_pid, str(scope["state"]["fullduplex.worker_count"]).encode())
    elif scope["path"] == "/hold":
        await read(receive)
        await send_with_pid({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send_with_pid({"type": "http.response.body", "body": b"wa", "more_body": True})
        await receive()
    else:
        await plain_asgi.app(scope, receive, send_with_pid)


class Picky:
    """Imported by at most ``MOST`` processes at a time (an environment variable); in further ones the import fails."""

    def __init__(self) -> None:
        for number in range(int(os.environ["MOST"])):
            self._lock = open(os.path.join(os.environ["LOCKS"], str(number)), "w")  # noqa: SIM115 - kept
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                self._lock.close()
        raise RuntimeError("one too many")

    async def __call__(self, scope, receive, send):
        await app(scope, receive, send)


if "MOST" in os.environ:
    picky = Picky()
if os.path.exists(os.environ.get("BROKEN", "")):
    raise RuntimeError("the new code is broken")


def leave(what):
    """What careless imports leave behind."""
    if what == "socket":
        return socket.socketpair()
    if what == "pipe":
        return os.pipe()
    if what == "epoll":
        return select.epoll()
    if what == "sqlite":
        connection = sqlite3.connect(os.environ["FILE"])
        connection.execute("CREATE TABLE IF NOT EXISTS t (a)")
        return connection
    if what == "thread":
        thread = threading.Thread(target=threading.Event().wait, name="left over", daemon=True)
        thread.start()
        return thread
    return open(os.environ["FILE"], "a") if what == "log" else None


left = leave(os.environ.get("LEFTOVER"))
print("workers_asgi is imported", flush=True)


class Preloaded:
    """An application that prepares what its workers share."""

    def preload(self):
        print("preload is called", flush=True)
        if "PRELOAD_FAILS" in os.environ:
            raise RuntimeError("not today")
        for one in left:
            one.close()

    async def __call__(self, scope, receive, send):
        await app(scope, receive, send)


preloaded = Preloaded()

"""WSGI applications (PEP 3333) behind the same gateway: an ASGI application that calls one in threads.

The number of threads is bounded, and requests beyond it wait in order. Content flows both ways as it
comes: the application's reads wait for the client, and its writes wait while the client reads slowly.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import io
import queue
import sys
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any
from urllib.parse import unquote_to_bytes

from fullduplex.asgi import Event, Receive, Scope, Send
from fullduplex.exceptions import Disconnected, LocalProtocolError

Environ = dict[str, Any]
ExcInfo = Any  # what sys.exc_info() returns
WSGIApplication = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

READ_BUFFER_BYTES = 65_536
BLOCK_BYTES = 65_536

_UNPREFIXED = {"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"}


class WSGIAdapter:
    """Serves a WSGI application as an ASGI one. It has no WebSockets: their handshakes get 403.

    Args:
        app: the WSGI application.
        thread_count: how many requests are worked on at once.
        multiprocess: whether other processes serve it, too (``wsgi.multiprocess``).
    """

    def __init__(self, app: WSGIApplication, thread_count: int, *, multiprocess: bool = False) -> None:
        self._app = app
        self._threads = DaemonThreads(thread_count)
        self._multiprocess = multiprocess

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        else:
            sends_files = "http.response.zerocopysend" in scope["extensions"]
            call = _Call(asyncio.get_running_loop(), receive, send, sends_files)
            environ = make_environ(scope, call, multiprocess=self._multiprocess)
            try:
                await asyncio.wrap_future(self._threads.submit(lambda: call.run(self._app, environ)))
                if call.end is not None:
                    await asyncio.wrap_future(call.end)
            finally:
                call.abandon()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                self._threads.close()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return


class DaemonThreads:
    """A bounded pool. Unlike ``ThreadPoolExecutor``'s, a thread that never ends does not keep the process alive."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._started_count = 0
        self._idle = threading.Semaphore(0)
        self._queue: queue.SimpleQueue[tuple[concurrent.futures.Future[None], Callable[[], None]] | None]
        self._queue = queue.SimpleQueue()

    def submit(self, function: Callable[[], None]) -> concurrent.futures.Future[None]:
        """Call ``function`` in a thread as soon as one is free. From one thread (the loop's) only."""
        future: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._queue.put((future, function))
        if not self._idle.acquire(blocking=False) and self._started_count < self._count:
            self._started_count += 1
            threading.Thread(target=self._work, name=f"wsgi-{self._started_count}", daemon=True).start()
        return future

    def close(self) -> None:
        """End the threads that are idle, and the others when they become so."""
        for _ in range(self._started_count):
            self._queue.put(None)

    def _work(self) -> None:
        while (item := self._next()) is not None:
            future, function = item
            if future.set_running_or_notify_cancel():
                try:
                    function()
                except BaseException as error:
                    future.set_exception(error)
                else:
                    future.set_result(None)
            del future, function, item

    def _next(self) -> tuple[concurrent.futures.Future[None], Callable[[], None]] | None:
        try:
            return self._queue.get_nowait()
        except queue.Empty:
            self._idle.release()
            return self._queue.get()


class _Call:
    """One request on its way through the application. Runs in a thread, save for :meth:`abandon`.

    Attributes:
        end: the sending of the last block, for which the thread does not wait.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, receive: Receive, send: Send, sends_files: bool) -> None:
        self._loop = loop
        self._sends_files = sends_files
        self._receive = receive
        self._send = send
        self.end: concurrent.futures.Future[None] | None = None
        self._waiting: concurrent.futures.Future[Any] | None = None
        self._abandoned = False
        self._start: Event | None = None
        self._start_sent = False
        self._left_bytes: int | None = None  # of the Content-Length
        self._complete = False

    def run(self, app: WSGIApplication, environ: Environ) -> None:
        """Call the application and send what it returns.

        Raises:
            Disconnected: the client is gone.
            Exception: whatever the application raises.
        """
        result = app(environ, self.start_response)
        try:
            if self._sends_files and isinstance(result, FileWrapper) and self._send_file(result.file):
                return
            is_single = isinstance(result, (list, tuple)) and len(result) == 1
            for data in result:
                self.write(data, more_body=not is_single)
            if not self._complete:
                self.write(b"", more_body=False)
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo = None
    ) -> Callable[[bytes], None]:
        """PEP 3333, "The start_response() Callable".

        Raises:
            LocalProtocolError: it was called before, without ``exc_info``.
            Exception: that of ``exc_info``, when it is too late to report it.
        """
        if exc_info is not None:
            try:
                if self._start_sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # it would make a reference cycle
        elif self._start is not None:
            raise LocalProtocolError("PEP 3333: start_response() was called twice without exc_info")
        fields = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        self._start = {"type": "http.response.start", "status": int(status.split(" ", 1)[0]), "headers": fields}
        lengths = [int(value) for name, value in fields if name == b"content-length" and value.isdigit()]
        self._left_bytes = lengths[0] if lengths else None
        return self.write

    def write(self, data: bytes, *, more_body: bool = True) -> None:
        """Send a block; returns when it may be followed by another.

        Raises:
            Disconnected: the client is gone.
        """
        if self._start is None:
            raise LocalProtocolError("PEP 3333: content came before start_response()")
        if more_body and not data:
            return
        if self._left_bytes is not None:
            self._left_bytes -= len(data)
            more_body = more_body and self._left_bytes > 0
        messages: list[Event] = [] if self._start_sent else [self._start]
        messages.append({"type": "http.response.body", "body": data, "more_body": more_body})
        self._start_sent = True
        self._complete = self._complete or not more_body
        if more_body:
            self._wait_for(lambda: self._send_all(messages))
        else:
            self._check_wanted()
            self.end = asyncio.run_coroutine_threadsafe(self._send_all(messages), self._loop)

    def _send_file(self, file: Any) -> bool:
        """Let the server send a file itself, from where it stands; False where it is no file of the system."""
        start = self._start
        if start is None:
            raise LocalProtocolError("PEP 3333: content came before start_response()")
        try:
            message: Event = {"type": "http.response.zerocopysend", "file": file.fileno(), "offset": file.tell()}
        except (AttributeError, OSError):  # io.UnsupportedOperation is an OSError
            return False
        if self._left_bytes is not None:
            message["count"] = self._left_bytes
        self._wait_for(lambda: self._send_all([message] if self._start_sent else [start, message]))
        return True

    def receive(self) -> Event:
        """The next piece of the request.

        Raises:
            Disconnected: the client is gone.
        """
        message: Event = self._wait_for(self._receive)
        if message["type"] == "http.disconnect":
            raise Disconnected
        return message

    def abandon(self) -> None:
        """Nobody is interested any more: let the application's reads and writes raise. Called on the loop."""
        self._abandoned = True
        if self._waiting is not None:
            self._waiting.cancel()

    async def _send_all(self, messages: list[Event]) -> None:
        for message in messages:
            await self._send(message)

    def _check_wanted(self) -> None:
        if self._abandoned or self._loop.is_closed():
            raise Disconnected

    def _wait_for(self, function: Callable[[], Awaitable[Any]]) -> Any:
        """Let the loop await ``function()`` for this thread."""
        self._check_wanted()

        async def run() -> Any:
            return await function()

        try:
            self._waiting = asyncio.run_coroutine_threadsafe(run(), self._loop)
            if self._abandoned:
                self._waiting.cancel()
            return self._waiting.result()
        except concurrent.futures.CancelledError:
            raise Disconnected from None
        finally:
            self._waiting = None


class _Input(io.RawIOBase):
    """The request's content as a file; ``io.BufferedReader`` makes ``wsgi.input`` of it."""

    def __init__(self, call: _Call) -> None:
        self._call = call
        self._data = memoryview(b"")
        self._more = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._data and self._more:
            message = self._call.receive()
            self._data = memoryview(message.get("body", b""))
            self._more = message.get("more_body", False)
        count = min(len(self._data), len(buffer))
        buffer[:count] = self._data[:count]
        self._data = self._data[count:]
        return count


class FileWrapper:
    """``wsgi.file_wrapper``: a file in blocks."""

    def __init__(self, file: Any, block_bytes: int = BLOCK_BYTES) -> None:
        self.file = file
        self._block_bytes = block_bytes
        if hasattr(file, "close"):
            self.close = file.close

    def __iter__(self) -> Iterator[bytes]:
        while data := self.file.read(self._block_bytes):
            yield data


def make_environ(scope: Scope, call: _Call, *, multiprocess: bool) -> Environ:
    """The WSGI environment of an HTTP scope (PEP 3333, "environ Variables").

    Header names with an underscore are left out: ``X_User`` would pass for ``X-User``, which a proxy may guard.
    """
    root_path = scope["root_path"]
    secure = scope["scheme"] == "https"
    host, port = scope["server"] or ("localhost", None)
    if port is None:  # a UNIX socket
        host, port = "localhost", 443 if secure else 80
    raw_path: bytes = scope["raw_path"]
    environ: Environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": root_path,
        "PATH_INFO": unquote_to_bytes(raw_path.removeprefix(root_path.encode())).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "REQUEST_URI": (raw_path + (b"?" + scope["query_string"] if scope["query_string"] else b"")).decode("latin-1"),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": io.BufferedReader(_Input(call), READ_BUFFER_BYTES),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": multiprocess,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
    }
    if scope["client"]:
        environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = scope["client"][0], str(scope["client"][1])
    else:
        environ["REMOTE_ADDR"] = ""
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if "_" in name:
            continue
        key = _UNPREFIXED.get(name) or "HTTP_" + name.upper().replace("-", "_")
        if key in environ:
            value = environ[key] + ("; " if name == "cookie" else ",") + value
        environ[key] = value
    return environ

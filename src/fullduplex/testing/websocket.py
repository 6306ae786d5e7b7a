"""The client's end of a socket in a test. The application runs in this process, with no network and no server."""

from __future__ import annotations

import asyncio
import contextvars
import json
import sys
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from http.cookies import SimpleCookie
from types import TracebackType
from typing import Any, Protocol, TypeVar

from django.core.exceptions import SynchronousOnlyOperation
from django.core.signals import got_request_exception, request_finished, request_started
from django.db import close_old_connections
from django.http import HttpResponse

from fullduplex.asgi import Event
from fullduplex.exceptions import Disconnected, LocalProtocolError
from fullduplex.realtime.prepared import Payload, Prepared, prepare
from fullduplex.testing.threads import BackgroundLoop
from fullduplex.threads.context import use_executor

T = TypeVar("T")
Application = Callable[..., Coroutine[Any, Any, None]]

DEFAULT_TIMEOUT_S = 5.0


class Client(Protocol):
    """What a session needs of the test client that opened it."""

    cookies: SimpleCookie
    raise_request_exception: bool


class HandshakeRefused(AssertionError):
    """The application did not accept the socket.

    Attributes:
        response: the refusal: ``status_code``, ``headers``, ``cookies``, ``content``, and ``url`` of a redirect.
    """

    def __init__(self, path: str, response: HttpResponse) -> None:
        super().__init__(f"the handshake for {path} was refused with {response.status_code} {response.reason_phrase}")
        self.response = response


class AsyncWebSocketSession:
    """One socket, for ``async with client.websocket(path) as socket``.

    Every wait ends after ``timeout_s`` seconds with a ``TimeoutError`` that says what did not come. At the end of the
    block the client leaves; the view must end, or is cancelled after ``timeout_s``. An exception of the
    view is raised by the next ``receive``, at the latest at the end of the block.

    Attributes:
        response: the answer to the handshake: status 101, ``headers``, ``cookies``.
        subprotocol: the one that the application chose, or None.
        close_code: how the application closed; None while it has not.
        close_reason: the reason that came with it.
    """

    def __init__(
        self,
        client: Client,
        application: Application,
        scope: dict[str, Any],
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        self.response = _empty_response(101)
        self.subprotocol: str | None = None
        self.close_code: int | None = None
        self.close_reason = ""
        self._client = client
        self._application = application
        self._scope = scope
        self.timeout_s = timeout_s
        self.executor: Executor | None = None  # for the thread-sensitive calls; None: asgiref's choice
        self._task: asyncio.Task[None]
        self._state = "connecting"  # then open; closed or refused
        self._body = b""
        self._messages: deque[str | bytes] = deque()
        self._to_application: asyncio.Queue[Event] = asyncio.Queue()
        self._disconnect: Event | None = None
        self._news = asyncio.Event()
        self._error: BaseException | None = None
        self._error_told = False
        scope["extensions"] = {
            "websocket.http.response": {},
            "fullduplex.prepared": {
                "version": 1,
                "write": self._write_prepared,
                "on_drain": lambda callback: callback(),
            },
        }

    async def __aenter__(self) -> AsyncWebSocketSession:
        got_request_exception.connect(self._note_exception)
        _sessions.add(self)
        context = contextvars.copy_context()
        if self.executor is not None:
            context.run(use_executor, self.executor)
        self._to_application.put_nowait({"type": "websocket.connect"})
        call = self._application(self._scope, self._receive, self._send)
        self._task = asyncio.get_running_loop().create_task(call, context=context)
        self._task.add_done_callback(lambda _: self._news.set())
        try:
            await self._until(lambda: self._state != "connecting", "the answer to the handshake", self.timeout_s)
            if self._state != "open":
                await self._end()
                self._raise_error()
                if self._state == "connecting":
                    raise AssertionError(f"the application did not answer the handshake for {self._scope['path']}")
                raise HandshakeRefused(self._scope["path"], self.response)
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._end()
        finally:
            got_request_exception.disconnect(self._note_exception)
            _sessions.discard(self)
            _keep_connections(bool(_sessions))
        if exc is None:
            self._raise_error()
        elif self._error is not None and not self._error_told:
            exc.add_note(f"And the application failed with {self._error!r}")

    async def send(self, payload: Payload) -> None:
        """Send a message: dict and list as JSON text, str as text, bytes as binary.

        Raises:
            Disconnected: the application closed the socket.
            Exception: what the view raised.
        """
        data = prepare(payload).data
        if self._state != "open":
            self._raise_error()
            raise self._gone()
        kind = "text" if isinstance(data, str) else "bytes"
        self._to_application.put_nowait({"type": "websocket.receive", kind: data})

    async def receive(self, timeout_s: float | None = None) -> str | bytes:
        """Return the next message.

        Raises:
            TimeoutError: none came in time.
            Disconnected: the application closed the socket; ``code`` and ``reason`` say how.
            Exception: what the view raised.
        """
        await self._until(lambda: bool(self._messages), "a message", timeout_s)
        if self._messages:
            return self._messages.popleft()
        self._raise_error()
        raise self._gone()

    async def receive_json(self, timeout_s: float | None = None) -> Any:
        """Return the next message, read as JSON; otherwise like :meth:`receive`."""
        return json.loads(await self.receive(timeout_s))

    async def receive_nothing(self, wait_s: float = 0.05) -> bool:
        """Wait, and return whether no message has come, and none was there unread. The socket may be closed."""
        try:
            await self._until(lambda: bool(self._messages), "a message", wait_s)
        except TimeoutError:
            pass
        return not self._messages

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Leave: the view's iteration ends, and its ``send`` raises ``Disconnected``."""
        if self._state == "open":
            self._state = "closed"
            self._tell_disconnect(code, reason)

    async def wait_closed(self, timeout_s: float | None = None) -> tuple[int, str]:
        """Wait until the application closes the socket; return its code and reason. Messages stay to be received.

        Raises:
            TimeoutError: it did not close in time.
            Exception: what the view raised.
        """
        await self._until(lambda: self._state != "open", "the close", timeout_s)
        self._raise_error()
        return self.close_code or 1006, self.close_reason

    # The application's side: ASGI ------------------------------------------------------------

    async def _receive(self) -> Event:
        if self._disconnect is not None and self._to_application.empty():
            return self._disconnect
        return await self._to_application.get()

    async def _send(self, event: Event) -> None:
        kind = event["type"]
        if self._state == "connecting" and kind == "websocket.accept":
            self._accepted(event)
        elif self._state == "connecting" and kind == "websocket.close":
            self._refused(403, ())
            self._state = "refused"
        elif self._state == "connecting" and kind == "websocket.http.response.start":
            self._refused(event["status"], event.get("headers", ()))
        elif self._state == "connecting" and kind == "websocket.http.response.body":
            self._body += event.get("body", b"")
            if not event.get("more_body", False):
                self.response.content = self._body
                self._state = "refused"
        elif self._state == "open" and kind == "websocket.send":
            text = event.get("text")
            self._messages.append(text if text is not None else bytes(event["bytes"]))
        elif self._state == "open" and kind == "websocket.close":
            self._closed(event.get("code") or 1000, event.get("reason") or "")
        elif self._state == "closed":
            raise self._gone()
        else:
            raise LocalProtocolError(f"{kind} is not allowed while the socket is {self._state}")
        self._news.set()

    def _write_prepared(self, prepared: Prepared) -> int:
        if self._state != "open":
            raise self._gone()
        self._messages.append(prepared.data)
        self._news.set()
        return 0

    def _accepted(self, event: Event) -> None:
        self._state = "open"
        self.subprotocol = event.get("subprotocol")
        self._read_headers(event.get("headers") or ())

    def _refused(self, status: int, headers: Any) -> None:
        self.response = _empty_response(status)
        self._read_headers(headers)

    def _read_headers(self, headers: Any) -> None:
        response = self.response
        for raw_name, raw_value in headers:
            name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
            if name.lower() == "set-cookie":
                response.cookies.load(value)
            else:
                response.headers[name] = value
        if "Location" in response.headers:
            response.url = response.headers["Location"]  # type: ignore[attr-defined]  # as HttpResponseRedirect has it
        self._client.cookies.update(response.cookies)

    def _closed(self, code: int, reason: str) -> None:
        self._state = "closed"
        self.close_code, self.close_reason = code, reason
        self._tell_disconnect(code, reason)

    def _tell_disconnect(self, code: int, reason: str) -> None:
        self._disconnect = {"type": "websocket.disconnect", "code": code, "reason": reason}
        self._to_application.put_nowait(self._disconnect)

    # Inside ----------------------------------------------------------------------------------

    async def _until(self, condition: Callable[[], bool], what: str, timeout_s: float | None) -> None:
        """Wait for what is hoped for, or for the end of the socket."""
        _keep_connections(True)
        wait_s = self.timeout_s if timeout_s is None else timeout_s
        try:
            async with asyncio.timeout(wait_s):
                while not (condition() or self._task.done() or self._state in ("closed", "refused")):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise TimeoutError(f"{what} of {self._scope['path']} did not come within {wait_s:g} s") from None

    async def _end(self) -> None:
        """Leave, and see to it that the application ends."""
        _keep_connections(True)
        if self._disconnect is None:
            await self.close(1001)
        try:
            await asyncio.wait({self._task}, timeout=self.timeout_s)
        finally:
            self._task.cancel()
        _, running = await asyncio.wait({self._task}, timeout=self.timeout_s)
        if running:
            raise RuntimeError(f"the application does not end, even when cancelled: {self._scope['path']}")
        if not self._task.cancelled() and self._error is None:
            error = self._task.exception()
            if not isinstance(error, Disconnected):  # ours, let through
                self._error = error

    def _note_exception(self, *, request: Any = None, **kwargs: Any) -> None:
        """Receive ``got_request_exception``, while the exception is being handled."""
        if getattr(request, "scope", None) is self._scope:
            self._error = sys.exc_info()[1]

    def _raise_error(self) -> None:
        if self._error is not None and not self._error_told and self._client.raise_request_exception:
            self._error_told = True
            raise self._error

    def _gone(self) -> Disconnected:
        disconnect = self._disconnect or {"code": 1006, "reason": ""}
        return Disconnected(disconnect["code"], disconnect["reason"])


class WebSocketSession:
    """One socket, for ``with client.websocket(path) as socket`` in a synchronous test.

    Methods and attributes are those of :class:`AsyncWebSocketSession`. Synchronous code of the view, its queries
    among it, runs in the thread of the test while that waits in one of the methods: so it sees the test's transaction.
    """

    def __init__(self, session: AsyncWebSocketSession) -> None:
        self._session = session
        self._background: BackgroundLoop

    @property
    def response(self) -> HttpResponse:
        return self._session.response

    @property
    def subprotocol(self) -> str | None:
        return self._session.subprotocol

    @property
    def close_code(self) -> int | None:
        return self._session.close_code

    @property
    def close_reason(self) -> str:
        return self._session.close_reason

    def __enter__(self) -> WebSocketSession:
        _refuse_event_loop()
        self._background = BackgroundLoop.acquire()
        self._session.executor = self._background.executor
        try:
            self._call(self._session.__aenter__())
        except BaseException:
            self._background.release(self._patience_s())
            raise
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._call(self._session.__aexit__(exc_type, exc, traceback))
        finally:
            self._background.release(self._patience_s())

    def send(self, payload: Payload) -> None:
        self._call(self._session.send(payload))

    def receive(self, timeout_s: float | None = None) -> str | bytes:
        return self._call(self._session.receive(timeout_s), timeout_s)

    def receive_json(self, timeout_s: float | None = None) -> Any:
        return self._call(self._session.receive_json(timeout_s), timeout_s)

    def receive_nothing(self, wait_s: float = 0.05) -> bool:
        return self._call(self._session.receive_nothing(wait_s), wait_s)

    def close(self, code: int = 1000, reason: str = "") -> None:
        self._call(self._session.close(code, reason))

    def wait_closed(self, timeout_s: float | None = None) -> tuple[int, str]:
        return self._call(self._session.wait_closed(timeout_s), timeout_s)

    def _call(self, coroutine: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        return self._background.call(coroutine, self._patience_s(timeout_s))

    def _patience_s(self, timeout_s: float | None = None) -> float:
        """Longer than any deadline in the loop: only a loop that is blocked lets it pass."""
        return 2 * max(self._session.timeout_s, timeout_s or 0) + 5.0


_sessions: set[AsyncWebSocketSession] = set()


def _keep_connections(keep: bool) -> None:
    """Keep the application from closing the connections of the test, as Django's clients do around each request.

    They end that with the request, also while a socket is open: hence it is said again before each wait.
    """
    for signal in (request_started, request_finished):
        if keep:
            signal.disconnect(close_old_connections)
        else:
            signal.connect(close_old_connections)


def _refuse_event_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise SynchronousOnlyOperation(
        "This thread runs an event loop: use `async with fullduplex.testing.AsyncClient().websocket(path)`."
    )


def _drained(callback: Callable[[], None]) -> None:
    callback()  # nothing waits for a client that is a list


def _empty_response(status: int) -> HttpResponse:
    response = HttpResponse(status=status)
    del response.headers["Content-Type"]
    return response

"""One HTTP request: one call of the ASGI application, whatever the framing below."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from time import perf_counter
from typing import Any, Final

from fullduplex.asgi import Event
from fullduplex.exceptions import Disconnected, LocalProtocolError, RemoteProtocolError
from fullduplex.gateway.access_log import log_failure
from fullduplex.gateway.asgi import file_part, http_scope
from fullduplex.gateway.call import call
from fullduplex.gateway.shared import Shared
from fullduplex.net.deadlines import BodyRate
from fullduplex.net.sendfile import open_file, send_file
from fullduplex.net.stream import Stream
from fullduplex.wire.events import AppFields, Data, EndOfMessage, Informational, RequestHead, ResponseHead

_TLS_PIECE_BYTES: Final = 65_536
# What a piece of content costs beyond its bytes: an object, and its place in the queue. Without it, content that comes
# in pieces of two bytes would take thirty times what may wait.
_PIECE_OVERHEAD_BYTES: Final = 64


class Exchange:
    """The state of one request and its response, and the ``receive`` and ``send`` of its application."""

    __slots__ = (
        "_body",
        "_body_bytes",
        "_body_complete",
        "_body_paused",
        "_body_taken",
        "_changed",
        "_complete",
        "_disconnected",
        "_expect_continue",
        "_headers",
        "_is_dismissed",
        "_is_head",
        "_rate",
        "_scope",
        "_sent_bytes",
        "_shared",
        "_started_s",
        "_status",
        "_stream",
        "_task",
        "_trailers",
        "response_started",
    )

    def __init__(self, shared: Shared, stream: Stream, head: RequestHead) -> None:
        self._shared = shared
        self._stream = stream
        self._scope = http_scope(stream, head, shared.state)
        if shared.amend is not None:
            shared.amend(self._scope)
        self._started_s = perf_counter() if shared.access_log is not None else 0.0  # uvloop's clock counts in ms
        self._body: deque[bytes] | None = None
        self._body_bytes = 0
        self._body_complete = head.end_stream
        self._body_paused = False
        self._body_taken = False
        self._expect_continue = head.expect_continue
        self._rate = None if head.end_stream else BodyRate(shared.connection, stream.loop.time())
        self._changed: asyncio.Event | None = None
        self._disconnected = False
        self._is_head = head.method == "HEAD"
        self._is_dismissed = False
        self._status = 0
        self._headers: AppFields | None = None
        self._trailers: AppFields | None = None
        self._sent_bytes = 0
        self.response_started = False
        self._complete = False
        self._task: asyncio.Task[None] | None = None  # where it waits

    # From the stream -------------------------------------------------------------------------

    def check_announced(self, head: RequestHead) -> None:
        """Refuse content that will be too long before any of it has come."""
        if 0 < self._shared.connection.max_body_bytes < _announced_bytes(head):
            self._body_too_large()

    def start(self) -> None:
        self._shared.exchange_count += 1
        self._shared.taken_count += 1
        shared, scope = self._shared, self._scope
        self._task = shared.start(call(shared.app, self, scope), self._stream.loop, scope)

    def data_received(self, data: bytes) -> None:
        if self._complete:
            return
        assert self._rate is not None
        if self._rate.received(len(data)) > self._shared.connection.max_body_bytes > 0:
            self._body_too_large()
            return
        if self._body is None:
            self._body = deque()
        self._body.append(data)
        self._body_bytes += len(data) + _PIECE_OVERHEAD_BYTES
        if self._body_bytes > self._shared.connection.read_buffer_bytes and not self._body_paused:
            self._body_paused = True
            self._stream.pause_reading()
            self._shared.note_waiting(self._body_bytes, self._stream.loop)
        self._wake()

    def end_received(self) -> None:
        self._body_complete = True
        self._wake()

    @property
    def buffered_bytes(self) -> int:
        return self._body_bytes

    def disconnected(self) -> None:
        self._disconnected = True
        self._wake()

    def refused(self, status: int, reason: str) -> None:
        """The server itself answers, before a response has begun; for the application the client is gone."""
        self._shared.note_refusal(self._scope, status, reason)
        self._complete = True
        self.disconnected()

    def tick(self, now_s: float) -> None:
        if self._body_complete or self._complete or self._rate is None:
            return
        if self._rate.too_slow(now_s, waiting=not self._stream.reading_paused and not self._expect_continue):
            text = "RFC 9110 section 15.5.9: the content arrives too slowly"
            self._shared.refuse(self._stream, RemoteProtocolError(text, status_hint=408))

    @property
    def lasts(self) -> bool:
        headers = self._headers
        if not self.response_started or self._complete or self._is_dismissed or headers is None:
            return False
        return _is_event_stream(headers)

    def drain(self) -> None:
        """Tell the application of an event stream that it is over; what it sends to take its leave still arrives."""
        if self.lasts and not self._complete:
            self._is_dismissed = True
            self._wake()

    # The application's side ------------------------------------------------------------------

    async def receive(self) -> Event:
        """``http.request`` until the content is complete, then ``http.disconnect`` when that happens."""
        while True:
            if self._body:
                return self._take_body()
            if self._disconnected or self._complete or self._is_dismissed:
                return {"type": "http.disconnect"}
            if self._body_complete and not self._body_taken:
                self._body_taken = True
                return {"type": "http.request", "body": b"", "more_body": False}
            if self._expect_continue and not self.response_started:
                self._expect_continue = False
                self._stream.send(Informational(100, []))
            self._resume_reading()  # not sooner: who has taken something may be busy with it
            await self._wait()

    async def send(self, message: Event) -> None:
        """Take one ASGI event of the response.

        Raises:
            Disconnected: the client is gone (an OSError, as ASGI asks since spec version 2.4).
            LocalProtocolError: the event is malformed or comes at the wrong time.
        """
        if self._disconnected or (self._stream.is_closing() and not self._complete):
            self._disconnected = True  # the connection will say so, too, when the loop gets to it
            raise Disconnected
        kind = message["type"]
        if kind == "http.response.body":
            if self._stream.tls is not None and _size(message) > _TLS_PIECE_BYTES:
                message = await self._send_pieces(message)
            self._send_body(message)
        elif kind == "http.response.start":
            self._send_start(message)
            return  # nothing is written before there is content
        elif kind == "http.response.trailers":
            self._send_trailers(message)
        else:
            await self._send_extension(kind, message)
        flow = self._stream.flow
        if flow.paused or (self.response_started and not self._complete and flow.must_wait(_size(message))):
            await flow.drain()

    # Inside ----------------------------------------------------------------------------------

    def ended(self, error: BaseException | None) -> None:
        """The application's call is over."""
        try:
            if isinstance(error, Exception):
                if not self._disconnected or not (isinstance(error, Disconnected) or self._is_complete_head()):
                    self._failed(error)
            elif error is None and not self._complete and not self._disconnected:
                if self._is_dismissed:
                    self._end_stream()
                else:
                    self._failed(LocalProtocolError("the application returned without completing its response"))
        finally:
            self._shared.exchange_count -= 1
            if self._task is not None:
                self._shared.tasks.discard(self._task)
                self._task = None
            if not self._complete:
                self._give_up()

    def _end_stream(self) -> None:
        """The application has left an event stream as it was asked to: the client sees an end, and no break."""
        try:
            self._stream.send(Data(b"", end_stream=True))
        except LocalProtocolError:
            return  # it had a length; what is missing must be seen
        self._end()

    def _is_complete_head(self) -> bool:
        return self._is_head and self._complete

    def _failed(self, error: Exception) -> None:
        log_failure("Exception in the ASGI application", self._scope, error)
        if self.response_started or self._complete or self._disconnected:
            return
        self._status = 500
        try:
            self._stream.send(*self._shared.own_response(500, "Internal Server Error", close=True))
        except LocalProtocolError:
            return  # a head is on its way already, whose content was wrong: it can only be cut short
        self.response_started = True
        self._end()

    def _give_up(self) -> None:
        """The response cannot be completed: the client must see that it is cut short."""
        self._complete = True
        if not self.response_started:
            self._status = 499  # nobody saw a status; nginx's number for a client that went away
        self._log()
        if not self._disconnected:
            self._stream.handler = None
            self._stream.abort()

    def _body_too_large(self) -> None:
        most = self._shared.connection.max_body_bytes
        text = f"RFC 9110 section 15.5.14: the content has more than {most} bytes"
        self._shared.refuse(self._stream, RemoteProtocolError(text, status_hint=413))

    def _send_start(self, message: Event) -> None:
        if self._headers is not None:
            raise LocalProtocolError("http.response.start was already sent")
        status = message["status"]
        if not isinstance(status, int) or not 200 <= status <= 599:
            raise LocalProtocolError(f"a response has a status from 200 to 599, not {status!r}")
        self._headers = [*message.get("headers", ())]
        self._status = status
        if message.get("trailers"):
            self._trailers = []

    def _send_body(self, message: Event) -> None:
        headers = self._headers
        if headers is None:
            raise LocalProtocolError("http.response.body came before http.response.start")
        if self._complete:
            raise LocalProtocolError("the response is already complete")
        body: Any = message.get("body", b"")
        more = message.get("more_body", False) or self._trailers is not None
        end = not more or self._is_head
        self._sent_bytes += len(body)
        if self.response_started:
            self._stream.send(Data(body, end))
        elif end:
            self._stream.respond(self._status, headers, body)
        else:
            self._stream.send(ResponseHead(self._status, headers), Data(body))
        self.response_started = True
        if end:
            self._end()
            self._disconnected |= more  # of HEAD: all is said, and the content may be without end

    async def _send_pieces(self, message: Event) -> Event:
        """Send large content over TLS but for its last piece, and return that.

        A TLS transport hands what it has to the one below in one go, and no longer counts it: a whole response would
        seem to be taken by the client long before it is.
        """
        body = memoryview(message["body"])
        headers = self._headers
        whole = not self.response_started and not message.get("more_body", False) and self._trailers is None
        if whole and headers is not None and not _has_length(headers):
            headers.append((b"content-length", b"%d" % len(body)))
        if self._is_head:
            return message
        flow = self._stream.flow
        while len(body) > _TLS_PIECE_BYTES:
            self._send_body({"body": bytes(body[:_TLS_PIECE_BYTES]), "more_body": True})
            body = body[_TLS_PIECE_BYTES:]
            if flow.must_wait(_TLS_PIECE_BYTES):
                await flow.drain()
            if self._disconnected or self._stream.transport.is_closing():
                self._disconnected = True
                raise Disconnected
        return {**message, "body": bytes(body)}

    def _send_trailers(self, message: Event) -> None:
        if self._trailers is None or not self.response_started or self._complete:
            raise LocalProtocolError("http.response.trailers was not announced, or comes at the wrong time")
        self._trailers.extend(message.get("headers", ()))
        if not message.get("more_trailers", False):
            self._stream.send(EndOfMessage(self._trailers))
            self._end()

    async def _send_extension(self, kind: str, message: Event) -> None:
        if kind == "http.response.early_hint":
            if self._complete:  # the connection may have begun with the next request
                raise LocalProtocolError("the response is already complete")
            links = [(b"link", bytes(link)) for link in message["links"]]
            self._stream.send(Informational(103, links))  # RFC 8297
        elif kind == "http.response.pathsend":
            fd = await self._stream.loop.run_in_executor(None, open_file, message["path"])
            try:
                await self._send_file(fd, 0, os.fstat(fd).st_size, end=True)
            finally:
                os.close(fd)
        elif kind == "http.response.zerocopysend":
            fd, offset, count = file_part(message)
            await self._send_file(fd, offset, count, end=not message.get("more_body", False))
        else:
            raise LocalProtocolError(f"unknown ASGI event {kind!r} in an HTTP response")

    async def _send_file(self, fd: int, offset: int, count: int, *, end: bool) -> None:
        headers = self._headers
        if headers is None:
            raise LocalProtocolError("a file came before http.response.start")
        if self._complete:
            raise LocalProtocolError("the response is already complete")
        more = not end or self._trailers is not None
        end = not more or self._is_head
        if not self.response_started:
            if end and not _has_length(headers):
                headers.append((b"content-length", b"%d" % count))
            self._stream.send(ResponseHead(self._status, headers))
            self.response_started = True
        if not self._is_head:
            await self._send_file_content(fd, offset, count)
        if end:
            self._stream.send(Data(b"", end_stream=True))
            self._end()
            self._disconnected |= more

    async def _send_file_content(self, fd: int, offset: int, count: int) -> None:
        try:
            await send_file(self._stream, fd, offset, count, self._count_sent)
        except (ConnectionError, TimeoutError):
            self._stream.abort()
            self.disconnected()
        if self._disconnected:
            raise Disconnected

    def _count_sent(self, count: int) -> None:
        self._sent_bytes += count

    def _end(self) -> None:
        self._complete = True
        if self._shared.access_log is not None:
            self._log()
        if self._body_paused:
            self._resume_reading()
        self._body = None
        if self._changed is not None:
            self._wake()
        self._stream.finish()

    def _log(self) -> None:
        log = self._shared.access_log
        if log is not None:
            duration_s = perf_counter() - self._started_s
            sent_bytes = 0 if self._is_head else self._sent_bytes  # the codec leaves content out
            log.http(self._scope, self._status, sent_bytes, duration_s)

    def _take_body(self) -> Event:
        assert self._body is not None
        body = self._body.popleft() if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        self._body_bytes = 0
        self._body_taken = self._body_complete
        return {"type": "http.request", "body": body, "more_body": not self._body_complete}

    def _resume_reading(self) -> None:
        if self._body_paused:
            self._body_paused = False
            self._stream.resume_reading()

    async def _wait(self) -> None:
        if self._changed is None:
            self._changed = asyncio.Event()
        self._changed.clear()
        await self._changed.wait()

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()


def _has_length(headers: AppFields) -> bool:
    return any(name.lower() == b"content-length" for name, _ in headers)


def _is_event_stream(headers: AppFields) -> bool:
    """https://html.spec.whatwg.org/multipage/server-sent-events.html"""
    return any(
        name.lower() == b"content-type" and value[:17].lower() == b"text/event-stream" for name, value in headers
    )


def _size(message: Event) -> int:
    return len(message.get("body", b""))


def _announced_bytes(head: RequestHead) -> int:
    """The Content-Length of a request, which its codec has checked; 0 without one."""
    return next((int(value) for name, value in head.headers if name == b"content-length"), 0)

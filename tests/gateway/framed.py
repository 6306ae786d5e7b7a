"""The gateway's tests over HTTP/2: what they say and read is HTTP/1, and a client of HTTP/2 carries it.

So one test says what holds for both framings. One request at a time, as over HTTP/1; what only HTTP/1 has (pipelining,
chunks, connections that close) is marked ``http1_only`` in the tests, with its reason.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import ngh2

from fullduplex.exceptions import LocalProtocolError
from fullduplex.limits import HTTP1Limits
from fullduplex.net.http2_connection import HTTP2Connection
from fullduplex.testing.transport import FakeTransport
from fullduplex.wire.events import Data, EndOfMessage, Informational, RequestHead, ResponseHead
from fullduplex.wire.handshake import accept_value
from fullduplex.wire.http1 import HTTP1Codec


class ReadTransport(FakeTransport):
    """A transport whose client reads what comes, soon."""

    reader: Any = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        super().write(data)
        if self.reader is not None:
            asyncio.get_running_loop().call_soon(self.reader)


class FramedConnection:
    """What a test has for a connection: it takes HTTP/1, and passes it on in HTTP/2."""

    def __init__(self, connection: HTTP2Connection) -> None:
        self.inner = connection
        self.loop = connection.loop
        self.limits = connection.limits
        self.transport: FramedTransport
        self.peer = ngh2.Connection(ngh2.Role.CLIENT, ngh2.Configuration(auto_window_update=False))
        self.peer.initiate_connection()
        self._new_codec()
        self.stream_id = 0
        self.is_socket = False
        self.is_tunnel = False
        self.was_refused = False
        self.key = b""

    def _new_codec(self) -> None:
        self.codec = HTTP1Codec(HTTP1Limits(max_drain_bytes=2**30), now_s=0.0)

    @property
    def _gateway(self) -> Any:
        return self.inner._gateway

    @_gateway.setter
    def _gateway(self, gateway: Any) -> None:
        self.inner._gateway = gateway

    @property
    def client(self) -> Any:
        return self.inner.client

    @property
    def tls(self) -> Any:
        return self.inner.tls

    @tls.setter
    def tls(self, tls: Any) -> None:
        self.inner.tls = tls

    @property
    def stream(self) -> Any:
        return self.inner._streams.get(self.stream_id)

    @property
    def handler(self) -> Any:
        return self.stream and self.stream.handler

    @property
    def tunnel(self) -> Any:
        return self.stream and self.stream.tunnel

    @property
    def flow(self) -> Any:
        return self.stream.flow

    @property
    def buffered_bytes(self) -> int:
        return self.inner.buffered_bytes

    def pass_on(self) -> None:
        try:
            data = self.peer.data_to_send()
        except ngh2.ConnectionStateError:
            return
        if data and not self.inner.transport.is_closing():
            self.inner.data_received(data)

    def data_received(self, data: bytes) -> None:
        if self.is_tunnel or (self.is_socket and data):
            if self.stream is not None:
                self.peer.send_data(self.stream_id, data)
        elif not self.was_refused or data.startswith(b"GET "):  # what comes behind a refusal has no socket
            self.was_refused = False
            for event in self.codec.receive_data(data, 0.0):
                self._event(event)
        self.pass_on()
        self.transport.read()

    def _event(self, event: Any) -> None:
        client = self.peer
        if isinstance(event, RequestHead):
            fields = dict(event.headers)
            head = [
                (b":method", event.method.encode()),
                (b":scheme", b"http"),
                (b":authority", fields.pop(b"host")),
                (b":path", event.target),
            ]
            hop = {b"host", b"connection", b"upgrade", b"transfer-encoding", b"keep-alive", b"sec-websocket-key"}
            self.is_socket = event.upgrade == b"websocket"
            if self.is_socket:
                self.key = fields[b"sec-websocket-key"]
                head[0] = (b":method", b"CONNECT")
                head.append((b":protocol", b"websocket"))
            head += [field for field in event.headers if field[0] not in hop]
            end = event.end_stream and not self.is_socket
            self.stream_id = client.send_request(head, end_stream=end)
            early = self.codec.trailing_data() if self.is_socket else b""
            if early:
                client.send_data(self.stream_id, early)
        elif isinstance(event, Data):
            client.send_data(self.stream_id, event.data)
        elif isinstance(event, EndOfMessage):
            if event.trailers:
                client.send_trailers(self.stream_id, event.trailers)
            else:
                client.end_stream(self.stream_id)
        else:
            raise AssertionError(f"no request that HTTP/2 could carry: {event}")

    def tick(self, now_s: float) -> None:
        self.inner.tick(now_s)
        self.transport.read()

    def drain(self, grace_s: float) -> None:
        self.inner.drain(grace_s)
        self.transport.read()

    @property
    def lasts(self) -> bool:
        return self.inner.lasts

    def dismiss(self) -> None:
        self.inner.dismiss()
        self.transport.read()

    def abort(self) -> None:
        self.inner.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self.inner.connection_lost(error)

    def eof_received(self) -> bool:
        if self.is_socket and self.stream is not None:
            self.peer.end_stream(self.stream_id)
            self.pass_on()
            return True
        return self.inner.eof_received()


class FramedTransport:
    """What a test has for a transport: what the client has read, written as HTTP/1 would have it."""

    def __init__(self, connection: FramedConnection, inner: ReadTransport) -> None:
        self.inner = inner
        self.connection = connection
        connection.transport = self
        self.writes: list[bytes] = []
        self.was_reset = False
        self.has_ended = False

    # What came -------------------------------------------------------------------------------

    def read(self) -> None:
        """Let the client read what there is, and answer it."""
        while not self.inner.stalled:
            data = self.inner.take()
            if not data:
                return
            client = self.connection.peer
            try:
                client.receive_data(data)
            except ngh2.ConnectionStateError:  # it has seen GOAWAY, and is done
                return
            for event in client.events():
                self._event(event)
            self.connection.pass_on()

    def _event(self, event: Any) -> None:
        codec = self.connection.codec
        if isinstance(event, ngh2.InformationalResponseReceived):
            status = int(event.headers[0][1])
            codec.send(Informational(status, [*event.headers[1:]]))
        elif isinstance(event, ngh2.ResponseReceived):
            self._head(int(event.headers[0][1]), [*event.headers[1:]], event.end_stream)
        elif isinstance(event, ngh2.DataReceived):
            if event.data:
                with contextlib.suppress(ngh2.ConnectionStateError):
                    self.connection.peer.acknowledge_received_data(len(event.data), event.stream_id)
            if self.connection.is_tunnel:
                self.writes.append(event.data)
                self.has_ended |= event.end_stream
                return
            self.writes.append(codec.data_to_send())
            codec.send(Data(event.data, event.end_stream))
        elif isinstance(event, ngh2.TrailersReceived):
            codec.send(EndOfMessage([*event.headers]))
        elif isinstance(event, ngh2.StreamReset):
            self.was_reset = event.error_code != 0
        self.writes.append(codec.data_to_send())

    def _head(self, status: int, fields: list[tuple[bytes, bytes]], end: bool) -> None:
        connection = self.connection
        if connection.is_socket and status == 200:
            connection.is_tunnel = True
            head = [b"HTTP/1.1 101 Switching Protocols", b"upgrade: websocket", b"connection: upgrade"]
            head += [b"sec-websocket-accept: " + accept_value(connection.key)]
            self.writes.append(b"\r\n".join([*head, *(b"%b: %b" % field for field in fields), b"", b""]))
            return
        connection.was_refused = connection.is_socket
        connection.is_socket = False
        names = [name for name, _ in fields]
        assert not {b"connection", b"transfer-encoding", b"upgrade"} & {*names}, "none of HTTP/2"
        try:
            connection.codec.send(ResponseHead(status, fields, end))
        except LocalProtocolError as error:
            raise AssertionError("a response that HTTP/1 has no request for") from error

    # What a test asks ------------------------------------------------------------------------

    @property
    def written(self) -> bytes:
        self.read()
        return b"".join(self.writes)

    def take(self) -> bytes:
        data = self.written
        self.writes.clear()
        return data

    @property
    def stalled(self) -> bool:
        return self.inner.stalled

    @stalled.setter
    def stalled(self, value: bool) -> None:
        self.read()
        self.inner.stalled = value

    @property
    def unread_bytes(self) -> int:
        return self.inner.unread_bytes

    def write_eof(self) -> None:
        self.inner.write_eof()

    def get_write_buffer_size(self) -> int:
        return self.inner.unread_bytes

    def peer_reads(self) -> None:
        self.inner.peer_reads()
        self.read()

    @property
    def reading(self) -> bool:
        return not any(stream.reading_paused for stream in self.connection.inner._streams.values())

    @property
    def eof_written(self) -> bool:
        return self.inner.eof_written or self.has_ended

    def is_closing(self) -> bool:
        self.read()
        return self.inner.is_closing() or self.was_reset or self.has_ended

    def close(self) -> None:
        self.inner.close()

    def abort(self) -> None:
        self.inner.abort()

    def lose(self, error: Exception | None = None) -> None:
        self.inner.lose(error)


def framed(connection: HTTP2Connection, transport: ReadTransport) -> tuple[FramedConnection, FramedTransport]:
    """The two that stand in for a connection of HTTP/1 and its transport."""
    outer = FramedConnection(connection)
    facade = FramedTransport(outer, transport)
    transport.reader = facade.read
    outer.pass_on()
    facade.read()
    assert asyncio.get_running_loop() is connection.loop
    return outer, facade

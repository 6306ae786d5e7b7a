"""A client of HTTP/2 that asks for much at once over one connection, and gives some of it up: h2 on asyncio."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
from h2.errors import ErrorCodes


class StreamLost(Exception):
    """A stream was reset, or its connection is gone."""


@dataclass
class Answer:
    """What has come on a stream so far."""

    done: asyncio.Future[None]
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    hints: list[dict[str, str]] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)
    content: bytearray = field(default_factory=bytearray)
    trailers: dict[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        return int(self.fields[":status"])

    @property
    def text(self) -> str:
        return self.content.decode()


class Client(asyncio.Protocol):
    """One connection; make it with :func:`connect`."""

    def __init__(self, authority: str) -> None:
        self._authority = authority
        self._codec = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._answers: dict[int, Answer] = {}
        self._room = asyncio.Event()
        self._gone = asyncio.Event()
        self.has_ended = False  # no further streams: GOAWAY has come, or the connection is gone

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._codec.initiate_connection()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.has_ended = True
        for stream_id in [*self._answers]:
            self._lose(stream_id, "the connection is gone")
        self._room.set()
        self._gone.set()

    def data_received(self, data: bytes) -> None:
        for event in self._codec.receive_data(data):
            if isinstance(event, h2.events.ConnectionTerminated):
                self.has_ended = True
            elif isinstance(event, h2.events.WindowUpdated | h2.events.RemoteSettingsChanged):
                self._room.set()
            elif (stream_id := getattr(event, "stream_id", None)) in self._answers:
                self._handle(event, stream_id)
            elif isinstance(event, h2.events.DataReceived):  # of a stream that was given up
                self._codec.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        self._flush()

    def _handle(self, event: object, stream_id: int) -> None:
        answer = self._answers[stream_id]
        if isinstance(event, h2.events.InformationalResponseReceived):
            answer.hints.append(dict(event.headers))
        elif isinstance(event, h2.events.ResponseReceived):
            answer.fields = dict(event.headers)
            answer.begun.set()
        elif isinstance(event, h2.events.TrailersReceived):
            answer.trailers = dict(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            answer.content += event.data
            self._codec.acknowledge_received_data(event.flow_controlled_length, stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            del self._answers[stream_id]
            answer.done.set_result(None)
        elif isinstance(event, h2.events.StreamReset):
            self._lose(stream_id, f"reset with {event.error_code}")

    def _lose(self, stream_id: int, why: str) -> None:
        answer = self._answers.pop(stream_id)
        answer.begun.set()
        if not answer.done.done():
            answer.done.set_exception(StreamLost(why))

    def _flush(self) -> None:
        self.transport.write(self._codec.data_to_send())

    def ask(self, path: str, method: str = "GET", *fields: tuple[str, str], ends: bool = True) -> tuple[int, Answer]:
        """Send the head of a request, and its end."""
        stream_id = self._codec.get_next_available_stream_id()
        scheme = "https" if self.transport.get_extra_info("sslcontext") else "http"
        pseudo = [(":method", method), (":scheme", scheme), (":authority", self._authority), (":path", path)]
        self._codec.send_headers(stream_id, [*pseudo, *fields], end_stream=ends)
        self._answers[stream_id] = answer = Answer(asyncio.get_running_loop().create_future())
        answer.done.add_done_callback(lambda done: done.exception())  # who does not ask is not told
        self._flush()
        return stream_id, answer

    async def put(self, stream_id: int, content: bytes, *, ends: bool = True) -> None:
        """Send content, as the windows allow."""
        while content and stream_id in self._answers:
            size = min(self._codec.local_flow_control_window(stream_id), self._codec.max_outbound_frame_size)
            if size <= 0:
                self._room.clear()
                await self._room.wait()
                continue
            self._codec.send_data(stream_id, content[:size])
            content = content[size:]
            self._flush()
        if ends and stream_id in self._answers:
            self._codec.end_stream(stream_id)
            self._flush()

    def cancel(self, stream_id: int) -> None:
        """Give a stream up, if it has not ended."""
        if stream_id in self._answers:
            self._codec.reset_stream(stream_id, ErrorCodes.CANCEL)
            self._lose(stream_id, "given up")
            self._flush()

    async def get(self, path: str, *fields: tuple[str, str]) -> Answer:
        """Ask, and wait for the whole answer."""
        _, answer = self.ask(path, "GET", *fields)
        await answer.done
        return answer

    async def post(self, path: str, content: bytes, *fields: tuple[str, str]) -> Answer:
        """Send content, and wait for the whole answer."""
        stream_id, answer = self.ask(path, "POST", *fields, ends=False)
        await self.put(stream_id, content)
        await answer.done
        return answer

    async def close(self) -> None:
        """Drop the connection, and wait until it is gone."""
        self.transport.abort()
        await self._gone.wait()


async def connect(port: int, context: ssl.SSLContext | None = None) -> Client:
    """Connect to 127.0.0.1; with a context, over TLS."""
    loop = asyncio.get_running_loop()
    name = "localhost" if context is not None else None
    _, client = await loop.create_connection(
        lambda: Client(f"localhost:{port}"), "127.0.0.1", port, ssl=context, server_hostname=name
    )
    return client

"""HTTP/2 framed by h2, in Python: for platforms that ngh2 has no wheels for."""

from __future__ import annotations

from collections import deque
from struct import Struct

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamReset, TrailersReceived
from h2.events import Event as LibraryEvent
from h2.exceptions import DenialOfServiceError, NoSuchStreamError, ProtocolError, StreamClosedError
from h2.settings import SettingCodes, Settings
from hpack import Decoder, Encoder, HeaderTuple, HPACKError

from fullduplex.exceptions import LocalProtocolError
from fullduplex.limits import HTTP2Limits
from fullduplex.wire.events import Event, Fields
from fullduplex.wire.http1_writer import NO_DEFAULTS, DefaultFields
from fullduplex.wire.http2 import HTTP2Codec
from fullduplex.wire.http2_errors import ErrorCode, HTTP2Error, goaway_frame
from fullduplex.wire.http2_gate import MAX_FRAME_BYTES, PREFACE
from fullduplex.wire.http2_head import LibraryFields
from fullduplex.wire.http2_settings import connection_window_bytes, settings_of
from fullduplex.wire.http2_state import Response

_CONFIGURATION = H2Configuration(
    client_side=False,
    header_encoding=None,
    # Ours is stricter, and resets one stream where h2 would end the connection.
    validate_inbound_headers=False,
    normalize_inbound_headers=False,
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
)
_frame_header = Struct(">IBI")
_TABLE_BYTES = 4_096  # RFC 9113 section 6.5.2: what SETTINGS_HEADER_TABLE_SIZE is without a setting
_HEADERS, _WINDOW_UPDATE = 0x1, 0x8
_END_STREAM = 0x1


class _Encoder(Encoder):
    """Remembers no more fields than it would for a client that asks for nothing, however many one asks it to."""

    @property
    def header_table_size(self) -> int:
        return int(self.header_table.maxsize)

    @header_table_size.setter
    def header_table_size(self, value: int) -> None:
        Encoder.header_table_size.fset(self, min(value, _TABLE_BYTES))  # type: ignore[attr-defined]


class _FieldsDecoder(Decoder):
    """Decodes field blocks for us; h2 gets none to judge, since for one Content-Length it ends the whole connection."""

    last: LibraryFields = ()

    def decode(self, data: bytes, raw: bool = False) -> list[HeaderTuple]:
        self.last = [(name, value) for name, value in super().decode(data, raw=True)]
        return []


class _Queue:
    """What waits for the windows of one stream."""

    __slots__ = ("ends", "pieces", "size_bytes", "trailers")

    def __init__(self) -> None:
        self.pieces: deque[bytes] = deque()
        self.size_bytes = 0
        self.ends = False
        self.trailers: Fields | None = None


class H2Codec(HTTP2Codec):
    """See :class:`~fullduplex.wire.http2.HTTP2Codec`."""

    __slots__ = ("_connection", "_fields", "_has_failed", "_output", "_queued_bytes", "_queues", "_unended_id")

    library = "h2"

    def __init__(self, limits: HTTP2Limits, *, now_s: float, defaults: DefaultFields = NO_DEFAULTS) -> None:
        super().__init__(limits, now_s=now_s, defaults=defaults)
        self._output = bytearray()  # beside that of h2
        self._has_failed = False
        self._queues: dict[int, _Queue] = {}
        self._queued_bytes = 0
        self._connection = connection = H2Connection(config=_CONFIGURATION)
        settings = dict(settings_of(limits))
        # Changing single settings before the start would send others as zero.
        connection.local_settings = Settings(client=False, initial_values=settings)  # type: ignore[arg-type]
        connection.encoder = _Encoder()
        connection.initiate_connection()
        connection.receive_data(PREFACE)
        # How many streams there may be is ours to refuse, one by one: h2 would end the connection.
        settings[SettingCodes.MAX_CONCURRENT_STREAMS] = 2**31 - 1
        connection.local_settings = Settings(client=False, initial_values=settings)  # type: ignore[arg-type]
        self._fields = connection.decoder = _FieldsDecoder()
        self._fields.max_header_list_size = 4 * limits.max_head_bytes
        self._unended_id = 0  # of trailers that are not the end of their stream
        connection.increment_flow_control_window(connection_window_bytes(limits) - 65_535)

    def queued_bytes(self, stream_id: int | None = None) -> int:
        if stream_id is None:
            return self._queued_bytes
        queue = self._queues.get(stream_id)
        return 0 if queue is None else queue.size_bytes

    def _window_of(self, stream_id: int) -> int:
        stream = self._connection.streams.get(stream_id)
        return 0 if stream is None else stream.outbound_flow_control_window

    def _feed(self, frames: bytes, events: list[Event]) -> None:
        """One frame at a time: when one is at fault, h2 forgets what those before it in the same call have meant."""
        position = 0
        connection = self._connection
        while position < len(frames):
            word, _, stream_id = _frame_header.unpack_from(frames, position)
            end = position + 9 + (word >> 8)
            is_late = word & 0xFF <= _HEADERS and self._gate.was_reset(stream_id & 0x7FFFFFFF)
            if is_late:
                self._output += connection.data_to_send()
            try:
                received = connection.receive_data(self._adapted(frames[position:end], word & 0xFF))
            except ProtocolError as error:
                self._output += connection.data_to_send()[: -len(goaway_frame(0, 0))]  # without that of h2
                code = getattr(error, "error_code", ErrorCode.PROTOCOL_ERROR)
                if isinstance(error.__cause__, HPACKError) and not isinstance(error, DenialOfServiceError):
                    code = ErrorCode.COMPRESSION_ERROR
                reason = str(error).partition(" from <memory")[0]  # which would stand there with its address
                raise HTTP2Error(f"RFC 9113 section 5.4.1: {reason}", code) from None
            if is_late:
                self._read_over()
            for event in received:
                self._on_event(event, events)
            position = end

    def _read_over(self) -> None:
        """For what was on its way to a stream that we have reset, h2 resets it again (RFC 9113 section 5.4.2)."""
        output = self._connection.data_to_send()
        self._output += output[:-13] if output[-10:-9] == b"\x03" else output

    def _adapted(self, frame: bytes, kind: int) -> bytes:
        """A frame without what h2 would end the connection for: a reserved bit, and trailers that have no end.

        The bit is to be ignored (RFC 9113 section 6.9); such trailers are the fault of one stream, rejected behind h2.
        """
        if kind == _WINDOW_UPDATE and len(frame) == 13 and frame[9] & 0x80:
            return frame[:9] + bytes((frame[9] & 0x7F,)) + frame[10:]
        if kind == _HEADERS and not frame[4] & _END_STREAM:
            stream_id = int.from_bytes(frame[5:9], "big") & 0x7FFFFFFF
            if stream_id in self._streams:
                self._unended_id = stream_id
                return frame[:4] + bytes((frame[4] | _END_STREAM,)) + frame[5:]
        return frame

    def _on_event(self, event: LibraryEvent, events: list[Event]) -> None:
        if isinstance(event, RequestReceived):
            self._on_request(event.stream_id, self._fields.last, event.stream_ended is not None, events)
        elif isinstance(event, DataReceived):
            padding = event.flow_controlled_length - len(event.data)
            if padding:
                self._submit_credit(event.stream_id, padding)
            self._on_data(event.stream_id, bytes(event.data), event.stream_ended is not None, events)
            if event.stream_ended is not None:
                self._check_closed(event.stream_id, events)
        elif isinstance(event, TrailersReceived):
            stream_id = event.stream_id
            self._on_trailers(stream_id, self._fields.last, stream_id != self._unended_id, events)
            self._check_closed(stream_id, events)
        elif isinstance(event, StreamReset):
            self._drop_queue(event.stream_id)
            if not event.remote_reset:
                self._gate.remember_reset(event.stream_id)
                self._gate.count_reset()
            self._on_reset(event.stream_id, int(event.error_code), events)

    def _fetch(self, most_bytes: int | None) -> bytes:
        connection = self._connection
        output = self._output
        output += connection.data_to_send()
        if self._queues and not self._has_failed:
            self._schedule(output, 2**31 if most_bytes is None else most_bytes)
        if most_bytes is None or len(output) <= most_bytes:
            data = bytes(output)
            output.clear()
        else:
            data = bytes(output[:most_bytes])
            del output[:most_bytes]
        return data

    def _schedule(self, output: bytearray, most_bytes: int) -> None:
        """Frame what has windows, one frame of each stream in turn."""
        connection = self._connection
        progress = True
        while progress and len(output) < most_bytes:
            progress = False
            for stream_id, queue in [*self._queues.items()]:
                try:
                    room = min(connection.local_flow_control_window(stream_id), MAX_FRAME_BYTES)
                except (NoSuchStreamError, StreamClosedError):
                    self._drop_queue(stream_id)
                    continue
                if queue.pieces and room > 0:
                    progress = True
                    self._send_piece(stream_id, queue, room)
                if not queue.pieces and queue.ends:
                    self._send_last(stream_id, queue)
                output += connection.data_to_send()
                if len(output) >= most_bytes:
                    return

    def _send_piece(self, stream_id: int, queue: _Queue, room: int) -> None:
        piece = queue.pieces[0]
        if len(piece) <= room:
            queue.pieces.popleft()
        else:
            queue.pieces[0] = piece[room:]
            piece = piece[:room]
        queue.size_bytes -= len(piece)
        self._queued_bytes -= len(piece)
        is_last = queue.ends and not queue.pieces and queue.trailers is None
        self._connection.send_data(stream_id, piece, end_stream=is_last)
        if is_last:
            self._closed(stream_id)

    def _send_last(self, stream_id: int, queue: _Queue) -> None:
        """The end of a response behind its content, unless that had it."""
        if stream_id in self._queues:
            if queue.trailers is not None:
                self._connection.send_headers(stream_id, queue.trailers, end_stream=True)
            else:
                self._connection.send_data(stream_id, b"", end_stream=True)
            self._closed(stream_id)

    def _closed(self, stream_id: int) -> None:
        """Our end of a stream has been framed."""
        del self._queues[stream_id]
        self._check_closed(stream_id, self._late)

    def _check_closed(self, stream_id: int, events: list[Event]) -> None:
        """Whether both ends of a stream are there."""
        stream = self._streams.get(stream_id)
        if stream is not None and stream.is_complete and self._is_done(stream_id):
            self._on_closed(stream_id, events)

    def _is_done(self, stream_id: int) -> bool:
        return self._streams[stream_id].response is Response.DONE and stream_id not in self._queues

    def _drop_queue(self, stream_id: int) -> None:
        queue = self._queues.pop(stream_id, None)
        if queue is not None:
            self._queued_bytes -= queue.size_bytes

    def _submit_head(self, stream_id: int, fields: Fields, end_stream: bool) -> None:
        try:
            self._connection.send_headers(stream_id, fields, end_stream=end_stream)
        except ProtocolError as error:
            raise LocalProtocolError(str(error)) from None
        if end_stream:
            self._ended_by_head(stream_id)
        else:
            self._queues[stream_id] = _Queue()

    def _ended_by_head(self, stream_id: int) -> None:
        """Both ends are there; but the caller has yet to note that the response is done."""
        stream = self._streams[stream_id]
        if stream.is_complete:
            self._on_closed(stream_id, self._late)

    def _submit_informational(self, stream_id: int, fields: Fields) -> None:
        try:
            self._connection.send_headers(stream_id, fields)
        except ProtocolError as error:
            raise LocalProtocolError(str(error)) from None

    def _submit_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        queue = self._queues.get(stream_id)
        if queue is None or queue.ends:
            raise LocalProtocolError("the stream is closed")
        if data:
            data = bytes(data)
            queue.pieces.append(data)
            queue.size_bytes += len(data)
            self._queued_bytes += len(data)
        queue.ends = end_stream

    def _submit_trailers(self, stream_id: int, fields: Fields) -> None:
        self._submit_data(stream_id, b"", True)
        self._queues[stream_id].trailers = fields

    def _submit_reset(self, stream_id: int, error_code: int) -> None:
        self._drop_queue(stream_id)
        try:
            self._connection.reset_stream(stream_id, error_code)
        except ProtocolError:
            pass  # it is closed already, or the connection is

    def _submit_credit(self, stream_id: int, size_bytes: int) -> None:
        try:
            self._connection.acknowledge_received_data(size_bytes, stream_id)
        except ProtocolError:
            pass

    def _abandon(self) -> None:
        self._queues.clear()
        self._queued_bytes = 0
        self._output.clear()
        self._has_failed = True

    def _submit_goaway(self, error_code: int, *, final: bool) -> None:
        """By hand: after one of its own h2 sends nothing more."""
        if self._has_failed:
            return
        self._output += self._connection.data_to_send()
        self._output += goaway_frame(error_code, self.last_stream_id if final else 2**31 - 1)
        self._has_failed = final

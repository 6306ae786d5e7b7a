"""HTTP/2 framed by ngh2, which is libnghttp2."""

from __future__ import annotations

import functools

import ngh2

from fullduplex.exceptions import LocalProtocolError
from fullduplex.limits import HTTP2Limits
from fullduplex.wire.events import Event, Fields
from fullduplex.wire.http1_writer import NO_DEFAULTS, DefaultFields
from fullduplex.wire.http2 import HTTP2Codec
from fullduplex.wire.http2_errors import ErrorCode, HTTP2Error, goaway_frame, name_of
from fullduplex.wire.http2_gate import PREFACE
from fullduplex.wire.http2_settings import MAX_CONCURRENT_STREAMS, connection_window_bytes, setting, settings_of

_RequestReceived, _DataReceived, _StreamClosed = ngh2.RequestReceived, ngh2.DataReceived, ngh2.StreamClosed
_UNLIMITED = 2**40
_ANY_COUNT = 2**31 - 1
_FETCHED_BYTES = 16_384


class NGH2Codec(HTTP2Codec):
    """See :class:`~fullduplex.wire.http2.HTTP2Codec`."""

    __slots__ = ("_connection", "_failure", "_is_over", "_own_output", "_reset_by_client")

    library = "ngh2"

    def __init__(self, limits: HTTP2Limits, *, now_s: float, defaults: DefaultFields = NO_DEFAULTS) -> None:
        super().__init__(limits, now_s=now_s, defaults=defaults)
        self._own_output = b""  # fetched before it was asked for, or in the place of a library that has failed
        self._failure: HTTP2Error | None = None  # found by the library
        self._is_over = False  # and told by it
        self._reset_by_client = 0  # the last stream
        self._connection = connection = ngh2.Connection(ngh2.Role.SERVER, _configuration(limits))
        # How many streams there may be is ours to refuse, one by one: the library does not tell, or ends all.
        settings = dict(settings_of(limits))
        most = setting(MAX_CONCURRENT_STREAMS, settings[MAX_CONCURRENT_STREAMS])
        settings[MAX_CONCURRENT_STREAMS] = _ANY_COUNT
        connection.initiate_connection(settings)
        self._own_output = connection.data_to_send().replace(setting(MAX_CONCURRENT_STREAMS, _ANY_COUNT), most, 1)
        connection.receive_data(PREFACE)
        connection.set_local_window_size(connection_window_bytes(limits))

    def queued_bytes(self, stream_id: int | None = None) -> int:
        return self._connection.queued_body_size(stream_id)

    def _window_of(self, stream_id: int) -> int:
        return self._connection.stream_remote_window_size(stream_id)

    def _feed(self, frames: bytes, events: list[Event]) -> None:
        connection = self._connection
        failure: HTTP2Error | None = None
        try:
            connection.receive_data(frames)
        except ngh2.DenialOfServiceError as error:  # the library is of no use any more, and has written no GOAWAY
            failure = HTTP2Error(f"RFC 9113 section 10.5: {error}", ErrorCode.ENHANCE_YOUR_CALM)
        except ngh2.NGH2Error as error:
            failure = HTTP2Error(f"RFC 9113 section 5.4.1: {error}", ErrorCode.PROTOCOL_ERROR)
        for event in connection.events():
            kind = type(event)
            if kind is _RequestReceived:
                self._on_request(event.stream_id, event.headers, event.end_stream, events)  # type: ignore[attr-defined]
            elif kind is _DataReceived:
                self._on_data(event.stream_id, event.data, event.end_stream, events)  # type: ignore[attr-defined]
            else:
                self._on_other(event, events)
        if failure is not None:
            raise failure
        if connection.want_write and len(self._own_output) < _FETCHED_BYTES:
            # A fault that the library finds is told by the GOAWAY alone that it queues, once that is fetched.
            self._own_output += connection.data_to_send(_FETCHED_BYTES)
            for event in connection.events():
                self._on_other(event, events)
            if self._failure is not None:
                raise self._failure

    def _on_other(self, event: ngh2.Event, events: list[Event]) -> None:
        if isinstance(event, ngh2.TrailersReceived):
            # A field section that is not the end of its stream is malformed, and the library resets it for that.
            self._on_trailers(event.stream_id, event.headers, True, events)
        elif isinstance(event, ngh2.StreamReset):
            self._reset_by_client = event.stream_id
            self._on_reset(event.stream_id, event.error_code, events)
        elif isinstance(event, ngh2.StreamClosed):
            if event.error_code == ErrorCode.NO_ERROR:
                self._on_closed(event.stream_id, events)
            else:
                self._closed_by_fault(event.stream_id, event.error_code, events)
        elif isinstance(event, ngh2.ConnectionClosed):
            self._closed_by_library(event)

    def _closed_by_fault(self, stream_id: int, error_code: int, events: list[Event]) -> None:
        """A stream was reset: by the client or by one of us, which is known, or by the library for a client's fault."""
        if stream_id != self._reset_by_client and not self._gate.was_reset(stream_id):
            self._gate.remember_reset(stream_id)
            try:
                self._gate.count_reset()
            except HTTP2Error as error:
                self._failure = error
        self._on_reset(stream_id, error_code, events)

    def _closed_by_library(self, event: ngh2.ConnectionClosed) -> None:
        """The library has written its last; for a fault that it found, unless we asked for it."""
        if not self.has_ended:
            text = event.debug_data.decode("latin-1") or "a fault of the connection"
            name = name_of(event.error_code)
            self._failure = HTTP2Error(f"RFC 9113 section 5.4.1: {name}: {text}", event.error_code)
            self._is_over = True

    def _fetch(self, most_bytes: int | None) -> bytes:
        own, self._own_output = self._own_output, b""
        if own and most_bytes is not None:
            if len(own) >= most_bytes:
                self._own_output = own[most_bytes:]
                return own[:most_bytes]
            most_bytes -= len(own)
        try:
            data = self._connection.data_to_send(most_bytes)
        except ngh2.NGH2Error:
            return own
        late, closed = self._late, self._on_closed
        for event in self._connection.events():
            if type(event) is _StreamClosed and not event.error_code:  # NO_ERROR
                closed(event.stream_id, late)
            else:
                self._on_other(event, late)
        if self._failure is not None and not self.has_ended:
            self._fail(self._failure, self._late)
        return own + data if own else data

    def _submit_head(self, stream_id: int, fields: Fields, end_stream: bool) -> None:
        try:
            self._connection.send_response(stream_id, fields, end_stream=end_stream)
        except ngh2.NGH2Error as error:
            raise LocalProtocolError(str(error)) from None

    def _submit_whole(self, stream_id: int, fields: Fields, content: bytes) -> None:
        connection = self._connection
        try:
            if content:
                connection.send_response(stream_id, fields)
                connection.send_data(stream_id, content, end_stream=True)
            else:
                connection.send_response(stream_id, fields, end_stream=True)
        except ngh2.NGH2Error as error:
            raise LocalProtocolError(str(error)) from None

    def _submit_informational(self, stream_id: int, fields: Fields) -> None:
        try:
            self._connection.send_informational_response(stream_id, fields)
        except ngh2.NGH2Error as error:
            raise LocalProtocolError(str(error)) from None

    def _submit_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        try:
            self._connection.send_data(stream_id, data, end_stream=end_stream)
        except ngh2.NGH2Error as error:
            raise LocalProtocolError(str(error)) from None

    def _submit_trailers(self, stream_id: int, fields: Fields) -> None:
        try:
            self._connection.send_trailers(stream_id, fields)
        except ngh2.NGH2Error as error:
            raise LocalProtocolError(str(error)) from None

    def _submit_reset(self, stream_id: int, error_code: int) -> None:
        try:
            self._connection.reset_stream(stream_id, error_code)
        except ngh2.NGH2Error:
            pass  # it is closed already, or the connection is

    def _submit_credit(self, stream_id: int, size_bytes: int) -> None:
        try:
            self._connection.acknowledge_received_data(size_bytes, stream_id)
        except ngh2.NGH2Error:
            pass

    def _abandon(self) -> None:
        self._own_output = b""
        self._connection = ngh2.Connection(ngh2.Role.SERVER)  # with an empty queue, which asks for nothing

    def _submit_goaway(self, error_code: int, *, final: bool) -> None:
        connection = self._connection
        try:
            if not final:
                connection.send_shutdown_notice()
            elif not self._is_over:  # else it is written already
                connection.terminate_connection(error_code, last_stream_id=self.last_stream_id)
        except ngh2.NGH2Error:
            if final:
                self._own_output += goaway_frame(error_code, self.last_stream_id)


@functools.lru_cache(maxsize=16)
def _configuration(limits: HTTP2Limits) -> ngh2.Configuration:
    """Bounds behind those of the gate, and the library's own clocks out of the way."""
    return ngh2.Configuration(
        auto_window_update=False,
        max_send_header_block_length=2**20,
        max_settings=32,
        stream_reset_rate_limit=(_UNLIMITED, _UNLIMITED),
        max_continuations=8 + 2 * limits.max_head_bytes // 16_384,
        glitch_rate_limit=(_UNLIMITED, _UNLIMITED),
        max_inbound_header_list_size=4 * limits.max_head_bytes,
        max_inbound_header_count=8 * max(limits.max_fields_count, 128),
    )

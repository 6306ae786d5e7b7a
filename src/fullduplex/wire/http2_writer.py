"""The writing half of an HTTP/2 connection: responses become what the library frames."""

from __future__ import annotations

from collections.abc import Callable

from fullduplex.exceptions import LocalProtocolError
from fullduplex.wire.events import Data, EndOfMessage, Event, Fields, Informational, ResponseHead
from fullduplex.wire.http1_writer import NO_DEFAULTS, DefaultFields
from fullduplex.wire.http2_fields import (
    STATUSES_WITHOUT_CONTENT,
    informational_fields,
    response_fields,
    trailer_fields,
    whole_fields,
)
from fullduplex.wire.http2_state import Response, Stream

_READY, _BODY, _HELD, _DONE = Response


class HTTP2Writer:
    """Writes the responses of one connection; the reading half makes the streams.

    Attributes:
        _sent: to be told how much content was queued.
    """

    __slots__ = ("_defaults", "_held", "_sent", "_streams")

    _sent: Callable[[int], None]

    def __init__(self, defaults: DefaultFields = NO_DEFAULTS) -> None:
        self._defaults = defaults
        self._streams: dict[int, Stream] = {}
        self._held: set[int] = set()

    def send(self, event: Event) -> None:
        """Queue a part of a response.

        What the application may leave to us is as for HTTP/1: fields that frame, and content where there is none. A
        ``ResponseHead`` with status 101 accepts a WebSocket, and is sent as 200 (RFC 8441 section 5).

        Raises:
            LocalProtocolError: an event at the wrong time, an invalid field, or content that does not match the
                Content-Length. Nothing is queued.
        """
        kind = type(event)
        try:
            stream = self._stream(event.stream_id)  # type: ignore[attr-defined]
            if kind is ResponseHead:
                self._send_head(stream, event)  # type: ignore[arg-type]
            elif kind is Data:
                self._send_data(stream, event)  # type: ignore[arg-type]
            elif kind is EndOfMessage:
                self._send_end(stream, event.stream_id, event.trailers)  # type: ignore[attr-defined]
            elif kind is Informational:
                if stream.response is not _READY:
                    raise LocalProtocolError("an informational response behind the final one")
                fields = informational_fields(event.status, event.headers)  # type: ignore[attr-defined]
                self._submit_informational(event.stream_id, fields)  # type: ignore[attr-defined]
            else:
                raise LocalProtocolError(f"a server does not send {kind.__name__} over HTTP/2")
        except (TypeError, ValueError, AttributeError, LookupError) as exc:
            raise LocalProtocolError(f"fields and content are bytes: {exc}") from exc

    def respond(self, stream_id: int, status: int, headers: Fields, content: bytes) -> None:
        """``send`` a head and its whole content, in one step.

        Raises:
            LocalProtocolError: as :meth:`send`.
        """
        stream = self._streams.get(stream_id)
        if stream is None:
            raise LocalProtocolError(f"stream {stream_id} is not open")
        if status in STATUSES_WITHOUT_CONTENT or stream.is_head_request:
            self.send(ResponseHead(status, headers, True, stream_id))
            return
        if type(content) is not bytes:
            self.send(ResponseHead(status, headers, stream_id=stream_id))
            self.send(Data(content, True, stream_id))
            return
        if stream.response is not _READY or status < 200:
            raise LocalProtocolError("a response head was sent twice, or is none of a response")
        size = len(content)
        try:
            fields = whole_fields(status, headers, self._defaults.fields, size)
        except (TypeError, ValueError, AttributeError, LookupError) as exc:
            raise LocalProtocolError(f"fields and content are bytes: {exc}") from exc
        if stream.is_complete:
            self._submit_whole(stream_id, fields, content)
            stream.response = _DONE
        elif stream.is_tunnel:
            self._submit_whole(stream_id, fields, content)
            self._note_end(stream_id, stream)
        else:
            self._submit_head(stream_id, fields, False)
            if size:
                self._submit_data(stream_id, content if status >= 400 else self._without_last(stream, content), False)
            self._hold(stream_id, stream)
        self._sent(size)

    def _stream(self, stream_id: int) -> Stream:
        stream = self._streams.get(stream_id)
        if stream is None:
            raise LocalProtocolError(f"stream {stream_id} is not open")
        return stream

    def _send_head(self, stream: Stream, event: ResponseHead) -> None:
        status = event.status
        if stream.response is not _READY:
            raise LocalProtocolError("a response head was sent twice")
        if status == 101 and stream.is_tunnel:
            fields, _ = response_fields(200, event.headers, self._defaults.fields)
            self._submit_head(event.stream_id, fields, False)
            stream.response = _BODY
            stream.is_accepted = True
            return
        if status < 200:
            raise LocalProtocolError("RFC 9110 section 15.2: 1xx is not a final response")
        fields, length = response_fields(status, event.headers, self._defaults.fields)
        stream.without_content = stream.is_head_request or status in STATUSES_WITHOUT_CONTENT
        if event.end_stream and length > 0 and not stream.without_content:
            raise LocalProtocolError("RFC 9110 section 8.6: less content than the Content-Length")
        if status == 205:  # RFC 9110 section 15.3.6
            length = 0
        if length >= 0 and status != 204:  # RFC 9110 section 8.6
            fields.append((b"content-length", b"%d" % length))
        stream.response_left_bytes = -1 if stream.without_content else length
        stream.is_refusal = status >= 400
        end_stream = event.end_stream and (stream.is_complete or stream.is_tunnel)
        self._submit_head(event.stream_id, fields, end_stream)
        if not event.end_stream:
            stream.response = _BODY
        elif end_stream:
            self._note_end(event.stream_id, stream)
        else:
            self._hold(event.stream_id, stream)

    def _send_data(self, stream: Stream, event: Data) -> None:
        if stream.response is not _BODY:
            raise LocalProtocolError("content before the head of a response, or behind its end")
        data = event.data
        size = len(data)
        if stream.without_content:
            data = b""
        elif stream.response_left_bytes >= 0:
            if size > stream.response_left_bytes:
                raise LocalProtocolError("RFC 9110 section 8.6: more content than the Content-Length")
            if event.end_stream and size < stream.response_left_bytes:
                raise LocalProtocolError("RFC 9110 section 8.6: less content than the Content-Length")
            stream.response_left_bytes -= size
        end_stream = event.end_stream and (stream.is_complete or stream.is_tunnel)
        is_last = event.end_stream or not stream.response_left_bytes
        if is_last and data and not (stream.is_complete or stream.is_tunnel or stream.is_refusal):
            data = self._without_last(stream, data)
        if data or end_stream:
            self._submit_data(event.stream_id, data, end_stream)
            self._sent(size)
        if end_stream:
            self._note_end(event.stream_id, stream)
        elif event.end_stream:
            self._hold(event.stream_id, stream)

    def _send_end(self, stream: Stream, stream_id: int, trailers: Fields) -> None:
        if stream.response is not _BODY:
            raise LocalProtocolError("the end of a response before its head, or twice")
        if stream.response_left_bytes > 0:
            raise LocalProtocolError("RFC 9110 section 8.6: less content than the Content-Length")
        stream.trailers = trailer_fields(trailers) or None
        if stream.is_complete or stream.is_tunnel:
            self._release(stream_id, stream)
        else:
            self._hold(stream_id, stream)

    def _without_last(self, stream: Stream, content: bytes) -> bytes:
        """Content without its last byte, which goes with the end.

        A client that has all the content that was announced may read no more, not even the credit for its own.
        """
        stream.held_byte = content[-1:]
        return content[:-1]

    def _hold(self, stream_id: int, stream: Stream) -> None:
        """The response is complete before its request: its end waits until that has come, or enough of it.

        Clients differ in what they make of an end with a reset behind it, or without one and without credit: some wait
        for ever.
        """
        stream.response = _HELD
        self._held.add(stream_id)

    def _note_end(self, stream_id: int, stream: Stream) -> None:
        """The end of a response is queued. A tunnel that was refused has one although its client may never end it."""
        stream.response = _DONE
        if stream.is_tunnel and not stream.is_accepted and not stream.is_complete:
            self._held.add(stream_id)

    def _release(self, stream_id: int, stream: Stream) -> None:
        """Queue the end of a response."""
        self._held.discard(stream_id)
        stream.response = _DONE
        last, stream.held_byte = stream.held_byte, b""
        if stream.trailers:
            if last:
                self._submit_data(stream_id, last, False)
            self._submit_trailers(stream_id, stream.trailers)
        else:
            self._submit_data(stream_id, last, True)

    # What a subclass does --------------------------------------------------------------------

    def _submit_whole(self, stream_id: int, fields: Fields, content: bytes) -> None:
        """Queue a response from its head to its end."""
        self._submit_head(stream_id, fields, not content)
        if content:
            self._submit_data(stream_id, content, True)

    def _submit_head(self, stream_id: int, fields: Fields, end_stream: bool) -> None:
        raise NotImplementedError

    def _submit_informational(self, stream_id: int, fields: Fields) -> None:
        raise NotImplementedError

    def _submit_data(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        raise NotImplementedError

    def _submit_trailers(self, stream_id: int, fields: Fields) -> None:
        """Queue the fields that end a response, behind its content."""
        raise NotImplementedError

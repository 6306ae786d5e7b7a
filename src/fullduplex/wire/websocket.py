"""WebSocket frames and messages: RFC 6455, with permessage-deflate (RFC 7692).

One codec is one open socket, after the handshake, over HTTP/1.1 or one stream of HTTP/2.

What the codec does by itself, because the RFC leaves no choice: it answers pings, echoes a Close frame,
sends pings to a silent peer, and tells the peer which rule it broke. Each of these is queued before
the event is returned: write ``data_to_send()`` after every call of ``receive_data``.

How a socket ends, and what the events are:

- the peer closes: ``Close`` (its echo queued), and on a server ``ConnectionEnded`` after it: a server
  closes TCP first (RFC 6455 section 7.1.1);
- we close with ``send(Close(...))``: messages may still come; then as above. Without an answer,
  ``ConnectionEnded`` alone, ``close_timeout_s`` later;
- the peer breaks a rule, or a ping stays unanswered: ``ProtocolFailed`` (a Close frame with
  ``error.close_code`` queued). Write what is queued and close; input is ignored from then on. When a
  message came before it in the same read, this event waits for the next call, for which a deadline is
  due at once: the message is answered before its socket closes;
- TCP ends without a Close frame: ``ConnectionEnded`` alone, which ASGI calls 1006.

What a peer can make the codec hold is bounded. One call returns events of at most about ``CALL_BYTES``, and one message
more; ``holds_data`` tells that there is input behind them. Frames without an event count, too: a call has an end. Of a
compressed message whose end has not come, at most ``AHEAD_BYTES`` are inflated: kilobytes on the wire would hold
megabytes for as long as pings are answered. Of one that is complete and larger, ``holds_large`` tells the caller to ask
for the rest when somebody takes it.
"""

from __future__ import annotations

from sys import getsizeof
from typing import Final

from fullduplex.exceptions import RemoteProtocolError
from fullduplex.limits import WebSocketLimits
from fullduplex.wire.deflate import (
    DeflateParameters,
    Inflater,
    invalid_data,
    max_deflated_bytes,
)
from fullduplex.wire.events import (
    ConnectionEnded,
    Event,
    Message,
    Ping,
    Pong,
    ProtocolFailed,
    detached,
)
from fullduplex.wire.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    FIN,
    MASKED,
    MAX_CONTROL_BYTES,
    PING,
    PONG,
    RSV,
    RSV1,
    TEXT,
    WHOLE_BINARY,
    WHOLE_TEXT,
    apply_mask,
    count_whole_bytes,
    decode_text,
    encode_close,
    read_close,
)
from fullduplex.wire.websocket_writer import WebSocketWriter, window

PING_PAYLOAD: Final = b"fullduplex"
"""The payload of the codec's own pings. Any data counts as an answer, so it need not be a secret."""

# A peer that sends thousands of pings at once gets so many pongs, and one for its last ping
# (RFC 6455 section 5.5.3 permits to answer the last alone; Autobahn expects an answer to each of ten).
_MAX_PONGS_COUNT: Final = 32

CALL_BYTES: Final = 65_536
EVENT_BYTES: Final = 64  # what an event costs beyond its data: empty messages and pings are not free
AHEAD_BYTES: Final = 131_072  # zlib's window and state, 40 KiB, come on top of it

_INCOMPLETE: Final = -1  # no position: more bytes must come first


class WebSocketCodec(WebSocketWriter):
    """Sans-I/O state of one open WebSocket.

    Args:
        limits: sizes and deadlines.
        deflate: as agreed in the handshake; None without permessage-deflate.
        client: this is the client's side: it masks, the peer does not, and the peer closes TCP.
        now_s: the time at which the socket opens, on the clock of ``receive_data``.

    Attributes:
        holds_data: ``receive_data(b"", now_s)`` has more to return at once. Read nothing from the peer before.
        holds_large: what it has first is one message, and inflates to more than is held of it.
        unfinished_bytes: held of a message whose end has not come.
    """

    __slots__ = (
        "_buffer",
        "_close_deadline_s",
        "_compressed",
        "_deflated",
        "_eof",
        "_fin",
        "_held_error",
        "_inflater",
        "_last_received_s",
        "_limits",
        "_mask",
        "_max_short",
        "_message",
        "_message_wire_bytes",
        "_opcode",
        "_ping_sent_s",
        "_pongs_count",
        "_progress_s",
        "_reading",
        "_remaining_bytes",
        "_unanswered_ping",
        "_undecoded",
        "holds_data",
        "holds_large",
        "unfinished_bytes",
    )

    def __init__(
        self,
        limits: WebSocketLimits,
        *,
        deflate: DeflateParameters | None = None,
        client: bool = False,
        now_s: float = 0.0,
    ) -> None:
        super().__init__(deflate, client=client)
        self._limits = limits
        # The longest message that receive_message() takes; -1 lets none pass.
        self._max_short = -1 if client else min(125, limits.max_message_bytes)
        self._inflater: Inflater | None = None
        self._buffer = b""  # the beginning of a frame header or of a control frame, or what is held
        self.holds_data = self.holds_large = False
        self._eof = False  # behind what is held
        # The frame whose payload is arriving:
        self._remaining_bytes = 0
        self._mask = b""  # rotated to the next byte
        self._fin = False
        # The message whose frames are arriving; opcode 0 when there is none:
        self._opcode = 0
        self._compressed = False
        self._message = bytearray()
        self._deflated: bytes | bytearray = b""  # of _message, and not inflated yet
        self.unfinished_bytes = 0
        self._progress_s = now_s  # when something of the message came last
        self._undecoded = b""  # the beginning of a character at the end of _message
        self._message_wire_bytes = 0
        self._pongs_count = 0
        self._unanswered_ping: bytes | None = None
        self._last_received_s = now_s
        self._ping_sent_s = now_s  # later than _last_received_s: a ping waits for its answer
        self._close_deadline_s: float | None = None
        self._held_error: RemoteProtocolError | None = None
        self._reading = True

    @property
    def buffered_bytes(self) -> int:
        """Input that waits: a part of a message or frame, and what is held."""
        return self.unfinished_bytes + len(self._buffer)

    # Receiving -------------------------------------------------------------------------------

    def receive_data(self, data: bytes, now_s: float) -> list[Event]:
        """Take bytes from the peer and return what they mean.

        Returns:
            ``Message``, ``Ping`` (its pong is queued), ``Pong``, ``Close``, ``ProtocolFailed`` or ``ConnectionEnded``.
        """
        events: list[Event] = []
        if not data and not self.holds_data:
            self._let_time_pass(now_s, events)
        elif self._reading:
            self._last_received_s = now_s
            try:
                self._receive(data, events)
            except RemoteProtocolError as error:
                self._hold_or_fail(error, events)
            if self._eof and not self.holds_data:
                events += self.receive_eof()
        elif self._held_error is not None:
            self._fail(self._held_error, events)
        return events

    def receive_message(self, data: bytes, now_s: float) -> str | bytes | None:
        """Take a short message that came alone and whole, as most do, without an event; None, and nothing taken, for
        all else: ask :meth:`receive_data`."""
        size = len(data)
        if size < 6 or self._opcode or self._buffer:
            return None
        first = data[0]
        length = data[1] - MASKED
        if length != size - 6 or length > self._max_short or (first != WHOLE_TEXT and first != WHOLE_BINARY):
            return None
        payload = apply_mask(data[6:], data[2:6])
        if first == WHOLE_TEXT:
            try:
                message: str | bytes = str(payload, "utf-8")
            except UnicodeDecodeError:
                return None
        else:
            message = payload
        self._last_received_s = now_s
        return message

    def receive_eof(self) -> list[Event]:
        """Take note that the peer sends no more."""
        events: list[Event] = []
        if self.holds_data:
            self._eof = True
        elif self._held_error is not None:
            self._fail(self._held_error, events)
        elif not self._ended:
            self._end()
            events.append(ConnectionEnded())
        return events

    def _receive(self, data: bytes, events: list[Event]) -> None:
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        self.holds_data = False
        size = len(data)
        if self.holds_large:
            self.holds_large = False
            self._extend_message(b"", True, wanted=True)
            events.append(self._finish_message())
        position = self._receive_payload(data, 0, events) if self._remaining_bytes else 0
        spent_bytes = _cost(events[0]) if events else 0
        if self.holds_large:
            spent_bytes = CALL_BYTES
        while position < size:
            if spent_bytes >= CALL_BYTES:
                self._buffer = data[position:]
                self.holds_data = True
                break
            if size - position > 5:
                end = position + 6 + data[position + 1] - MASKED
                message = self.receive_message(data[position:end], self._last_received_s) if end <= size else None
                if message is not None:
                    events.append(Message(message))
                    spent_bytes += EVENT_BYTES + end - position
                    position = end
                    continue
            count = len(events)
            end = self._receive_frame(data, position, events)
            if end == _INCOMPLETE:
                self._buffer = data[position:]
                break
            position = end
            if len(events) == count:
                spent_bytes += CALL_BYTES if self.holds_large else EVENT_BYTES
            else:
                spent_bytes += _cost(events[-1])
                if not self._reading:
                    return
        if self.holds_large:
            self.holds_data = True  # whether or not there is anything behind it
        if self._pongs_count:
            self._answer_last_ping()

    def _receive_frame(self, data: bytes, position: int, events: list[Event]) -> int:
        """Read one header, and as much of its payload as there is; return the position after it."""
        first = data[position]
        opcode = first & 0x0F
        self._check_first_byte(first, opcode)
        header = self._read_length(data, position, opcode)
        if header is None:
            return _INCOMPLETE
        length, start = header
        if opcode < CLOSE:
            self._check_size(first, length)
        mask = b""
        if not self._client:
            mask = data[start : start + 4]
            start += 4
        end = start + length
        if start > len(data) or (opcode >= CLOSE and end > len(data)):
            return _INCOMPLETE
        if opcode >= CLOSE:
            payload = data[start:end]
            self._receive_control(opcode, apply_mask(payload, mask) if mask else payload, events)
            return end
        fin = first >= FIN
        if fin and opcode and end <= len(data) and not first & RSV1:
            payload = data[start:end]
            if mask:
                payload = apply_mask(payload, mask)
            events.append(Message(decode_text(payload) if opcode == TEXT else payload))
            return end
        if opcode:
            self._opcode = opcode
            self._compressed = bool(first & RSV1)
            self._progress_s = self._last_received_s
        self._fin = fin
        self._mask = mask
        self._remaining_bytes = length
        self._message_wire_bytes += length
        return self._receive_payload(data, start, events)

    def _check_first_byte(self, first: int, opcode: int) -> None:
        reserved = first & RSV
        if reserved and (reserved != RSV1 or self._deflate is None or opcode not in (TEXT, BINARY)):
            raise RemoteProtocolError("RFC 6455 section 5.2: a reserved bit is set")
        if 2 < opcode < 8 or opcode > PONG:
            raise RemoteProtocolError("RFC 6455 section 5.2: the opcode is reserved")
        if opcode >= CLOSE:
            if first < FIN:
                raise RemoteProtocolError("RFC 6455 section 5.5: a control frame is fragmented")
        elif opcode == CONTINUATION and not self._opcode:
            raise RemoteProtocolError("RFC 6455 section 5.4: nothing to continue")
        elif opcode and self._opcode:
            raise RemoteProtocolError("RFC 6455 section 5.4: a new message inside a fragmented one")

    def _read_length(self, data: bytes, position: int, opcode: int) -> tuple[int, int] | None:
        """The payload length of the frame at ``position`` and the position after it; None when they have not come."""
        if position + 1 >= len(data):
            return None
        second = data[position + 1]
        if self._client == (second >= MASKED):
            rule = "a frame of the server is masked" if self._client else "a frame of the client is not masked"
            raise RemoteProtocolError(f"RFC 6455 section 5.1: {rule}")
        length = second & 0x7F
        if length > MAX_CONTROL_BYTES and opcode >= CLOSE:
            raise RemoteProtocolError("RFC 6455 section 5.5: a control frame has more than 125 bytes")
        start = position + 2
        if length <= 125:
            return length, start
        end, minimum = (start + 2, 126) if length == 126 else (start + 8, 65_536)
        if end > len(data):
            return None
        length = int.from_bytes(data[start:end], "big")
        if length < minimum:
            raise RemoteProtocolError("RFC 6455 section 5.2: the length is not encoded in the fewest bytes")
        if length >= 1 << 63:
            raise RemoteProtocolError("RFC 6455 section 5.2: the highest bit of the length is set")
        return length, end

    def _check_size(self, first: int, length: int) -> None:
        """Refuse a data frame that makes its message too big, before its payload arrives."""
        most = self._limits.max_message_bytes
        if first & RSV1 or self._compressed:
            # What it inflates to is checked as it arrives.
            most = max_deflated_bytes(most)
        if self._message_wire_bytes + length > most:
            raise self._too_big()

    def _receive_payload(self, data: bytes, position: int, events: list[Event]) -> int:
        """Take what has come of a data frame's payload; return the position after it."""
        end = min(position + self._remaining_bytes, len(data))
        piece = data[position:end]
        if self._mask:
            piece = apply_mask(piece, self._mask)
            turn = len(piece) & 3
            self._mask = self._mask[turn:] + self._mask[:turn]
        self._remaining_bytes -= len(piece)
        is_last = self._fin and not self._remaining_bytes
        if piece:
            self._progress_s = self._last_received_s
        if piece or is_last:
            self._extend_message(piece, is_last)
        if is_last and not self.holds_large:
            events.append(self._finish_message())
        return end

    def _extend_message(self, piece: bytes, is_last: bool, wanted: bool = False) -> None:
        """Take a piece of a message; ``wanted``: all that it inflates to."""
        message = self._message
        if self._compressed:
            piece = self._inflate(piece, is_last, self._limits.max_message_bytes + 1 - len(message), wanted)
            is_last = is_last and not self.holds_large
        message += piece
        self.unfinished_bytes = len(message) + len(self._deflated)
        too_big = len(message) > self._limits.max_message_bytes
        if self._opcode == TEXT:
            self._check_text(piece, is_last and not too_big)
        if too_big:
            raise self._too_big()

    def _check_text(self, piece: bytes, is_last: bool) -> None:
        """Check text piece by piece, so that it fails before its end arrives.

        It is decoded as a whole later: thousands of small strings take many times the memory of their bytes.
        """
        text = self._undecoded + piece
        try:
            self._undecoded = text[count_whole_bytes(text, is_last) :]
        except RemoteProtocolError:
            if self._compressed:
                raise invalid_data() from None
            raise

    def _inflate(self, piece: bytes, is_last: bool, most: int, wanted: bool) -> bytes:
        """Inflate what has come, no further than ``AHEAD_BYTES`` of the message unless it is wanted."""
        ahead = most if wanted else min(most, AHEAD_BYTES - len(self._message))
        held = self._deflated
        if ahead <= 0:
            inflated = b""
            if not held:
                self._deflated = held = bytearray()
            held += piece
        else:
            inflater = self._get_inflater()
            inflated = inflater.inflate(held + piece if held else piece, ahead)
            self._deflated = inflater.rest and bytearray(inflater.rest)
        if is_last:
            if len(inflated) < ahead:
                inflated += inflater.finish(most - len(inflated))
            elif ahead < most:
                self.holds_large = True
        return inflated

    def _finish_message(self) -> Message:
        message, self._message = self._message, bytearray()
        is_text = self._opcode == TEXT
        self._opcode = 0
        self._compressed = False
        self._message_wire_bytes = self.unfinished_bytes = 0
        return Message(str(message, "utf-8") if is_text else bytes(message))

    def _receive_control(self, opcode: int, payload: bytes, events: list[Event]) -> None:
        if opcode == PING:
            if not self.close_sent:
                self._pongs_count += 1
                if self._pongs_count <= _MAX_PONGS_COUNT:
                    self._queue(PONG, payload)
                else:
                    self._unanswered_ping = payload
            events.append(Ping(payload))
        elif opcode == PONG:
            events.append(Pong(payload))
        else:
            self._receive_close(payload, events)

    def _answer_last_ping(self) -> None:
        self._pongs_count = 0
        if self._unanswered_ping is not None:
            self._queue(PONG, self._unanswered_ping)
            self._unanswered_ping = None

    def _receive_close(self, payload: bytes, events: list[Event]) -> None:
        close = read_close(payload)
        self._stop_reading()
        if not self.close_sent:
            self._queue(CLOSE, payload[:2])
            self.close_sent = True
        events.append(close)
        if not self._client:
            self._ended = True
            events.append(ConnectionEnded())

    # Time ------------------------------------------------------------------------------------

    def next_deadline_s(self) -> float | None:
        """The time at which ``receive_data(b"", now_s)`` must be called, if any.

        ``send`` is not told the time; so after ``send(Close(...))`` a deadline is due at once, and that call
        starts the wait for the peer's Close frame.
        """
        if self._ended:
            return None
        if self._held_error is not None:
            return self._last_received_s
        if self.close_sent:
            return self._last_received_s if self._close_deadline_s is None else self._close_deadline_s
        if self._ping_sent_s > self._last_received_s:
            deadline_s: float | None = self._ping_sent_s + self._limits.ping_timeout_s
        else:
            interval_s = self._limits.ping_interval_s
            deadline_s = self._last_received_s + interval_s if interval_s else None
        if self._opcode:
            stalled_s = self._progress_s + self._limits.message_timeout_s
            deadline_s = stalled_s if deadline_s is None else min(deadline_s, stalled_s)
        return deadline_s

    def excuse_silence(self, now_s: float) -> None:
        """Take note that nothing was read until now, so that the peer's silence is not its own."""
        self._last_received_s = self._progress_s = now_s

    def fail(self, error: RemoteProtocolError) -> list[Event]:
        """Fail the connection for a reason of the caller's, as if the peer had broken a rule."""
        events: list[Event] = []
        if not self._ended:
            self._fail(error, events)
        return events

    def _let_time_pass(self, now_s: float, events: list[Event]) -> None:
        deadline_s = self.next_deadline_s()
        if deadline_s is None or now_s < deadline_s:
            return
        if self._held_error is not None:
            self._fail(self._held_error, events)
        elif self.close_sent:
            if self._close_deadline_s is None:
                self._close_deadline_s = now_s + self._limits.close_timeout_s
            else:
                self._end()
                events.append(ConnectionEnded())
        elif self._opcode and now_s >= self._progress_s + self._limits.message_timeout_s:
            self._fail(RemoteProtocolError("the rest of a message does not come", close_code=1008), events)
        elif self._ping_sent_s > self._last_received_s:
            self._fail(RemoteProtocolError("no answer to a ping", close_code=1011), events)
        else:
            self._queue(PING, PING_PAYLOAD)
            self._ping_sent_s = now_s

    # Inside ----------------------------------------------------------------------------------

    def _get_inflater(self) -> Inflater:
        if self._inflater is None:
            self._inflater = Inflater(*window(self._deflate, of_server=self._client))
        return self._inflater

    def _hold_or_fail(self, error: RemoteProtocolError, events: list[Event]) -> None:
        """Fail at once, unless messages of the same read come before: the application can answer those first."""
        if any(isinstance(event, Message) for event in events):
            self._stop_reading()
            self._held_error = detached(error)
        else:
            self._fail(error, events)

    def _fail(self, error: RemoteProtocolError, events: list[Event]) -> None:
        """Fail the connection: tell the peer, take no further input. RFC 6455 section 7.1.7."""
        if not self.close_sent:
            self._queue(CLOSE, encode_close(error.close_code, str(error)))
            self.close_sent = True
        self._held_error = None
        self._end()
        events.append(ProtocolFailed(error))

    def _end(self) -> None:
        self._ended = True
        self._stop_reading()

    def _stop_reading(self) -> None:
        """Take no further input, and give back the memory of an unfinished message."""
        self._reading = self.holds_data = self.holds_large = False
        self._buffer = self._undecoded = b""
        self._message = bytearray()
        self._deflated = b""
        self._opcode = self.unfinished_bytes = 0
        self._max_short = -1
        self._inflater = None

    def _too_big(self) -> RemoteProtocolError:
        most = self._limits.max_message_bytes
        return RemoteProtocolError(f"the message has more than {most} bytes", close_code=1009)


def _cost(event: Event) -> int:
    """Bytes that an event holds in memory."""
    return EVENT_BYTES + (getsizeof(event.data) if type(event) is Message else 0)

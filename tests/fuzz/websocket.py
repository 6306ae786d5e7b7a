"""WebSocket frames and messages, either side, with and without permessage-deflate."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from fullduplex.exceptions import RemoteProtocolError
from fullduplex.limits import WebSocketLimits
from fullduplex.testing.codecs import assert_cut_independent, feed
from fullduplex.wire.codec import Codec
from fullduplex.wire.deflate import DeflateParameters, deflate_alone, max_deflated_bytes
from fullduplex.wire.events import Close, ConnectionEnded, Event, Message, Ping, Pong, ProtocolFailed
from fullduplex.wire.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, encode_frame
from fullduplex.wire.websocket import WebSocketCodec
from tests.fuzz.harness import Harness, retained_bytes
from tests.fuzz.mutation import mutate

LIMITS = WebSocketLimits(max_message_bytes=2000)
CLOSE_CODES = {1002, 1007, 1009}
DEFLATES = (
    None,
    DeflateParameters(),
    DeflateParameters(server_no_context_takeover=False, client_no_context_takeover=False),
    DeflateParameters(server_max_window_bits=9, server_no_context_takeover=False),
)
OPCODES = (TEXT, TEXT, TEXT, BINARY, BINARY, CONTINUATION, CONTINUATION, PING, PONG, CLOSE, 3, 11)
PAYLOADS = (
    *(b"", b"a", b"hello", b"\xc3\xa9", b"\xf0\x9f\x8e\x89", b"\xed\xa0\x80", b"\xc3", b"\xff", b"\xf4\x90\x80\x80"),
    *(b"\x03\xe8", b"\x03\xe8bye", b"\x03\xed", b"\x0f\xa0\xff", b"x" * 125, b"x" * 126, b"y" * 1990, b"z" * 2001),
    *(b"\x00\x00\xff\xff", b"\x03\x00", "grüße ".encode() * 40),
    b"\x00\x00\x00\xff\xff" * 480,  # as deflate data: nothing, at length
)
WORDS = (*PAYLOADS, *(bytes((byte,)) for byte in (0x00, 0x01, 0x7E, 0x7F, 0x80, 0x81, 0xC1, 0xFE, 0xFF)))
MASKS = (b"\0\0\0\0", b"\x12\x34\x56\x78")


class WebSocket(Harness):
    """The first byte of an input says which side reads it, and what was agreed; the rest are frames."""

    name = "websocket"
    share = 25
    vectors = (b"",)
    words = WORDS

    def make(self, random: Random) -> bytes:
        configuration = random.getrandbits(8)
        client, deflate = _configuration(configuration)
        frames = b"".join(_frame(random, client, deflate is not None) for _ in range(random.randrange(1, 7)))
        if random.random() < 0.5:
            frames = mutate(random, (frames,), WORDS)
        return bytes((configuration,)) + frames

    def check(self, data: bytes) -> None:
        codec = _make_codec(data)
        assert_well_formed(feed(codec, [data[1:]], react=echo, eof=True))
        assert retained_bytes([codec._message, codec._buffer, codec._undecoded]) == 0
        assert codec._message_wire_bytes <= max_deflated_bytes(LIMITS.max_message_bytes)

    def check_closely(self, data: bytes) -> None:
        assert_cut_independent(
            lambda: _make_codec(data, quiet=True),
            data[1:],
            react=lambda codec, events: None,
            eof=True,
            random_count=2,
            seed=len(data),
        )
        assert_short_way_is_no_other(data)
        codec = _make_codec(data)
        for start in range(1, len(data), 100):
            codec.receive_data(data[start : start + 100], 0.0)
            assert retained_bytes([codec._message, codec._buffer, codec._undecoded]) <= LIMITS.max_message_bytes + 250


class _Judging(WebSocketCodec):
    """Without what may depend on cuts.

    It does not tell compressed messages that are too big from invalid ones (see :func:`tests.fuzz.deflate.inflate`),
    and sends no pongs: of many pings in one read only some are answered (RFC 6455 section 5.5.3).
    """

    def _queue(self, opcode: int, payload: bytes) -> None:
        if opcode != PONG:
            super()._queue(opcode, payload)

    def _fail(self, error: RemoteProtocolError, events: list[Event]) -> None:
        if self._deflate is not None and error.close_code in (1007, 1009):
            error = RemoteProtocolError("too big or invalid", close_code=1007)
        super()._fail(error, events)


def assert_short_way_is_no_other(data: bytes) -> None:
    """A frame in each read, asked for and answered as a session does, and by way of events alone."""
    short, long = _make_codec(data), _make_codec(data)
    if short._client:
        return  # its masks are random, and it has no short way
    long._max_short = -1
    for number, read in enumerate(_reads(data[1:])):
        now_s = float(number)
        message = short.receive_message(read, now_s)
        if message is None:
            fresh = short.receive_data(read, now_s)
            written = short.data_to_send()
        else:
            fresh = [Message(message)]
            written = b""
        expected = long.receive_data(read, now_s)
        expected_written = long.data_to_send()
        while fresh or expected:
            assert fresh == expected
            for event in fresh:
                if isinstance(event, Message) and not short.close_sent:
                    written += short.encode_message(event.data)
            echo(long, expected)
            assert written == expected_written + long.data_to_send()
            assert (short.buffered_bytes, short.holds_data) == (long.buffered_bytes, long.holds_data)
            assert short.next_deadline_s() == long.next_deadline_s()
            fresh, expected = short.receive_data(b"", now_s), long.receive_data(b"", now_s)
            written, expected_written = short.data_to_send(), long.data_to_send()
    assert short.receive_eof() == long.receive_eof()


def _reads(frames: bytes) -> Iterator[bytes]:
    """As most clients write them: one by one, where their lengths say so. Some are joined, some cut short."""
    random = Random(len(frames))
    read = b""
    while frames:
        second = frames[1] if len(frames) > 1 else 0
        end = 2 + (second & 0x7F) + (4 if second & 0x80 else 0)
        if second & 0x7F == 126:
            end += 2 - 126 + int.from_bytes(frames[2:4], "big")
        read += frames[:end]
        frames = frames[end:]
        if not frames or random.random() < 0.8:
            yield read if random.random() < 0.8 else read[: random.randrange(1, len(read) + 1)]
            read = b""


def echo(codec: Codec, events: list[Event]) -> None:
    for event in events:
        if isinstance(event, Message) and not codec.close_sent:
            codec.send(event)


def _configuration(byte: int) -> tuple[bool, DeflateParameters | None]:
    return byte & 7 == 7, DEFLATES[byte >> 3 & 3]


def _make_codec(data: bytes, *, quiet: bool = False) -> WebSocketCodec:
    """Args: quiet: for comparing runs: no frames of ours with random masks, no judged differences."""
    client, deflate = _configuration(data[0] if data else 0)
    return (_Judging if quiet else WebSocketCodec)(LIMITS, deflate=deflate, client=client and not quiet)


def _frame(random: Random, client: bool, deflate: bool) -> bytes:
    opcode = random.choice(OPCODES)
    payload = random.choice(PAYLOADS)
    if random.random() < 0.3:
        payload = mutate(random, PAYLOADS, WORDS)
    rsv1 = random.random() < (0.5 if deflate and opcode < CLOSE else 0.02)
    if rsv1 and random.random() < 0.9:
        payload = deflate_alone(payload, random.choice((9, 12, 15)))
    elif opcode >= CLOSE:
        payload = payload[:125]
    mask = None if client else random.choice(MASKS)
    if random.random() < 0.02:
        mask = MASKS[0] if mask is None else None
    return encode_frame(opcode, payload, fin=random.random() < 0.7 or opcode >= CLOSE, rsv1=rsv1, mask=mask)


def assert_well_formed(events: list[Event]) -> None:
    """Messages and controls, then one end."""
    for position, event in enumerate(events):
        if isinstance(event, Message):
            size = len(event.data if isinstance(event.data, bytes) else event.data.encode())
            assert size <= LIMITS.max_message_bytes
        elif isinstance(event, Ping | Pong):
            assert len(event.payload) <= 125
        elif isinstance(event, Close):
            assert position == len(events) - 2
        else:
            assert isinstance(event, ProtocolFailed | ConnectionEnded)
            assert position == len(events) - 1
            if isinstance(event, ProtocolFailed):
                assert event.error.close_code in CLOSE_CODES

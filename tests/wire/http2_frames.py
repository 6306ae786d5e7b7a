"""HTTP/2 by hand: frames that no library would write, and what comes back."""

from __future__ import annotations

from typing import NamedTuple

from hpack import Decoder, Encoder

from fullduplex.limits import HTTP2Limits
from fullduplex.wire.events import Event, ProtocolFailed, RequestHead
from fullduplex.wire.http2 import HTTP2Codec
from fullduplex.wire.http2_gate import PREFACE
from fullduplex.wire.http2_library import LIBRARIES, codec_class

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
PRIORITY_UPDATE = 0x10
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITIZED = 0x20

GET = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a"), (b":path", b"/")]
POST = [(b":method", b"POST"), *GET[1:]]
SOCKET = [
    (b":method", b"CONNECT"),
    (b":protocol", b"websocket"),
    *GET[1:],
    (b"sec-websocket-version", b"13"),
]

__all__ = ["LIBRARIES"]


def frame(kind: int, flags: int = 0, stream_id: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream_id.to_bytes(4, "big") + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, payload=b"".join(k.to_bytes(2, "big") + v.to_bytes(4, "big") for k, v in pairs))


def block(fields: list[tuple[bytes, bytes]]) -> bytes:
    """A field block that leaves the dynamic table alone."""
    return bytes(Encoder().encode([(name, value, True) for name, value in fields]))


def headers(fields: list[tuple[bytes, bytes]], stream_id: int = 1, *, end: bool = True) -> bytes:
    return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream_id, block(fields))


def data(payload: bytes, stream_id: int = 1, *, end: bool = False) -> bytes:
    return frame(DATA, END_STREAM if end else 0, stream_id, payload)


def reset(stream_id: int, code: int = 8) -> bytes:
    return frame(RST_STREAM, 0, stream_id, code.to_bytes(4, "big"))


def update(increment: int, stream_id: int = 0) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream_id, increment.to_bytes(4, "big"))


START = PREFACE + settings()


class Frame(NamedTuple):
    kind: int
    flags: int
    stream_id: int
    payload: bytes

    @property
    def code(self) -> int:
        """Of RST_STREAM and GOAWAY."""
        return int.from_bytes(self.payload[4:8] if self.kind == GOAWAY else self.payload[:4], "big")


def frames(output: bytes) -> list[Frame]:
    result = []
    while output:
        size = int.from_bytes(output[:3], "big")
        head, payload, output = output[:9], output[9 : 9 + size], output[9 + size :]
        assert len(payload) == size, "a frame without its end"
        result.append(Frame(head[3], head[4], int.from_bytes(head[5:9], "big") & 0x7FFFFFFF, payload))
    return result


class Peer:
    """A codec, and what a client sees of it."""

    def __init__(self, library: str, limits: HTTP2Limits | None = None, *, start: bytes = START) -> None:
        self.codec: HTTP2Codec = codec_class(library)(limits or HTTP2Limits(), now_s=0.0)
        self.now_s = 0.0
        self.decoder = Decoder()
        if start:
            assert self.feed(start) == []
            self.output()

    def feed(self, *pieces: bytes) -> list[Event]:
        """What the codec makes of it, its output fetched as a connection would."""
        events = []
        for piece in pieces:
            events += self.codec.receive_data(piece, self.now_s)
        return events

    def head(self, fields: list[tuple[bytes, bytes]], stream_id: int = 1, *, end: bool = True) -> RequestHead:
        [event] = self.feed(headers(fields, stream_id, end=end))
        assert isinstance(event, RequestHead), event
        return event

    def output(self, most_bytes: int | None = None) -> list[Frame]:
        return frames(self.codec.data_to_send(most_bytes))

    def fields(self, one: Frame) -> list[tuple[bytes, bytes]]:
        assert one.kind == HEADERS
        return [(bytes(name), bytes(value)) for name, value in self.decoder.decode(one.payload, raw=True)]

    def answer(self) -> tuple[list[tuple[bytes, bytes]], bytes, bool]:
        """Fields, content and whether the end was seen, of all that was sent."""
        fields, content, end = [], b"", False
        for one in self.output():
            if one.kind == HEADERS:
                fields += self.fields(one)
            elif one.kind == DATA:
                content += one.payload
            end = end or (one.kind in (DATA, HEADERS) and bool(one.flags & END_STREAM))
        return fields, content, end

    def resets(self) -> dict[int, int]:
        """Streams that were reset, and why."""
        return {one.stream_id: one.code for one in self.output() if one.kind == RST_STREAM}


def connection_error(peer: Peer, *pieces: bytes) -> int:
    """The code with which the connection ends."""
    events = peer.feed(*pieces)
    failed = [event for event in events if isinstance(event, ProtocolFailed) and not event.stream_id]
    assert len(failed) == 1, events
    assert peer.codec.has_ended
    goaways = [one for one in peer.output() if one.kind == GOAWAY]
    assert goaways, "no GOAWAY"
    assert peer.feed(headers(GET, 99)) == []
    return goaways[-1].code


def stream_error(peer: Peer, *pieces: bytes) -> int:
    """The code with which a stream is reset; the connection goes on."""
    peer.feed(*pieces)
    [end] = [one for one in peer.output() if one.kind in (RST_STREAM, GOAWAY)]
    assert end.kind == RST_STREAM, "GOAWAY"
    peer.head(GET, 99)
    return end.code


def any_error(peer: Peer, *pieces: bytes) -> int:
    """The code with which a stream is reset, or with which the connection ends (RFC 9113 section 5.4.1 allows it)."""
    peer.feed(*pieces)
    [end] = [one for one in peer.output() if one.kind in (RST_STREAM, GOAWAY)]
    return end.code

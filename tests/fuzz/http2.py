"""HTTP/2 connections, over each library: frames in any order, field blocks, and what the answers to them are."""

from __future__ import annotations

from fullduplex.limits import HTTP2Limits
from fullduplex.testing.codecs import cuts, feed, merged
from fullduplex.wire.codec import Codec
from fullduplex.wire.events import (
    ConnectionEnded,
    Data,
    EndOfMessage,
    Event,
    ProtocolFailed,
    RequestHead,
    StreamEnded,
    StreamReset,
)
from fullduplex.wire.grammar import is_field_value, is_token
from fullduplex.wire.http2 import HTTP2Codec
from fullduplex.wire.http2_errors import ErrorCode
from fullduplex.wire.http2_library import codec_class
from fullduplex.wire.http2_state import Response
from tests.fuzz.harness import Harness
from tests.wire.http2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    GET,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    POST,
    PRIORITIZED,
    PRIORITY,
    PRIORITY_UPDATE,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    SOCKET,
    START,
    block,
    data,
    frame,
    frames,
    headers,
    reset,
    settings,
    update,
)

LIMITS = HTTP2Limits(
    max_head_bytes=4096, max_fields_count=12, max_streams_count=4, max_resets_count=8, max_empty_count=8
)

FIELDS: tuple[list[tuple[bytes, bytes]], ...] = (
    [(b"cookie", b"a=b"), (b"cookie", b"c=d")],
    [(b"host", b"a")],
    [(b"host", b"b")],
    [(b"te", b"trailers")],
    [(b"te", b"gzip")],
    [(b"content-length", b"1"), (b"content-length", b"1")],
    [(b"X-Upper", b"y")],
    [(b"x", b"a\r\nb")],
    [(b"", b"empty")],
    [(b"expect", b"100-continue")],
    [(b":path", b"/late")],
    [(b"transfer-encoding", b"chunked")],
)

WORDS = (
    *(headers(GET, stream_id) for stream_id in (1, 3, 5, 7, 9, 11)),
    *(headers(POST, stream_id, end=False) for stream_id in (1, 3, 5, 7, 9)),
    *(headers([*POST, (b"content-length", b"3")], stream_id, end=False) for stream_id in (1, 3, 5)),
    *(headers(SOCKET, stream_id, end=False) for stream_id in (1, 3)),
    *(data(b"abc", stream_id) for stream_id in (0, 1, 3, 5)),
    *(data(b"abc", stream_id, end=True) for stream_id in (1, 3, 5)),
    *(reset(stream_id) for stream_id in (1, 3, 5)),
    *(update(size, stream_id) for size in (0, 1, 100, 2**31 - 1) for stream_id in (0, 1, 3)),
    *(headers([(b"x", b"y")], 1), headers([*GET, (b"connection", b"x")], 3), headers([(b":x", b"y")], 5)),
    *(headers([*GET, *fields], 7) for fields in FIELDS),
    *(frame(HEADERS, 0, 1, block(GET)), frame(CONTINUATION, END_HEADERS, 1), frame(CONTINUATION, 0, 1, b"\x82")),
    *(frame(HEADERS, END_HEADERS | PADDED | PRIORITIZED, 1, b"\x01\0\0\0\0\x01" + block(POST) + b"\0"),),
    *(frame(DATA, PADDED, 1, b"\x02abc\0\0"), frame(DATA, PADDED, 1, b"\xff"), data(b"", 1)),
    *(settings((4, 0)), settings((4, 100)), settings((1, 0)), settings((5, 20_000)), settings((9, 1), (8, 0))),
    *(
        frame(SETTINGS, ACK),
        frame(PING, payload=bytes(8)),
        frame(PING, ACK, payload=bytes(8)),
        frame(PUSH_PROMISE, 4, 1),
    ),
    *(frame(GOAWAY, payload=bytes(8)), frame(PRIORITY, 0, 3, bytes(5)), frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\x01u=1")),
    *(b"\0\0\x04", b"\x82\x86\x84", b"\xff\xff\xff\x7f", b"\x40\x01a\x01b", b"\x20", b"\x3f\xe1\x1f"),
)
VECTORS = (
    START + headers(GET) + headers(GET, 3),
    START + headers(POST, end=False) + data(b"abc") + data(b"def", end=True),
    START + headers(SOCKET, end=False) + data(b"\x81\x80\0\0\0\0"),
    START + headers(POST, end=False) + reset(1) + headers(GET, 3) + frame(PING, payload=bytes(8)),
    START + settings((4, 0)) + headers(GET) + update(3, 1) + update(100_000, 1),
    START + frame(HEADERS, 1, 1, block(GET)[:5]) + frame(CONTINUATION, END_HEADERS, 1, block(GET)[5:]),
)


def answer(codec: Codec, events: list[Event]) -> None:
    """Answer each request when it is complete, and what is refused."""
    assert isinstance(codec, HTTP2Codec)
    for event in events if not codec.has_ended else ():
        if isinstance(event, Data):
            codec.acknowledge(event.stream_id, len(event.data))
        complete = isinstance(event, RequestHead) and (event.end_stream or event.method == "CONNECT")
        refused = isinstance(event, ProtocolFailed) and event.stream_id
        stream = codec._streams.get(getattr(event, "stream_id", 0))
        if stream is None or stream.response is not Response.READY:
            continue
        if complete or refused or isinstance(event, EndOfMessage):
            codec.respond(event.stream_id, 200, [(b"x", b"y")], b"content")  # type: ignore[attr-defined]


class _Silent:
    """A codec without its output."""

    def __init__(self, codec: HTTP2Codec) -> None:
        self.receive_data = codec.receive_data
        self.receive_eof = codec.receive_eof
        self.send = codec.send
        self.next_deadline_s = codec.next_deadline_s

    def data_to_send(self) -> bytes:
        return b""


class HTTP2(Harness):
    library = "ngh2"
    name = "http2_ngh2"
    vectors = VECTORS
    words = WORDS

    def make_codec(self) -> HTTP2Codec:
        return codec_class(self.library)(LIMITS, now_s=0.0)  # type: ignore[call-arg]

    def check(self, data: bytes) -> None:
        codec = self.make_codec()
        open_ids: set[int] = set()
        begun_ids: set[int] = set()
        left_bytes: dict[int, int] = {}
        sent = b""
        for start in range(0, len(data), 40):
            events = codec.receive_data(data[start : start + 40], 0.0)
            answer(codec, events)
            sent += codec.data_to_send()
            self._assert_in_order(events + codec.late_events(), open_ids)
            assert_content(events, left_bytes)
            begun_ids |= open_ids | {event.stream_id for event in events if isinstance(event, RequestHead)}
            assert codec.buffered_bytes < 100_000
        assert_sent(sent, begun_ids)
        assert set(codec._streams) <= open_ids

    def _assert_in_order(self, events: list[Event], open_ids: set[int]) -> None:
        for event in events:
            if isinstance(event, RequestHead) or (isinstance(event, ProtocolFailed) and event.stream_id):
                assert event.stream_id not in open_ids
                open_ids.add(event.stream_id)
            elif isinstance(event, StreamEnded | StreamReset):
                open_ids.remove(event.stream_id)
            elif isinstance(event, Data | EndOfMessage):
                assert event.stream_id in open_ids
            else:
                assert isinstance(event, ProtocolFailed | ConnectionEnded)
            assert len(open_ids) <= LIMITS.max_streams_count

    def check_closely(self, data: bytes) -> None:
        """What each stream means is the same in every cut; acknowledgements and resets may leave at other times.

        Only what is counted depends on the cut: frames behind one that ends a stream count once that is known. So
        where a count ends the connection, in any cut, what came before is as far as the others had come.
        """
        whole: dict[int, list[Event]] | None = None
        for pieces in cuts(data, seed=len(data), random_count=2):
            events = feed(_Silent(self.make_codec()), pieces)
            streams = by_stream(events)
            whole = streams if whole is None else whole
            counted = any(is_count(streams.get(0)) for streams in (streams, whole))
            for stream_id in streams.keys() | whole.keys():
                ours, others = streams.get(stream_id, []), whole.get(stream_id, [])
                if counted:
                    ours, others = in_common(ours, others)
                elif streams.get(0) and whole.get(0):  # the end of all may come before the reset of one
                    ours, others = unreset(ours), unreset(others)
                assert ours == others, f"cut as {pieces!r} stream {stream_id} is {ours!r} and whole {others!r}"


def assert_content(events: list[Event], left_bytes: dict[int, int]) -> None:
    """Nothing is read that may not be: fields of a connection, two Hosts, other content than was announced."""
    for event in events:
        if isinstance(event, RequestHead):
            names = [name for name, _ in event.headers]
            assert names.count(b"host") == 1
            assert not {b"connection", b"upgrade", b"transfer-encoding", b"keep-alive", b"proxy-connection"} & {*names}
            assert all(is_token(name) and name == name.lower() for name in names)
            assert all(is_field_value(value) for _, value in event.headers)
            assert event.target.startswith(b"/") or (event.method, event.target) == ("OPTIONS", b"*")
            lengths = [value for name, value in event.headers if name == b"content-length"]
            if lengths and event.upgrade is None:
                left_bytes[event.stream_id] = int(lengths[0])
                assert len(lengths) == 1
                assert not (event.end_stream and int(lengths[0]))
        elif isinstance(event, Data) and event.stream_id in left_bytes:
            left_bytes[event.stream_id] -= len(event.data)
            assert left_bytes[event.stream_id] >= 0
        elif isinstance(event, EndOfMessage):
            assert not left_bytes.get(event.stream_id)
            assert not any(name.startswith(b":") for name, _ in event.trailers)


def assert_sent(sent: bytes, begun_ids: set[int]) -> None:
    """Browsers repeat what is refused, and leave HTTP/2 for good when it is said to be required."""
    for one in frames(sent):
        if one.kind in (RST_STREAM, GOAWAY):
            assert one.code != ErrorCode.HTTP_1_1_REQUIRED
            assert one.kind == GOAWAY or one.code != ErrorCode.REFUSED_STREAM or one.stream_id not in begun_ids


def by_stream(events: list[Event]) -> dict[int, list[Event]]:
    streams: dict[int, list[Event]] = {}
    for event in events:
        streams.setdefault(getattr(event, "stream_id", 0), []).append(event)
    return {stream_id: kept(merged(those)) for stream_id, those in streams.items()}


def kept(events: list[Event]) -> list[Event]:
    """Without the last content before a reset: nobody is told of it where both come in one read."""
    if len(events) > 1 and isinstance(events[-1], StreamReset) and isinstance(events[-2], Data):
        del events[-2]
    return events


def is_count(events: list[Event] | None) -> bool:
    last = events[-1] if events else None
    return isinstance(last, ProtocolFailed) and getattr(last.error, "error_code", 0) == ErrorCode.ENHANCE_YOUR_CALM


def unreset(events: list[Event]) -> list[Event]:
    return events[:-1] if events and isinstance(events[-1], StreamReset) else events


def in_common(ours: list[Event], others: list[Event]) -> tuple[list[Event], list[Event]]:
    """As far as both have come: content may be cut short, and the end of the connection is another."""
    size = min(len(ours), len(others))
    while size and (isinstance(ours[size - 1], Data | ProtocolFailed) or isinstance(others[size - 1], Data)):
        size -= 1
    return ours[:size], others[:size]


class HTTP2OverH2(HTTP2):
    library = "h2"
    name = "http2_h2"

"""HTTP/1 requests: heads, content and chunks, kept alive and pipelined."""

from __future__ import annotations

from fullduplex.limits import HTTP1Limits
from fullduplex.testing.codecs import assert_cut_independent, feed
from fullduplex.wire.codec import Codec
from fullduplex.wire.events import (
    ConnectionEnded,
    Data,
    EndOfMessage,
    Event,
    PrefaceReceived,
    ProtocolFailed,
    RequestHead,
    ResponseHead,
)
from fullduplex.wire.grammar import is_authority, is_field_value, is_token
from fullduplex.wire.http1 import HTTP1Codec
from tests.fuzz.harness import Harness, retained_bytes
from tests.wire.differences import assert_agrees_with_h11
from tests.wire.vectors import BAD, OK

# Small, so that inputs of some kilobytes go past every one of them.
LIMITS = HTTP1Limits(
    max_head_bytes=1024, max_target_bytes=256, max_fields_count=12, max_drain_bytes=64, max_chunk_line_bytes=64
)
_REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
STATUSES = {400, 414, 417, 431, 501, 505}

WORDS = (
    *(b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\r\r\n", b" ", b"\t", b":", b": ", b",", b";", b"=", b'"', b"\\"),
    *(b"\0", b"\x0b", b"\x7f", b"\xe9", b"/", b"*", b"?", b"#", b"%", b"@", b"[::1]", b"[::g]", b":80", b":99999"),
    *(b"GET", b"HEAD", b"POST", b"OPTIONS", b"CONNECT", b"PRI", b"BREW", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0"),
    *(b"http://b/", b"https://b?c", b"ftp://a/", b"http://u@b/", b"a:443"),
    *(b"Host: a\r\n", b"Host: [::1]:80\r\n", b"Host", b"Connection: close\r\n", b"Connection: keep-alive\r\n"),
    *(b"Content-Length: 3\r\n", b"Content-Length: 0\r\n", b"Content-Length: 300\r\n", b"Content-Length"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding", b"chunked", b"gzip", b"identity"),
    *(b"Expect: 100-continue\r\n", b"Connection: upgrade\r\nUpgrade: websocket\r\n", b"Upgrade", b"X: y\r\n"),
    *(b"3\r\nabc\r\n", b"0\r\n\r\n", b"0\r\nA: b\r\n\r\n", b";x=y", b"ffffffffffffffff", b"10000000000000000"),
    *(b"0", b"1", b"-1", b"+1", b"0x1", b"1_0", b"\xb2", b"00000000"),
)


def answer(codec: Codec, events: list[Event]) -> None:
    """Answer each request when it is complete."""
    for event in events:
        if (isinstance(event, RequestHead) and event.end_stream) or isinstance(event, EndOfMessage):
            codec.send(ResponseHead(204, [], end_stream=True))


def answer_early(codec: Codec, events: list[Event]) -> None:
    """Answer each request before its content."""
    for event in events:
        if isinstance(event, RequestHead):
            codec.send(ResponseHead(204, [], end_stream=True))


class HTTP1(Harness):
    name = "http1"
    share = 41
    vectors = (*(data for data, _ in OK.values()), *(data for data, _, _ in BAD.values()))
    words = WORDS

    def check(self, data: bytes) -> None:
        codec = make_codec()
        react = answer_early if len(data) % 8 == 0 else answer
        assert_well_formed(feed(codec, [data], react=react, eof=True), whole=react is answer)
        assert retained_bytes(codec._input) <= len(data)

    def check_closely(self, data: bytes) -> None:
        assert_cut_independent(make_codec, data, react=answer, eof=True, random_count=2, seed=len(data))
        assert_bounded(data)
        assert_same_behind_responses(data)
        assert_agrees_with_h11(data)


def make_codec() -> HTTP1Codec:
    return HTTP1Codec(LIMITS, now_s=0.0)


def assert_well_formed(events: list[Event], *, whole: bool) -> None:
    """Events come in order, and no field says what it may not say.

    Args:
        events: of one connection.
        whole: requests were answered when they were complete, so that their ends are to be seen.
    """
    inside = False
    for position, event in enumerate(events):
        if isinstance(event, RequestHead):
            assert not (inside and whole)
            assert_head(event)
            inside = not event.end_stream
        elif isinstance(event, Data):
            assert inside
            assert event.data
        elif isinstance(event, EndOfMessage):
            assert inside
            inside = False
        else:
            assert isinstance(event, ProtocolFailed | ConnectionEnded)
            assert position == len(events) - 1
            if isinstance(event, ProtocolFailed):
                assert event.error.status_hint in STATUSES


def assert_head(head: RequestHead) -> None:
    assert is_token(head.method.encode("ascii"))
    assert head.target[:1] == b"/" or (head.target == b"*" and head.method == "OPTIONS")
    assert all(0x21 <= byte <= 0x7E and byte != 0x23 for byte in head.target)
    assert len(head.target) <= LIMITS.max_target_bytes + 1
    assert len(head.headers) <= LIMITS.max_fields_count
    values: dict[bytes, list[bytes]] = {}
    for name, value in head.headers:
        assert is_token(name)
        assert name == name.lower()
        assert is_field_value(value)
        assert value == value.strip(b" \t")
        values.setdefault(name, []).append(value)
    hosts = values.get(b"host", [])
    assert all(map(is_authority, hosts))
    assert len(hosts) == 1 or (not hosts and head.http_version == "1.0")
    assert not (b"content-length" in values and b"transfer-encoding" in values)
    assert len(values.get(b"content-length", [])) <= 1
    assert head.http_version == "1.1" or (b"transfer-encoding" not in values and head.upgrade is None)


def assert_same_behind_responses(data: bytes) -> None:
    """What a connection remembers of earlier requests changes nothing about the next one.

    But for HTTP/2's preface, which is a fault like any other behind a request.
    """
    expected = make_codec().receive_data(data, 0.0)
    if any(isinstance(event, PrefaceReceived) for event in expected):
        return
    codec = make_codec()
    for earlier in (_REQUEST, data, data):
        events = codec.receive_data(earlier, 0.0)
        assert earlier is _REQUEST or events == expected
        answer(codec, events)
        if not events or not codec.keep_alive or not codec.request_complete or codec.holds_data:
            return


def assert_bounded(data: bytes) -> None:
    """However long the input, the codec keeps no more of it than a head, and takes no more when it has that."""
    codec = make_codec()
    for start in range(0, len(data), 100):
        if not codec.wants_data:
            break
        codec.receive_data(data[start : start + 100], 0.0)
        # The input; and the last head, in pieces and as a block.
        assert retained_bytes([codec._input, codec._chunks]) <= LIMITS.max_head_bytes + 200
        assert retained_bytes([codec._heads._fields, codec._heads._block]) <= 4 * LIMITS.max_head_bytes

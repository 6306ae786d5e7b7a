"""RFC 9113 section 8: requests and responses, their fields and their content; over both libraries."""

from __future__ import annotations

import pytest

from fullduplex.exceptions import LocalProtocolError, RemoteProtocolError
from fullduplex.limits import HTTP2Limits
from fullduplex.wire.events import (
    Data,
    EndOfMessage,
    Informational,
    ProtocolFailed,
    RequestHead,
    ResponseHead,
    StreamEnded,
    StreamReset,
)
from fullduplex.wire.http1_writer import DefaultFields
from fullduplex.wire.http2_errors import ErrorCode
from fullduplex.wire.http2_library import LIBRARIES, codec_class
from tests.wire.http2_frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    GET,
    HEADERS,
    PADDED,
    POST,
    RST_STREAM,
    START,
    Peer,
    data,
    frame,
    headers,
    stream_error,
)


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def peer(library: str) -> Peer:
    return Peer(library)


def with_field(name: bytes, value: bytes) -> list[tuple[bytes, bytes]]:
    return [*GET, (name, value)]


def without(name: bytes, fields: list[tuple[bytes, bytes]] = GET) -> list[tuple[bytes, bytes]]:
    return [field for field in fields if field[0] != name]


def replaced(name: bytes, value: bytes) -> list[tuple[bytes, bytes]]:
    return [(name, value) if field[0] == name else field for field in GET]


def refusal(peer: Peer, fields: list[tuple[bytes, bytes]]) -> int:
    """The status with which a request is answered that is in order and cannot be served."""
    [event] = peer.feed(headers(fields))
    assert isinstance(event, ProtocolFailed)
    assert event.stream_id == 1
    assert isinstance(event.error, RemoteProtocolError)
    peer.codec.respond(1, event.error.status_hint, [], b"no")
    assert peer.answer()[1] == b"no"
    return event.error.status_hint


# Requests ----------------------------------------------------------------------------------------


def test_8_1_a_request(peer: Peer) -> None:
    fields = [*GET[:3], (b":path", b"/a%20b?c=d"), (b"user-agent", b"x"), (b"te", b"trailers"), (b"x", b"")]
    assert peer.head(fields) == RequestHead(
        "GET",
        b"/a%20b?c=d",
        [(b"host", b"a"), (b"user-agent", b"x"), (b"te", b"trailers"), (b"x", b"")],
        "2",
        stream_id=1,
    )


def test_8_1_a_request_with_content_and_trailers(peer: Peer) -> None:
    assert not peer.head(POST, end=False).end_stream
    assert peer.feed(data(b"abc") + data(b"def")) == [Data(b"abcdef", False, 1)]
    assert peer.feed(headers([(b"x-sum", b"1")])) == [EndOfMessage([(b"x-sum", b"1")], 1)]


def test_8_1_trailers_have_an_end(peer: Peer) -> None:
    peer.head(POST, end=False)
    assert stream_error(peer, headers([(b"x", b"y")], end=False)) == ErrorCode.PROTOCOL_ERROR


@pytest.mark.parametrize(
    "field", [(b":path", b"/"), (b"content-length", b"3"), (b"te", b"gzip"), (b"X", b"y"), (b"host", b"b")]
)
def test_8_1_fields_that_may_not_be_in_trailers(peer: Peer, field: tuple[bytes, bytes]) -> None:
    peer.head(POST, end=False)
    assert stream_error(peer, headers([field])) == ErrorCode.PROTOCOL_ERROR


def test_8_1_1_content_has_the_length_that_was_announced(library: str) -> None:
    fields = [*POST, (b"content-length", b"3")]
    peer = Peer(library)
    peer.head(fields, end=False)
    assert peer.feed(data(b"abc", end=True)) == [Data(b"abc", False, 1), EndOfMessage([], 1)]
    for wrong in (data(b"abcd"), data(b"ab", end=True), headers([(b"x", b"y")])):
        peer = Peer(library)
        peer.head(fields, end=False)
        assert stream_error(peer, wrong) == ErrorCode.PROTOCOL_ERROR
    assert stream_error(Peer(library), headers(fields)) == ErrorCode.PROTOCOL_ERROR


@pytest.mark.parametrize("length", [b"", b"+3", b"-3", b"3, 3", b"3 ", b"0x3", b"9" * 40])
def test_8_1_1_a_content_length_is_a_number(peer: Peer, length: bytes) -> None:
    request = headers([*POST, (b"content-length", length)], end=False) + data(b"abc", end=True)
    assert stream_error(peer, request) == ErrorCode.PROTOCOL_ERROR


def test_8_1_1_the_content_is_counted_without_its_padding(peer: Peer) -> None:
    peer.head([*POST, (b"content-length", b"4")], end=False)
    padded = frame(DATA, PADDED, 1, b"\x03ab\0\0\0")
    assert peer.feed(padded, data(b"cd", end=True))[-1] == EndOfMessage([], 1)


def test_8_1_1_a_malformed_request_leaves_the_others_alone(peer: Peer) -> None:
    peer.head(GET)
    assert peer.feed(headers(with_field(b"connection", b"close"), 3)) == []
    assert peer.resets() == {3: ErrorCode.PROTOCOL_ERROR}
    peer.codec.respond(1, 200, [], b"fine")
    assert peer.answer()[1] == b"fine"
    assert peer.codec.late_events() == [StreamEnded(1)]
    assert peer.head(GET, 5).stream_id == 5


@pytest.mark.parametrize(
    "field",
    [
        (b"X-Upper", b"y"),
        (b"", b"y"),
        (b"x y", b"z"),
        (b"x\x7f", b"y"),
        (b"x\xff", b"y"),
        (b"x:y", b"z"),
        (b"x", b"a\0b"),
        (b"x", b"a\rb"),
        (b"x", b"a\nb"),
        (b"x", b" a"),
        (b"x", b"a\t"),
        (b"x", b"a\x7fb"),
    ],
)
def test_8_2_1_names_and_values_that_may_not_be(peer: Peer, field: tuple[bytes, bytes]) -> None:
    assert stream_error(peer, headers(with_field(*field))) == ErrorCode.PROTOCOL_ERROR


@pytest.mark.parametrize(
    "field",
    [
        (b"connection", b"close"),
        (b"proxy-connection", b"x"),
        (b"keep-alive", b"5"),
        (b"transfer-encoding", b"chunked"),
        (b"upgrade", b"h2c"),
        (b"te", b"gzip"),
        (b"te", b"trailers, gzip"),
    ],
)
def test_8_2_2_fields_of_a_connection_are_malformed(peer: Peer, field: tuple[bytes, bytes]) -> None:
    assert stream_error(peer, headers(with_field(*field))) == ErrorCode.PROTOCOL_ERROR


def test_8_2_3_crumbs_of_cookies_are_joined(peer: Peer) -> None:
    fields = [*GET, (b"cookie", b"a=b"), (b"x", b"y"), (b"cookie", b"c=d"), (b"cookie", b"e=f; g=h")]
    assert peer.head(fields).headers == [(b"host", b"a"), (b"x", b"y"), (b"cookie", b"a=b; c=d; e=f; g=h")]


@pytest.mark.parametrize(
    "fields",
    [
        [*GET, (b":unknown", b"x")],
        [*GET, (b":status", b"200")],
        [*GET, (b":path", b"/")],
        [*GET, (b":method", b"GET")],
        [(b"x", b"y"), *GET],
        [(b"cookie", b"y"), *GET],
        without(b":method"),
        without(b":scheme"),
        without(b":path"),
        without(b":authority"),
        replaced(b":path", b""),
        replaced(b":path", b"x"),
        replaced(b":path", b"*"),
        replaced(b":path", b"/\xe9"),
        replaced(b":path", b"/a b"),
        replaced(b":path", b"/#a"),
        replaced(b":path", b"http://a/"),
        replaced(b":scheme", b"ftp"),
        replaced(b":method", b""),
        replaced(b":method", b"G T"),
        replaced(b":authority", b""),
        replaced(b":authority", b"user@a"),
        replaced(b":authority", b"a:99999"),
        replaced(b":authority", b"a/b"),
        [*GET, (b"host", b"b")],
        [*GET, (b"host", b"a"), (b"host", b"a")],
        [*GET, (b":protocol", b"websocket")],
    ],
)
def test_8_3_1_pseudo_fields_that_may_not_be(peer: Peer, fields: list[tuple[bytes, bytes]]) -> None:
    assert stream_error(peer, headers(fields)) == ErrorCode.PROTOCOL_ERROR


def test_8_3_1_host_stands_in_for_the_authority(peer: Peer) -> None:
    assert peer.head([*without(b":authority"), (b"host", b"b:80")]).headers == [(b"host", b"b:80")]
    assert peer.head([*GET, (b"host", b"A")], 3).headers == [(b"host", b"A")]


def test_8_3_1_the_asterisk_is_of_options(peer: Peer) -> None:
    fields = [(b":method", b"OPTIONS"), (b":scheme", b"http"), (b":authority", b"a"), (b":path", b"*")]
    assert peer.head(fields).target == b"*"


def test_8_5_connect_is_not_implemented(library: str) -> None:
    assert refusal(Peer(library), [(b":method", b"CONNECT"), (b":authority", b"a:443")]) == 501
    fields = [(b":method", b"CONNECT"), (b":authority", b"a:443"), (b":path", b"/")]
    assert stream_error(Peer(library), headers(fields)) == ErrorCode.PROTOCOL_ERROR


@pytest.mark.parametrize("protocol", [[], [(b":protocol", b"connect-udp"), *GET[1:2], *GET[3:]]])
def test_8_5_a_refusal_of_connect_ends_although_the_request_has_not(
    peer: Peer, protocol: list[tuple[bytes, bytes]]
) -> None:
    """Such a client sends nothing, and no end, before it knows (RFC 9110 section 9.3.6)."""
    fields = [(b":method", b"CONNECT"), *protocol, (b":authority", b"a:443")]
    [event] = peer.feed(headers(fields, end=False))
    assert isinstance(event, ProtocolFailed)
    peer.codec.respond(1, 501, [], b"no")
    assert peer.answer()[1:] == (b"no", True)
    assert peer.codec.receive_data(b"", 1.0) == []
    assert peer.codec.next_deadline_s() == 11.0
    peer.codec.receive_data(b"", 11.0)
    assert peer.resets() == {1: ErrorCode.NO_ERROR}
    assert peer.codec.late_events() == [StreamEnded(1)]


def test_requests_that_are_in_order_and_too_much(library: str) -> None:
    limits = HTTP2Limits(max_head_bytes=4096, max_target_bytes=100, max_fields_count=20)
    assert refusal(Peer(library, limits), replaced(b":path", b"/" * 101)) == 414
    assert refusal(Peer(library, limits), with_field(b"x", b"y" * 4096)) == 431
    assert refusal(Peer(library, limits), [*GET, *((b"x%d" % n, b"") for n in range(20))]) == 431
    assert refusal(Peer(library, limits), with_field(b"expect", b"something")) == 417
    assert refusal(Peer(library, limits), [*GET, (b"content-type", b"a/b"), (b"content-type", b"c/d")]) == 400
    peer = Peer(library, limits)
    assert peer.head([*GET, *((b"cookie", b"a") for _ in range(30))]).headers[1][0] == b"cookie"


def test_expect_continue_is_told(library: str) -> None:
    fields = [*POST, (b"expect", b"100-continue")]
    peer = Peer(library)
    assert peer.head(fields, end=False).expect_continue
    peer.codec.send(Informational(100, [], 1))
    [sent] = peer.output()
    assert peer.fields(sent) == [(b":status", b"100")]
    assert not Peer(library).head(fields).expect_continue


def test_known_fields_are_judged_each_time_anew(library: str) -> None:
    peer = Peer(library)
    for stream_id in (1, 3, 5):
        assert peer.head([*GET, (b"x", b"y")], stream_id).headers == [(b"host", b"a"), (b"x", b"y")]
    heads = [peer.head(GET, stream_id) for stream_id in (7, 9)]
    heads[0].headers.clear()  # an application's own affair
    assert peer.head(GET, 11).headers == heads[1].headers == [(b"host", b"a")]


# Responses ---------------------------------------------------------------------------------------


def test_8_1_a_response(library: str) -> None:
    defaults = DefaultFields()
    defaults.set([(b"date", b"today"), (b"server", b"us")])
    peer = Peer(library)
    peer.codec = codec_class(library)(HTTP2Limits(), now_s=0.0, defaults=defaults)
    peer.feed(START)
    peer.output()
    peer.head(GET)
    peer.codec.respond(1, 200, [(b"Content-Type", b"text/plain"), (b"Server", b"me")], b"hello")
    fields, content, end = peer.answer()
    assert (content, end) == (b"hello", True)
    assert fields == [
        (b":status", b"200"),
        (b"content-type", b"text/plain"),
        (b"server", b"me"),
        (b"date", b"today"),
        (b"content-length", b"5"),
    ]
    assert peer.codec.late_events() == [StreamEnded(1)]


def test_8_1_a_response_in_parts_with_trailers(peer: Peer) -> None:
    peer.head(GET)
    codec = peer.codec
    codec.send(Informational(103, [(b"Link", b"</x>")], 1))
    codec.send(ResponseHead(200, [], stream_id=1))
    codec.send(Data(b"ab", False, 1))
    assert [one.kind for one in peer.output()] == [HEADERS, HEADERS, DATA]
    codec.send(Data(b"cd", False, 1))
    codec.send(EndOfMessage([(b"X-Sum", b"1"), (b"transfer-encoding", b"chunked")], 1))
    first, last = peer.output()
    assert (first.payload, first.flags, last.flags) == (b"cd", 0, 5)
    assert codec.late_events() == [StreamEnded(1)]


def test_8_2_2_fields_of_a_connection_are_left_out(peer: Peer) -> None:
    peer.head(GET)
    names = [b"Connection", b"keep-alive", b"Transfer-Encoding", b"Upgrade", b"proxy-connection"]
    peer.codec.respond(1, 200, [(name, b"x") for name in names], b"")
    assert peer.answer() == ([(b":status", b"200"), (b"content-length", b"0")], b"", True)


@pytest.mark.parametrize(
    "field", [(b"x y", b"z"), (b"", b"z"), (b":status", b"204"), (b"x", b"a\r\nb: c"), (b"x", b"\0")]
)
def test_8_2_1_fields_that_cannot_be_sent(peer: Peer, field: tuple[bytes, bytes]) -> None:
    peer.head(GET)
    with pytest.raises(LocalProtocolError):
        peer.codec.respond(1, 200, [field], b"")
    with pytest.raises(LocalProtocolError):
        peer.codec.send(ResponseHead(200, [field], stream_id=1))
    peer.codec.respond(1, 500, [], b"")
    assert peer.answer()[0][0] == (b":status", b"500")


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"GET", 204), (b"GET", 304), (b"GET", 205)])
def test_responses_without_content(peer: Peer, method: bytes, status: int) -> None:
    peer.head(replaced(b":method", method))
    peer.codec.respond(1, status, [(b"content-length", b"5")], b"hello")
    fields, content, end = peer.answer()
    assert (content, end) == (b"", True)
    length = {204: [], 205: [(b"content-length", b"0")]}.get(status, [(b"content-length", b"5")])
    assert fields == [(b":status", b"%d" % status), *length]


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"GET", 204), (b"GET", 304)])
def test_8_1_a_response_without_content_ends_with_its_head(peer: Peer, method: bytes, status: int) -> None:
    peer.head(replaced(b":method", method))
    peer.codec.respond(1, status, [], b"hello")
    [sent] = peer.output()
    assert (sent.kind, sent.flags) == (HEADERS, END_HEADERS | END_STREAM)
    assert peer.codec.late_events() == [StreamEnded(1)]


def test_content_matches_the_content_length(peer: Peer) -> None:
    peer.head(GET)
    codec = peer.codec
    with pytest.raises(LocalProtocolError):
        codec.respond(1, 200, [(b"content-length", b"5")], b"four")
    codec.send(ResponseHead(200, [(b"content-length", b"5")], stream_id=1))
    with pytest.raises(LocalProtocolError):
        codec.send(Data(b"too long", False, 1))
    codec.send(Data(b"four", False, 1))
    with pytest.raises(LocalProtocolError):
        codec.send(Data(b"", True, 1))
    with pytest.raises(LocalProtocolError):
        codec.send(EndOfMessage([], 1))
    assert not peer.answer()[2]
    codec.reset(1, ErrorCode.INTERNAL_ERROR)
    assert peer.resets() == {1: ErrorCode.INTERNAL_ERROR}


def test_events_at_the_wrong_time(peer: Peer) -> None:
    codec = peer.codec
    with pytest.raises(LocalProtocolError):
        codec.respond(1, 200, [], b"")
    peer.head(GET)
    with pytest.raises(LocalProtocolError):
        codec.send(Data(b"x", False, 1))
    with pytest.raises(LocalProtocolError):
        codec.send(ResponseHead(101, [], stream_id=1))
    codec.send(ResponseHead(200, [], stream_id=1))
    with pytest.raises(LocalProtocolError):
        codec.send(ResponseHead(200, [], stream_id=1))
    with pytest.raises(LocalProtocolError):
        codec.send(Informational(103, [], 1))
    codec.send(Data(b"", True, 1))
    with pytest.raises(LocalProtocolError):
        codec.send(Data(b"", True, 1))


# Early responses ---------------------------------------------------------------------------------


def test_8_1_an_early_response_ends_when_its_request_has(peer: Peer) -> None:
    peer.head(POST, end=False)
    peer.codec.respond(1, 200, [], b"early")
    assert peer.answer()[1:] == (b"earl", False)
    assert peer.feed(data(b"x" * 100)) == []
    assert peer.answer()[1:] == (b"", False)
    events = peer.feed(data(b"", end=True))
    assert peer.answer()[1:] == (b"y", True)
    assert events + peer.codec.late_events() == [StreamEnded(1)]


def test_8_1_what_is_discarded_is_credited(library: str) -> None:
    peer = Peer(library, HTTP2Limits(window_bytes=65_535))
    peer.head(POST, end=False)
    peer.codec.respond(1, 200, [], b"early")
    credit = 0
    for _ in range(20):
        peer.feed(data(bytes(16_384)))
        credit += sum(int.from_bytes(one.payload, "big") for one in peer.output() if one.kind == 8 and one.stream_id)
    assert credit > 20 * 16_384 - 65_535


@pytest.mark.parametrize("reason", ["bytes", "time"])
def test_8_1_a_request_that_goes_on_for_too_long_is_reset_without_an_error(library: str, reason: str) -> None:
    peer = Peer(library, HTTP2Limits(max_drain_bytes=1000, drain_timeout_s=5))
    peer.head(POST, end=False)
    peer.codec.respond(1, 200, [], b"early")
    assert peer.answer()[2] is False
    if reason == "bytes":
        peer.feed(data(b"x" * 1001))
    else:
        peer.codec.receive_data(b"", 1.0)
        assert peer.codec.next_deadline_s() == 6.0
        assert peer.output() == []
        peer.codec.receive_data(b"", 6.0)
    end, last = [one for one in peer.output() if one.kind in (DATA, RST_STREAM)]
    assert (end.kind, end.flags) == (DATA, 1)
    assert (last.kind, last.code) == (RST_STREAM, ErrorCode.NO_ERROR)
    assert peer.codec.late_events() == [StreamEnded(1)]
    assert peer.feed(data(b"x" * 10)) == []


def test_an_end_of_input_resets_requests_without_ends(peer: Peer) -> None:
    peer.head(GET)
    peer.head(POST, 3, end=False)
    assert peer.codec.receive_eof() == [StreamReset(ErrorCode.CANCEL, 3)]
    peer.codec.respond(1, 200, [], b"there")
    assert peer.answer()[1] == b"there"


@pytest.mark.parametrize(("status", "first"), [(200, b"earl"), (413, b"early")])
def test_the_last_byte_of_an_early_response_waits_unless_it_refuses(library: str, status: int, first: bytes) -> None:
    """Who has all that was announced may read no more, not even the credit for its own content; curl does so."""
    for fields in ([], [(b"content-length", b"5")]):
        peer = Peer(library)
        peer.head(POST, end=False)
        peer.codec.send(ResponseHead(status, fields, stream_id=1))
        peer.codec.send(Data(b"early", not fields, 1))
        assert peer.answer()[1:] == (first, False)
        if fields:
            peer.codec.send(Data(b"", True, 1))
        peer.feed(data(b"x" * 100, end=True))
        assert peer.answer()[1:] == (b"early"[len(first) :], True)


def test_the_last_byte_goes_before_the_trailers(peer: Peer) -> None:
    peer.head(POST, end=False)
    peer.codec.send(ResponseHead(200, [(b"content-length", b"5")], stream_id=1))
    peer.codec.send(Data(b"early", False, 1))
    peer.codec.send(EndOfMessage([(b"x-sum", b"1")], 1))
    assert peer.answer()[1:] == (b"earl", False)
    peer.feed(data(b"", end=True))
    fields, content, end = peer.answer()
    assert (fields, content, end) == ([(b"x-sum", b"1")], b"y", True)

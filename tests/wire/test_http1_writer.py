"""Responses: framing, persistence, what is dropped, and what is an error."""

from __future__ import annotations

from typing import Any

import pytest

from fullduplex.exceptions import LocalProtocolError
from fullduplex.limits import HTTP1Limits
from fullduplex.wire import http1_writer
from fullduplex.wire.events import Data, EndOfMessage, Event, Fields, Informational, Ping, ResponseHead
from fullduplex.wire.http1 import HTTP1Codec
from fullduplex.wire.http1_writer import DefaultFields

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
GET_10 = b"GET / HTTP/1.0\r\n\r\n"
GET_10_KEEP = b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"
GET_CLOSE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
FIVE: Fields = [(b"content-length", b"5")]


def after(request: bytes) -> HTTP1Codec:
    codec = HTTP1Codec(HTTP1Limits(), now_s=0.0)
    codec.receive_data(request, 0.0)
    return codec


def written(codec: HTTP1Codec, *events: Event, at_once: bool = True) -> bytes:
    output = b""
    for event in events:
        codec.send(event)
        if not at_once:
            output += codec.data_to_send()
    return output + codec.data_to_send()


def lines(*parts: bytes) -> bytes:
    return b"".join(part + b"\r\n" for part in parts) + b"\r\n"


# Framing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [True, False])
def test_length_of_the_application(at_once: bool) -> None:
    codec = after(GET)
    output = written(codec, ResponseHead(200, [*FIVE, (b"a", b"b")]), Data(b"he"), Data(b"llo", True), at_once=at_once)
    assert output == lines(b"HTTP/1.1 200 OK", b"a: b", b"content-length: 5") + b"hello"
    assert codec.keep_alive


def test_whole_content_gets_a_length() -> None:
    assert written(after(GET), ResponseHead(200, []), Data(b"hello", True)) == (
        lines(b"HTTP/1.1 200 OK", b"content-length: 5") + b"hello"
    )
    assert written(after(GET), ResponseHead(200, []), Data(b""), Data(b"hello", True)) == (
        lines(b"HTTP/1.1 200 OK", b"content-length: 5") + b"hello"
    )
    assert written(after(GET_10_KEEP), ResponseHead(200, []), Data(b"hello", True)) == (
        lines(b"HTTP/1.1 200 OK", b"content-length: 5", b"connection: keep-alive") + b"hello"
    )
    assert written(after(GET), ResponseHead(404, []), EndOfMessage()) == (
        lines(b"HTTP/1.1 404 Not Found", b"content-length: 0")
    )
    assert written(after(GET), ResponseHead(404, [], end_stream=True)) == (
        lines(b"HTTP/1.1 404 Not Found", b"content-length: 0")
    )


def test_stream_is_chunked() -> None:
    codec = after(GET)
    output = written(codec, ResponseHead(200, []), Data(b"he"), Data(b""), Data(b"l" * 17), Data(b"o", True))
    assert output == (
        lines(b"HTTP/1.1 200 OK", b"transfer-encoding: chunked")
        + b"2\r\nhe\r\n11\r\n"
        + b"l" * 17
        + b"\r\n1\r\no\r\n0\r\n\r\n"
    )
    assert codec.keep_alive


def test_head_alone_goes_out_when_it_is_fetched() -> None:
    codec = after(GET)
    assert written(codec, ResponseHead(200, [])) == lines(b"HTTP/1.1 200 OK", b"transfer-encoding: chunked")
    assert written(codec, Data(b"")) == b""
    assert written(codec, Data(b"", end_stream=True)) == b"0\r\n\r\n"


def test_stream_to_http10_ends_with_the_connection() -> None:
    codec = after(GET_10_KEEP)
    output = written(codec, ResponseHead(200, []), Data(b"he"), Data(b"llo"), EndOfMessage([(b"a", b"b")]))
    assert output == lines(b"HTTP/1.1 200 OK", b"connection: close") + b"hello"
    assert not codec.keep_alive


def test_transfer_encoding_is_ours() -> None:
    fields = [(b"Transfer-Encoding", b"chunked"), (b"keep-alive", b"timeout=5"), (b"Proxy-Connection", b"keep-alive")]
    assert written(after(GET), ResponseHead(200, [*fields, *FIVE]), Data(b"hello", True)) == (
        lines(b"HTTP/1.1 200 OK", b"content-length: 5") + b"hello"
    )


@pytest.mark.parametrize(
    ("request_head", "status", "given", "kept"),
    [
        (HEAD, 200, FIVE, [b"content-length: 5"]),
        (HEAD, 200, [], []),
        (GET, 304, FIVE, [b"content-length: 5"]),
        (GET, 304, [], []),
        (GET, 204, FIVE, []),
        (GET, 205, FIVE, [b"content-length: 0"]),
    ],
)
@pytest.mark.parametrize("content", [b"hello", b"more than five bytes", b""])
def test_no_content(request_head: bytes, status: int, given: Fields, kept: list[bytes], content: bytes) -> None:
    codec = after(request_head)
    status_line = written(after(GET), ResponseHead(status, []), EndOfMessage()).split(b"\r\n")[0]
    assert written(codec, ResponseHead(status, given), Data(content), Data(content), EndOfMessage()) == (
        lines(status_line, *kept)
    )
    assert codec.keep_alive


def test_trailers() -> None:
    codec = after(GET)
    output = written(codec, ResponseHead(200, []), Data(b"a"), EndOfMessage([(b"x-sum", b"1"), (b"connection", b"x")]))
    assert output.endswith(b"1\r\na\r\n0\r\nx-sum: 1\r\n\r\n")
    output = written(after(GET), ResponseHead(200, []), EndOfMessage([(b"x-sum", b"1")]))
    assert output == lines(b"HTTP/1.1 200 OK", b"transfer-encoding: chunked") + b"0\r\nx-sum: 1\r\n\r\n"
    output = written(after(GET), ResponseHead(200, FIVE), Data(b"hello"), EndOfMessage([(b"x-sum", b"1")]))
    assert output.endswith(b"\r\n\r\nhello")


def test_status_without_a_name() -> None:
    assert written(after(GET), ResponseHead(299, FIVE), Data(b"hello")).startswith(b"HTTP/1.1 299 \r\n")


# Persistence ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_head", "fields", "connection"),
    [
        (GET, [], []),
        (GET, [(b"Connection", b"keep-alive")], []),
        (GET, [(b"Connection", b"x, Close")], [b"connection: close"]),
        (GET_CLOSE, [], [b"connection: close"]),
        (GET_CLOSE, [(b"connection", b"keep-alive")], [b"connection: close"]),
        (GET_10, [], [b"connection: close"]),
        (GET_10_KEEP, [], [b"connection: keep-alive"]),
        (GET_10_KEEP, [(b"connection", b"close")], [b"connection: close"]),
    ],
)
def test_connection(request_head: bytes, fields: Fields, connection: list[bytes]) -> None:
    codec = after(request_head)
    output = written(codec, ResponseHead(200, fields, end_stream=True))
    assert output == lines(b"HTTP/1.1 200 OK", b"content-length: 0", *connection)
    assert codec.keep_alive is (b"connection: close" not in connection)


@pytest.mark.parametrize("time", ["first", "second"])  # lines are remembered: not this one, which means more
def test_upgrade_required(time: str) -> None:
    output = written(after(GET), ResponseHead(426, [(b"upgrade", b"websocket")], end_stream=True))
    assert output == (
        lines(b"HTTP/1.1 426 Upgrade Required", b"upgrade: websocket", b"connection: upgrade", b"content-length: 0")
    )


# Informational -------------------------------------------------------------------------------


def test_early_hints() -> None:
    codec = after(GET)
    hints = Informational(103, [(b"link", b"</a.css>; rel=preload"), (b"content-length", b"5")])
    assert written(codec, hints, hints) == 2 * lines(b"HTTP/1.1 103 Early Hints", b"link: </a.css>; rel=preload")
    codec.send(ResponseHead(200, [], end_stream=True))
    assert written(after(GET_10), hints) == b""


def test_no_100_unasked() -> None:
    assert written(after(GET), Informational(100, [])) == b""


# Errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "field",
    [
        (b"a", b"b\r\nc: d"),
        (b"a", b"b\nc: d"),
        (b"a", b"b\rc"),
        (b"a", b"b\0"),
        (b"a\r\nb", b"c"),
        (b"a b", b"c"),
        (b"a:", b"c"),
        (b"", b"c"),
        (b"\xe9", b"c"),
        (b"upgrade", b"a\r\nb: c"),
        (b"content-length", b"5\r\nb: c"),
        (b"content-length", b"-1"),
        (b"content-length", b""),
        ("a", b"b"),
        (b"a", "b"),
        (b"a", None),
        (b"a", b"b", b"c"),
        b"a",
    ],
)
def test_invalid_field_changes_nothing(field: Any) -> None:
    codec = after(GET)
    is_ours = field[0] in (b"content-length", b"upgrade")  # read in a response head, dropped elsewhere
    events: list[Event] = [ResponseHead(200, [field]), ResponseHead(200, [(b"x", b"y"), field])]
    if not is_ours:
        events.append(Informational(103, [field]))
    for event in events:
        with pytest.raises(LocalProtocolError):
            codec.send(event)
        assert codec.data_to_send() == b""
    if not is_ours:
        codec.send(ResponseHead(200, []))
        codec.send(Data(b"a"))
        codec.data_to_send()
        with pytest.raises(LocalProtocolError):
            codec.send(EndOfMessage([field]))
        assert written(codec, EndOfMessage()) == b"0\r\n\r\n"


def test_two_lengths_that_differ() -> None:
    codec = after(GET)
    with pytest.raises(LocalProtocolError):
        codec.send(ResponseHead(200, [*FIVE, (b"content-length", b"6")]))
    codec.send(ResponseHead(200, [*FIVE, *FIVE]))


@pytest.mark.parametrize("status", [0, 99, 100, 199, 1000, -1])
def test_invalid_status(status: int) -> None:
    codec = after(GET)
    with pytest.raises(LocalProtocolError):
        codec.send(ResponseHead(status, []))
    codec.send(ResponseHead(200, []))


def test_more_content_than_the_length() -> None:
    codec = after(GET)
    head = written(codec, ResponseHead(200, FIVE), Data(b"hell"))
    with pytest.raises(LocalProtocolError):
        codec.send(Data(b"oo"))
    assert written(codec, Data(b"o", True)) == b"o"
    assert head.endswith(b"hell")


@pytest.mark.parametrize("end", [EndOfMessage(), Data(b"o", end_stream=True)])
def test_less_content_than_the_length(end: Event) -> None:
    codec = after(GET)
    written(codec, ResponseHead(200, FIVE), Data(b"hel"))
    with pytest.raises(LocalProtocolError):
        codec.send(end)
    assert codec.data_to_send() == b""
    assert not codec.keep_alive


def test_a_complete_head_with_a_length_of_content_that_never_comes() -> None:
    codec = after(GET)
    with pytest.raises(LocalProtocolError):
        codec.send(ResponseHead(200, FIVE, end_stream=True))
    assert codec.data_to_send() == b""
    codec.send(ResponseHead(500, [], end_stream=True))


@pytest.mark.parametrize("data", ["text", None, 5])
@pytest.mark.parametrize("end_stream", [False, True])
def test_content_is_bytes(data: bytes, end_stream: bool) -> None:
    codec = after(GET)
    codec.send(ResponseHead(200, []))
    with pytest.raises(LocalProtocolError):
        codec.send(Data(data, end_stream))
    mutable: Any = bytearray(b"hello")
    assert written(codec, Data(mutable, True)).endswith(b"content-length: 5\r\n\r\nhello")


def test_order() -> None:
    idle = HTTP1Codec(HTTP1Limits(), now_s=0.0)
    ready = after(GET)
    done = after(GET)
    written(done, ResponseHead(200, [], end_stream=True))
    started = after(GET)
    written(started, ResponseHead(200, []))
    wrong: list[tuple[HTTP1Codec, list[Event]]] = [
        (idle, [ResponseHead(200, []), Data(b""), EndOfMessage(), Informational(103, [])]),
        (ready, [Data(b""), EndOfMessage(), Informational(200, []), Ping()]),
        (started, [ResponseHead(200, []), Informational(103, [])]),
        (done, [ResponseHead(200, []), Data(b""), EndOfMessage(), Informational(103, [])]),
    ]
    for codec, events in wrong:
        for event in events:
            with pytest.raises(LocalProtocolError):
                codec.send(event)
            assert codec.data_to_send() == b""


DEFAULTS = DefaultFields()
DEFAULTS.set([(b"date", b"now"), (b"server", b"ours")])


@pytest.mark.parametrize("given", [[], [(b"Date", b"then")], [(b"server", b"mine"), (b"date", b"then")]])
def test_default_fields_stand_where_the_application_has_none(given: Fields) -> None:
    names = {name.lower() for name, _ in given}
    expected = [b"%b: %b" % field for field in given]
    expected += [line for name, line in ((b"date", b"date: now"), (b"server", b"server: ours")) if name not in names]
    head = lines(b"HTTP/1.1 200 OK", b"a: b", *expected, b"content-length: 5")
    headers: Fields = [(b"a", b"b"), *given]
    for _ in range(2):  # the second time what can be remembered is
        codec = HTTP1Codec(HTTP1Limits(), now_s=0.0, defaults=DEFAULTS)
        codec.receive_data(GET, 0.0)
        assert written(codec, ResponseHead(200, headers), Data(b"hello", True)) == head + b"hello"
        codec.receive_data(GET, 0.0)
        assert codec.encode_response(200, headers, b"hello") == head + b"hello"


def test_default_fields_are_renewed_for_all() -> None:
    defaults = DefaultFields()
    codecs = [HTTP1Codec(HTTP1Limits(), now_s=0.0, defaults=defaults) for _ in range(2)]
    for number in b"12":
        defaults.set([(b"date", b"%d" % number)])
        for codec in codecs:
            codec.receive_data(GET, 0.0)
            assert b"\r\ndate: %d\r\n" % number in codec.encode_response(200, [], b"")


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"a", b"b"), (b"content-length", b"5")],
        [[b"a", b"b"], [b"content-length", b"5"]],
        [(b"content-length", b"5"), (b"connection", b"close")],
        [(b"transfer-encoding", b"chunked")],
    ],
)
@pytest.mark.parametrize("request_bytes", [GET, HEAD, GET_10, GET_10_KEEP, GET_CLOSE])
@pytest.mark.parametrize("status", [200, 204, 404])
def test_a_whole_response_is_its_parts(status: int, request_bytes: bytes, headers: Any) -> None:
    for _ in range(2):
        parts, whole = after(request_bytes), after(request_bytes)
        expected = written(parts, ResponseHead(status, headers), Data(b"hello", True))
        assert whole.encode_response(status, headers, b"hello") == expected
        assert whole.keep_alive is parts.keep_alive


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (99, []),
        (100, []),
        (101, []),
        (1000, []),
        (200, [(b"content-length", b"4")]),
        (200, [(b"content-length", b"6")]),
        (200, [(b"content-length", b"5"), (b"content-length", b"6")]),
        (200, [(b"a", b"b\r\nc: d")]),
        (200, [(b"a b", b"c")]),
    ],
)
def test_a_whole_response_obeys_the_same_rules(status: int, headers: Fields) -> None:
    with pytest.raises(LocalProtocolError):
        after(GET).encode_response(status, headers, b"hello")


def test_made_up_names_do_not_fill_the_memory() -> None:
    before = dict(http1_writer._known_names)
    try:
        for number in range(2000):
            written(after(GET), ResponseHead(200, [(b"x-%d" % number, b"")]))
        written(after(GET), ResponseHead(200, [(b"x" * 10_000, b"")]))
        assert len(http1_writer._known_names) <= 1024
        assert max(map(len, http1_writer._known_names)) <= 64
    finally:
        http1_writer._known_names.clear()
        http1_writer._known_names.update(before)


@pytest.mark.parametrize("name", [b"set-cookie", b"Set-Cookie", b"Location", b"ETag"])
def test_values_that_hardly_come_again_are_not_remembered(name: bytes) -> None:
    written(after(GET), ResponseHead(200, [(name, b"secret"), (b"x-frame-options", b"DENY")]), Data(b"", True))
    assert (b"x-frame-options", b"DENY") in http1_writer._known_lines
    assert (name, b"secret") not in http1_writer._known_lines

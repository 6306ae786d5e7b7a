"""The HTTP/1 codec: vectors in every cut, pipelining, deadlines, limits, and when a connection ends."""

from __future__ import annotations

from typing import Any

import pytest

from fullduplex.exceptions import LocalProtocolError, RemoteProtocolError
from fullduplex.limits import HTTP1Limits
from fullduplex.testing.codecs import assert_cut_independent, feed
from fullduplex.wire.codec import Codec
from fullduplex.wire.events import (
    ConnectionEnded,
    Data,
    EndOfMessage,
    Event,
    Fields,
    Informational,
    ProtocolFailed,
    RequestHead,
    ResponseHead,
)
from fullduplex.wire.http1 import HTTP1Codec
from fullduplex.wire.http1_head import RequestFraming
from tests.wire import vectors
from tests.wire.vectors import CHUNKED, GET, POST, H

REQUEST = GET + H + b"\r\n"


def codec(**limits: Any) -> HTTP1Codec:
    return HTTP1Codec(HTTP1Limits(**limits), now_s=0.0)


def answer(codec: Codec, events: list[Event]) -> None:
    """Answer each request when it is complete."""
    for event in events:
        if (isinstance(event, RequestHead) and event.end_stream) or isinstance(event, EndOfMessage):
            codec.send(ResponseHead(204, [], end_stream=True))


def requests(events: list[Event]) -> list[vectors.Request]:
    found: list[vectors.Request] = []
    for event in events:
        if isinstance(event, RequestHead):
            found.append((event.method, event.target, b""))
        elif isinstance(event, Data):
            method, target, content = found[-1]
            found[-1] = method, target, content + event.data
    return found


def failure(events: list[Event]) -> RemoteProtocolError:
    [failed] = [event for event in events if isinstance(event, ProtocolFailed)]
    assert events[-1] is failed
    assert isinstance(failed.error, RemoteProtocolError)
    return failed.error


@pytest.mark.parametrize("name", vectors.OK)
def test_valid_input(name: str) -> None:
    data, expected = vectors.OK[name]
    events = assert_cut_independent(codec, data, react=answer)
    assert requests(events) == expected
    assert not any(isinstance(event, ProtocolFailed) for event in events)


@pytest.mark.parametrize("name", vectors.BAD)
def test_invalid_input(name: str) -> None:
    data, status, good_count = vectors.BAD[name]
    events = assert_cut_independent(codec, data, react=answer)
    assert failure(events).status_hint == status
    assert sum(isinstance(event, RequestHead) for event in events) == good_count


@pytest.mark.parametrize("name", vectors.BAD)
def test_the_failure_can_be_told_and_ends_the_connection(name: str) -> None:
    data, status, _ = vectors.BAD[name]
    failed = codec()
    feed(failed, [data], react=answer)
    failed.data_to_send()
    assert not failed.wants_data
    assert not failed.keep_alive
    failed.send(ResponseHead(status, [(b"content-length", b"0")], end_stream=True))
    assert failed.data_to_send().endswith(b"content-length: 0\r\nconnection: close\r\n\r\n")
    assert failed.receive_data(REQUEST, 1.0) == []
    assert failed.next_deadline_s() is None


def test_every_byte_at_every_place_is_cut_independent() -> None:
    good = GET + H + b"X-A: b\r\n\r\n"
    for place in range(len(good)):
        for byte in (0, 9, 10, 13, 32, 35, 58, 127, 233):
            for rest in (good[place:], good[place + 1 :]):
                assert_cut_independent(codec, good[:place] + bytes([byte]) + rest, random_count=2, seed=byte)


# The head ------------------------------------------------------------------------------------


def test_head_in_full() -> None:
    [head] = codec().receive_data(
        b"GET /a?b HTTP/1.1\r\nHOST: a:80\r\nX-Empty:\r\nX-A:\t b \t c\t \r\nX-A: d\r\nX-L: \r\n\r\n",
        0.0,
    )
    assert head == RequestHead(
        "GET",
        b"/a?b",
        [(b"host", b"a:80"), (b"x-empty", b""), (b"x-a", b"b \t c"), (b"x-a", b"d"), (b"x-l", b"")],
    )


def test_authority_of_an_absolute_form_replaces_host() -> None:
    [head] = codec().receive_data(b"GET http://b:81/c HTTP/1.1\r\nA: 1\r\nHost: a\r\n\r\n", 0.0)
    assert isinstance(head, RequestHead)
    assert head.headers == [(b"host", b"b:81"), (b"a", b"1")]


def test_repeated_fields_are_remembered_with_their_version() -> None:
    repeated = b"\r\nHost: a\r\nConnection: x\r\n\r\n"
    data = b"GET / HTTP/1.1" + repeated + b"POST /b HTTP/1.1" + repeated + b"GET / HTTP/1.0" + repeated
    events = assert_cut_independent(codec, data, react=answer)
    assert requests(events) == [("GET", b"/", b""), ("POST", b"/b", b""), ("GET", b"/", b"")]
    last = codec()
    feed(last, [data], react=answer)
    assert not last.keep_alive


def test_a_request_may_follow_its_response_at_once() -> None:
    poll = codec(max_head_bytes=60)
    for data, expected in [
        (REQUEST, ("GET", b"/")),
        (REQUEST, ("GET", b"/")),
        (b"\r\n" + REQUEST, ("GET", b"/")),
        (REQUEST.replace(b"GET /", b"HEAD /a"), ("HEAD", b"/a")),
        (REQUEST.replace(b"GET /", b"GET http://b/"), ("GET", b"/")),
        (REQUEST, ("GET", b"/")),
        (GET + b"Host: other\r\n\r\n", ("GET", b"/")),
    ]:
        [head] = poll.receive_data(data, 0.0)
        assert isinstance(head, RequestHead)
        assert (head.method, head.target) == expected
        poll.send(ResponseHead(204, [], end_stream=True))
    assert failure(poll.receive_data(REQUEST.replace(b"/", b"/" * 60, 1), 0.0)).status_hint == 431


def test_no_request_line_is_no_repetition_of_one() -> None:
    assert failure(assert_cut_independent(codec, b"\r\n\r\n\r\n")).status_hint == 400
    twice = codec()
    twice.receive_data(REQUEST, 0.0)
    twice.send(ResponseHead(204, [], end_stream=True))
    assert failure(twice.receive_data(b"\r\n\r\n" + H + b"\r\n", 0.0)).status_hint == 400


def test_what_fields_mean_is_remembered_only_for_the_same_fields_and_version() -> None:
    large = b"X: " + b"x" * 4000 + b"\r\n"
    mixed = codec()
    for number, (line, fields, length) in enumerate(
        [
            (b"POST / HTTP/1.1", H + b"Content-Length: 3\r\n", 3),
            (b"POST / HTTP/1.1", H + b"Content-Length: 3\r\n", 3),
            (b"POST / HTTP/1.1", H + b"Content-Length: 4\r\n" + large, 4),
            (b"POST / HTTP/1.1", H, 0),
            (b"POST / HTTP/1.1", H + large, 0),
            (b"POST / HTTP/1.1", H + b"Content-Length: 3\r\n", 3),
            (b"POST / HTTP/1.0", H + b"Connection: keep-alive\r\n", 0),
            (b"POST / HTTP/1.0", b"", 0),
        ]
    ):
        assert mixed.keep_alive
        head, *content = mixed.receive_data(b"%b\r\n%bN: %d\r\n\r\n" % (line, fields, number) + b"x" * length, 0.0)
        assert isinstance(head, RequestHead)
        assert content == ([Data(b"x" * length), EndOfMessage()] if length else [])
        mixed.send(ResponseHead(204, [], end_stream=True))
    assert not mixed.keep_alive
    assert failure(codec().receive_data(b"GET / HTTP/1.1\r\nN: 1\r\n\r\n", 0.0)).status_hint == 400


@pytest.mark.parametrize("size", [100, 4000])
def test_repeated_content(size: int) -> None:
    one = POST + b"X: " + b"x" * size + b"\r\nContent-Length: 3\r\n\r\nabc"
    events = assert_cut_independent(codec, one * 3, react=answer, random_count=3)
    assert requests(events) == [("POST", b"/", b"abc")] * 3


def test_each_head_has_its_own_list_of_headers() -> None:
    heads = feed(codec(), [REQUEST * 2], react=answer)
    assert [head.headers for head in heads if isinstance(head, RequestHead)] == [[(b"host", b"a")]] * 2
    assert heads[0].headers is not heads[1].headers  # type: ignore[attr-defined]


def test_trailers() -> None:
    events = assert_cut_independent(codec, CHUNKED + b"1\r\na\r\n0\r\nX-Sum: 1 \r\nx-b:\r\n\r\n")
    assert events[1:] == [Data(b"a"), EndOfMessage([(b"x-sum", b"1"), (b"x-b", b"")])]


@pytest.mark.parametrize("content", [b"", b"Content-Length: 0\r\n"])
def test_nothing_to_continue(content: bytes) -> None:
    [head] = codec().receive_data(POST + b"Expect: 100-continue\r\n" + content + b"\r\n", 0.0)
    assert isinstance(head, RequestHead)
    assert not head.expect_continue


def test_upgrade_is_asked_for_by_both_fields() -> None:
    def upgrade(lines: bytes) -> bytes | None:
        [head] = codec().receive_data(GET + H + lines + b"\r\n", 0.0)
        assert isinstance(head, RequestHead)
        return head.upgrade

    assert upgrade(b"Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n") == b"websocket"
    assert upgrade(b"Connection: upgrade\r\nUpgrade: a/1\r\nUpgrade: B\r\n") == b"a/1, b"
    assert upgrade(b"Upgrade: websocket\r\n") is None
    assert upgrade(b"Connection: upgrade\r\n") is None


@pytest.mark.parametrize(
    ("http_version", "fields", "status"),
    [
        ("1.1", [(b"content-length", b"1"), (b"transfer-encoding", b"chunked")], 400),
        ("1.1", [(b"content-length", b"1"), (b"content-length", b"1")], 400),
        ("1.1", [(b"content-length", b"-1")], 400),
        ("1.1", [(b"transfer-encoding", b"gzip")], 400),
        ("1.1", [(b"transfer-encoding", b"gzip"), (b"transfer-encoding", b"chunked")], 501),
        ("1.0", [(b"transfer-encoding", b"chunked")], 400),
        ("1.1", [(b"expect", b"")], 417),
    ],
)
def test_framing_does_not_rely_on_llhttp(http_version: str, fields: Fields, status: int) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        RequestFraming(http_version, [(b"host", b"a"), *fields])
    assert caught.value.status_hint == status


# Limits --------------------------------------------------------------------------------------


def test_longest_head_is_taken_and_one_byte_more_is_not() -> None:
    room = 1000 - len(GET + H + b"X: \r\n\r\n")
    fits = GET + H + b"X: " + b"a" * room + b"\r\n\r\n"
    too_large = GET + H + b"X: " + b"a" * (room + 1) + b"\r\n\r\n"
    [head] = assert_cut_independent(lambda: codec(max_head_bytes=1000), fits)
    assert isinstance(head, RequestHead)
    assert failure(assert_cut_independent(lambda: codec(max_head_bytes=1000), too_large)).status_hint == 431


@pytest.mark.parametrize("start", [b"", b"GET ", GET, GET + H + b"X: "])
def test_head_without_end_is_not_buffered(start: bytes) -> None:
    endless = codec(max_head_bytes=1000)
    data = start + b"a" * 2000
    for place in range(len(data)):
        if events := endless.receive_data(data[place : place + 1], 0.0):
            assert failure(events).status_hint == 431
            assert place == 1000
            return
    raise AssertionError("never refused")


def test_longest_target_is_taken_and_one_byte_more_is_not() -> None:
    def line(count: int) -> bytes:
        return b"GET /" + b"a" * (count - 1) + b" HTTP/1.1\r\n" + H + b"\r\n"

    [head] = assert_cut_independent(lambda: codec(max_target_bytes=100), line(100))
    assert isinstance(head, RequestHead)
    assert failure(assert_cut_independent(lambda: codec(max_target_bytes=100), line(101))).status_hint == 414
    endless = assert_cut_independent(lambda: codec(max_target_bytes=100), b"GET /" + b"a" * 200)
    assert failure(endless).status_hint == 414


def test_count_of_fields() -> None:
    def head(count: int) -> bytes:
        return GET + H + b"X: y\r\n" * (count - 1) + b"\r\n"

    [event] = assert_cut_independent(lambda: codec(max_fields_count=5), head(5))
    assert isinstance(event, RequestHead)
    assert failure(assert_cut_independent(lambda: codec(max_fields_count=5), head(6))).status_hint == 431


def test_trailers_are_limited() -> None:
    many = CHUNKED + b"0\r\n" + b"X: y\r\n" * 6 + b"\r\n"
    assert failure(assert_cut_independent(lambda: codec(max_fields_count=5), many)).status_hint == 431
    endless = CHUNKED + b"0\r\nX: " + b"a" * 1000
    assert failure(assert_cut_independent(lambda: codec(max_head_bytes=500), endless)).status_hint == 431


def test_chunk_extensions_are_limited_in_all() -> None:
    chunk = b"1;" + b"e" * 200 + b"\r\na\r\n"
    events = feed(codec(max_head_bytes=1000), [CHUNKED + chunk * 5])
    assert failure(events).status_hint == 400
    assert requests(events) == [("POST", b"/", b"aaaa")]


@pytest.mark.parametrize(("faulty", "status"), [(b"a" * 900 + b"\0" + b"a" * 200, 400), (b"a" * 1100 + b"\0", 431)])
def test_the_first_fault_counts(faulty: bytes, status: int) -> None:
    data = GET + H + b"X: " + faulty + b"\r\n\r\n"
    assert failure(assert_cut_independent(lambda: codec(max_head_bytes=1000), data)).status_hint == status


# Pipelining ----------------------------------------------------------------------------------


def test_the_next_request_waits_for_the_response() -> None:
    pipeline = codec()
    assert len(pipeline.receive_data(REQUEST * 3, 0.0)) == 1
    for _ in range(2):
        assert pipeline.receive_data(b"", 0.0) == []
        assert not pipeline.wants_data
        pipeline.send(ResponseHead(200, [], end_stream=True))
        assert pipeline.keep_alive
        assert len(pipeline.receive_data(b"", 0.0)) == 1
    assert pipeline.wants_data


def test_held_back_input_is_bounded() -> None:
    held = codec(max_head_bytes=1000)
    held.receive_data(REQUEST, 0.0)
    held.receive_data(b"GET / HTTP/1.1\r\nX: " + b"a" * 500, 0.0)
    assert held.wants_data
    held.receive_data(b"a" * 500, 0.0)
    assert not held.wants_data


def test_content_is_handed_out_while_the_request_is_answered() -> None:
    upload = codec()
    [_] = upload.receive_data(POST + b"Content-Length: 4\r\n\r\n", 0.0)
    upload.send(ResponseHead(200, [(b"content-length", b"2")]))
    assert upload.receive_data(b"ab", 0.0) == [Data(b"ab")]
    assert not upload.request_complete
    upload.send(Data(b"x"))
    assert upload.receive_data(b"cd" + REQUEST, 0.0) == [Data(b"cd"), EndOfMessage()]
    assert upload.request_complete
    upload.send(Data(b"y", end_stream=True))
    assert len(upload.receive_data(b"", 0.0)) == 1


# Early responses -----------------------------------------------------------------------------


def test_a_small_rest_of_content_is_discarded() -> None:
    for head, rest in (
        (POST + b"Content-Length: 10\r\n\r\n", b"0123456789"),
        (CHUNKED, b"a\r\n0123456789\r\n0\r\n\r\n"),
    ):
        early = codec(max_drain_bytes=10)
        early.receive_data(head, 0.0)
        early.send(ResponseHead(200, [], end_stream=True))
        assert early.keep_alive
        assert early.receive_data(b"", 1.0) == []
        assert early.next_deadline_s() == 6.0
        assert early.receive_data(rest[:4], 2.0) == []
        assert early.next_deadline_s() == 6.0
        [following] = early.receive_data(rest[4:] + REQUEST, 3.0)
        assert isinstance(following, RequestHead)


def test_a_large_rest_of_content_ends_the_connection() -> None:
    early = codec(max_drain_bytes=10)
    early.receive_data(POST + b"Content-Length: 11\r\n\r\n", 0.0)
    early.send(ResponseHead(200, [], end_stream=True))
    assert not early.keep_alive
    assert not early.request_complete
    assert early.receive_data(b"0123456789a" + REQUEST, 0.0) == []
    assert not early.wants_data

    early = codec(max_drain_bytes=10)
    early.receive_data(CHUNKED, 0.0)
    early.send(ResponseHead(200, [], end_stream=True))
    assert early.receive_data(b"b\r\n0123456789a\r\n", 0.0) == [ConnectionEnded()]


def test_discarding_has_a_deadline_and_bad_content_ends_it() -> None:
    for data, now_s in ((b"", 5.0), (b"nonsense\r\n", 1.0)):
        early = codec()
        early.receive_data(CHUNKED, 0.0)
        early.send(ResponseHead(200, [], end_stream=True))
        assert early.receive_data(b"", 0.0) == []
        assert early.receive_data(data, now_s) == [ConnectionEnded()]


def test_a_client_that_waits_for_100_and_gets_a_response_may_send_content_or_not() -> None:
    refused = codec()
    refused.receive_data(POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n", 0.0)
    refused.send(ResponseHead(403, [], end_stream=True))
    assert b"connection: close\r\n" in refused.data_to_send()
    assert not refused.keep_alive


def test_100_continue() -> None:
    upload = codec()
    [head] = upload.receive_data(POST + b"Expect: 100-Continue\r\nContent-Length: 3\r\n\r\n", 0.0)
    assert isinstance(head, RequestHead)
    assert head.expect_continue
    upload.send(Informational(100, []))
    assert upload.data_to_send() == b"HTTP/1.1 100 Continue\r\n\r\n"
    upload.send(Informational(100, []))
    assert upload.data_to_send() == b""
    assert upload.receive_data(b"abc", 0.0) == [Data(b"abc"), EndOfMessage()]
    upload.send(ResponseHead(200, [], end_stream=True))
    assert upload.keep_alive


# End of input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [b"G", GET + H, POST + b"Content-Length: 3\r\n\r\nab", CHUNKED, CHUNKED + b"1\r\na\r\n", CHUNKED + b"0\r\n"],
)
def test_end_inside_a_request(data: bytes) -> None:
    assert failure(assert_cut_independent(codec, data, eof=True)).status_hint == 400


@pytest.mark.parametrize("data", [b"", b"\r\n", REQUEST, REQUEST * 2])
def test_end_between_requests(data: bytes) -> None:
    events = assert_cut_independent(codec, data, eof=True, react=answer)
    assert events[-1] == ConnectionEnded()


def test_end_while_a_request_is_answered() -> None:
    half = codec()
    half.receive_data(REQUEST * 2, 0.0)
    assert half.receive_eof() == []
    half.send(ResponseHead(200, [], end_stream=True))
    assert half.keep_alive
    assert len(half.receive_data(b"", 0.0)) == 1
    half.send(ResponseHead(200, [], end_stream=True))
    assert not half.keep_alive
    assert half.receive_data(b"", 0.0) == [ConnectionEnded()]
    assert half.receive_data(b"", 0.0) == []


def test_end_behind_a_response() -> None:
    idle = codec()
    idle.receive_data(REQUEST, 0.0)
    idle.send(ResponseHead(200, [], end_stream=True))
    assert idle.receive_eof() == [ConnectionEnded()]
    waiting = codec()
    waiting.receive_data(REQUEST * 2, 0.0)
    waiting.send(ResponseHead(200, [], end_stream=True))
    assert waiting.receive_eof() == []
    assert len(waiting.receive_data(b"", 0.0)) == 1, "the next request came whole before the end"


# Upgrade -------------------------------------------------------------------------------------

UPGRADE = GET + H + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"


@pytest.mark.parametrize("kind", [Informational, ResponseHead])
def test_accepted_upgrade(kind: type[Informational] | type[ResponseHead]) -> None:
    socket = codec()
    [_] = socket.receive_data(UPGRADE + b"\x81\x80", 0.0)
    socket.send(kind(101, [(b"upgrade", b"websocket"), (b"connection", b"Upgrade"), (b"x", b"y")]))
    assert socket.data_to_send() == (
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nx: y\r\n\r\n"
    )
    assert not socket.keep_alive
    assert socket.receive_data(b"\0\0", 0.0) == []
    assert socket.trailing_data() == b"\x81\x80\0\0"
    assert socket.trailing_data() == b""
    assert socket.next_deadline_s() is None


def test_101_needs_a_complete_request_that_asks_for_it() -> None:
    for data in (REQUEST, UPGRADE.replace(b"1.1", b"1.0"), UPGRADE[:-2] + b"Content-Length: 1\r\n\r\n"):
        plain = codec()
        plain.receive_data(data, 0.0)
        with pytest.raises(LocalProtocolError):
            plain.send(ResponseHead(101, [(b"upgrade", b"websocket")]))
        assert plain.data_to_send() == b""
        plain.send(ResponseHead(400, [], end_stream=True))


def test_101_names_the_protocol() -> None:
    socket = codec()
    socket.receive_data(UPGRADE, 0.0)
    with pytest.raises(LocalProtocolError):
        socket.send(ResponseHead(101, []))
    socket.send(ResponseHead(101, [(b"upgrade", b"websocket")]))


# Deadlines -----------------------------------------------------------------------------------


def test_first_byte() -> None:
    silent = codec(first_byte_timeout_s=15.0)
    assert silent.next_deadline_s() == 15.0
    assert silent.receive_data(b"\r\n", 14.0) == []  # no head yet: it buys no time
    assert silent.next_deadline_s() == 15.0
    assert silent.receive_data(b"", 15.0) == [ConnectionEnded()]
    assert silent.next_deadline_s() is None


def test_head() -> None:
    slow = codec(first_byte_timeout_s=15.0, head_timeout_s=10.0)
    slow.receive_data(b"G", 14.0)
    assert slow.next_deadline_s() == 24.0
    assert slow.receive_data(b"ET / ", 23.0) == []
    assert slow.next_deadline_s() == 24.0
    assert failure(slow.receive_data(b"H", 24.0)).status_hint == 408


def test_keepalive() -> None:
    idle = codec(keepalive_timeout_s=5.0)
    idle.receive_data(REQUEST, 0.0)
    assert idle.next_deadline_s() is None
    idle.send(ResponseHead(200, [], end_stream=True))
    assert idle.receive_data(b"", 100.0) == []
    assert idle.next_deadline_s() == 105.0
    assert len(idle.receive_data(REQUEST, 104.0)) == 1
    assert idle.next_deadline_s() is None
    idle.send(ResponseHead(200, [], end_stream=True))
    idle.receive_data(b"", 200.0)
    assert idle.receive_data(b"", 205.0) == [ConnectionEnded()]


def test_a_held_back_part_of_a_head_has_its_deadline_from_the_end_of_the_response() -> None:
    slow = codec(head_timeout_s=10.0)
    slow.receive_data(REQUEST + b"GET", 0.0)
    assert slow.next_deadline_s() is None
    slow.send(ResponseHead(200, [], end_stream=True))
    assert slow.receive_data(b"", 100.0) == []
    assert slow.next_deadline_s() == 110.0


def test_no_deadline_while_content_arrives() -> None:
    upload = codec()
    upload.receive_data(POST + b"Content-Length: 3\r\n\r\na", 0.0)
    assert upload.next_deadline_s() is None

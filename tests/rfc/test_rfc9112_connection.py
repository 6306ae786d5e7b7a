"""RFC 9112 section 9: connections, with what RFC 9110 says about 100, 101 and 103."""

from __future__ import annotations

import pytest

from fullduplex.exceptions import LocalProtocolError
from fullduplex.limits import HTTP1Limits
from fullduplex.wire.events import Data, Informational, RequestHead, ResponseHead
from fullduplex.wire.http1 import HTTP1Codec

GET = b"GET / HTTP/1.1\r\nHost: a\r\n"


def answered(request: bytes, *, status: int = 200) -> tuple[HTTP1Codec, bytes]:
    codec = HTTP1Codec(HTTP1Limits(), now_s=0.0)
    codec.receive_data(request, 0.0)
    codec.send(ResponseHead(status, [], end_stream=True))
    return codec, codec.data_to_send()


@pytest.mark.parametrize(
    ("request_head", "persists"),
    [
        (GET + b"\r\n", True),
        (GET + b"Connection: close\r\n\r\n", False),
        (GET + b"Connection: keep-alive, CLOSE\r\n\r\n", False),
        (GET + b"Connection: keep-alive\r\nConnection: close\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", True),
    ],
)
def test_9_3_persistence(request_head: bytes, persists: bool) -> None:
    codec, output = answered(request_head)
    assert codec.keep_alive is persists
    assert (b"connection: close\r\n" in output) is not persists


def test_9_3_2_responses_are_in_the_order_of_the_requests() -> None:
    codec = HTTP1Codec(HTTP1Limits(), now_s=0.0)
    targets = []
    events = codec.receive_data(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(3)), 0.0)
    while events:
        [head] = events
        assert isinstance(head, RequestHead)
        targets.append(head.target)
        codec.send(ResponseHead(200, [], end_stream=True))
        events = codec.receive_data(b"", 0.0)
    assert targets == [b"/0", b"/1", b"/2"]


def test_9_6_nothing_is_taken_after_close() -> None:
    codec, _ = answered(GET + b"Connection: close\r\n\r\n" + GET + b"\r\n")
    assert codec.receive_data(b"", 0.0) == []


def test_rfc9110_7_8_upgrade_over_http10_is_ignored() -> None:
    codec = HTTP1Codec(HTTP1Limits(), now_s=0.0)
    [head] = codec.receive_data(b"GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", 0.0)
    assert isinstance(head, RequestHead)
    assert head.upgrade is None
    with pytest.raises(LocalProtocolError):
        codec.send(ResponseHead(101, [(b"upgrade", b"websocket")]))


def test_rfc9110_7_8_a_server_may_ignore_upgrade() -> None:
    codec, output = answered(GET + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n" + GET + b"\r\n")
    assert output.startswith(b"HTTP/1.1 200 OK\r\n")
    [following] = codec.receive_data(b"", 0.0)
    assert isinstance(following, RequestHead)


def test_rfc9110_10_1_1_an_http10_client_cannot_wait_for_100() -> None:
    codec = HTTP1Codec(HTTP1Limits(), now_s=0.0)
    [head] = codec.receive_data(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", 0.0)
    assert isinstance(head, RequestHead)
    assert not head.expect_continue
    codec.send(Informational(100, []))
    assert codec.data_to_send() == b""


def test_rfc9110_10_1_1_100_is_left_out_when_the_content_is_here() -> None:
    codec = HTTP1Codec(HTTP1Limits(), now_s=0.0)
    codec.receive_data(GET + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\nx", 0.0)
    codec.send(Informational(100, []))
    assert codec.data_to_send() == b""


def test_rfc9110_15_2_no_1xx_after_the_final_response_began() -> None:
    codec = HTTP1Codec(HTTP1Limits(), now_s=0.0)
    codec.receive_data(GET + b"\r\n", 0.0)
    codec.send(ResponseHead(200, []))
    codec.send(Data(b"x"))
    with pytest.raises(LocalProtocolError):
        codec.send(Informational(103, []))

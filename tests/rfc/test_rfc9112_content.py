"""RFC 9112 sections 6 to 8: content, its length, chunks, incomplete messages."""

from __future__ import annotations

import pytest

from fullduplex.exceptions import RemoteProtocolError
from fullduplex.limits import HTTP1Limits
from fullduplex.wire.events import Data, EndOfMessage, Event, ProtocolFailed, RequestHead, ResponseHead
from fullduplex.wire.http1 import HTTP1Codec

POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


def received(data: bytes) -> list[Event]:
    return HTTP1Codec(HTTP1Limits(), now_s=0.0).receive_data(data, 0.0)


def status(data: bytes) -> int:
    event = received(data)[-1]
    assert isinstance(event, ProtocolFailed), event
    assert isinstance(event.error, RemoteProtocolError)
    return event.error.status_hint


def answered(request: bytes, response: ResponseHead) -> bytes:
    codec = HTTP1Codec(HTTP1Limits(), now_s=0.0)
    codec.receive_data(request, 0.0)
    codec.send(response)
    return codec.data_to_send()


def test_6_1_an_unknown_transfer_coding_is_501() -> None:
    assert status(POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n") == 501


def test_6_1_chunked_is_never_applied_twice() -> None:
    assert status(POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n") == 400


def test_6_1_transfer_encoding_in_http10_is_faulty_framing() -> None:
    assert status(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n") == 400


def test_6_1_no_transfer_encoding_to_http10_nor_with_204() -> None:
    assert b"transfer-encoding" not in answered(b"GET / HTTP/1.0\r\n\r\n", ResponseHead(200, []))
    assert b"transfer-encoding" not in answered(POST + b"\r\n", ResponseHead(204, []))


def test_6_2_no_content_length_beside_transfer_encoding() -> None:
    output = answered(
        POST + b"\r\n", ResponseHead(200, [(b"transfer-encoding", b"chunked"), (b"content-length", b"5")])
    )
    assert output == b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"


def test_6_3_1_responses_without_content() -> None:
    head_request = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
    codec = HTTP1Codec(HTTP1Limits(), now_s=0.0)
    codec.receive_data(head_request, 0.0)
    codec.send(ResponseHead(200, [(b"content-length", b"5")]))
    codec.send(Data(b"hello", end_stream=True))
    assert codec.data_to_send().endswith(b"\r\n\r\n")


def test_6_3_3_both_transfer_encoding_and_content_length_are_400_and_the_end() -> None:
    smuggled = b"GET /admin HTTP/1.1\r\nHost: a\r\n\r\n"
    codec = HTTP1Codec(HTTP1Limits(), now_s=0.0)
    data = POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled
    [failed] = codec.receive_data(data, 0.0)
    assert isinstance(failed, ProtocolFailed)
    codec.send(ResponseHead(400, [], end_stream=True))
    assert b"connection: close\r\n" in codec.data_to_send()
    assert codec.receive_data(b"", 0.0) == []


def test_6_3_4_chunked_must_be_the_last_coding() -> None:
    assert status(POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n") == 400
    assert status(POST + b"Transfer-Encoding: gzip\r\n\r\n") == 400


@pytest.mark.parametrize("value", [b"-1", b"+1", b"0x1", b"1 1", b"1,1", b"1, 2", b"", b"1e3", b"\xb2"])
def test_6_3_5_an_invalid_content_length_is_400(value: bytes) -> None:
    assert status(POST + b"Content-Length: " + value + b"\r\n\r\n") == 400


def test_6_3_6_content_length_is_the_length_of_the_content() -> None:
    assert received(POST + b"Content-Length: 3\r\n\r\nabc")[1:] == [Data(b"abc"), EndOfMessage()]


def test_6_3_7_a_request_without_length_has_no_content() -> None:
    [head] = received(POST + b"\r\n")
    assert isinstance(head, RequestHead)
    assert head.end_stream


def test_6_3_8_a_response_without_length_to_http10_ends_with_the_connection() -> None:
    output = answered(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", ResponseHead(200, []))
    assert output == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"


@pytest.mark.parametrize(
    "chunk", [b"g\r\n", b"-1\r\n", b"1\na\r\n", b"1 \r\na\r\n", b"1\r\nab\r\n", b"1\r\na\n", b"1\r\na\rX", b"\r\n"]
)
def test_7_1_invalid_chunks_are_400(chunk: bytes) -> None:
    assert status(CHUNKED + chunk) == 400


def test_7_1_a_chunk_size_is_hexadecimal_in_either_case() -> None:
    data = CHUNKED + b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n"
    assert received(data)[1:] == [Data(b"0123456789" * 2), EndOfMessage()]


def test_7_1_1_unknown_chunk_extensions_are_ignored_and_limited() -> None:
    assert received(CHUNKED + b'1;a=b;c="d;\\"e"\r\nx\r\n0;f\r\n\r\n')[1:] == [Data(b"x"), EndOfMessage()]
    assert status(CHUNKED + b"1;" + b"a" * 1000) == 400


def test_7_1_2_trailers_are_kept_apart_from_the_headers() -> None:
    head, end = received(CHUNKED + b"0\r\nX-Sum: 1\r\n\r\n")
    assert isinstance(head, RequestHead)
    assert (b"x-sum", b"1") not in head.headers
    assert end == EndOfMessage([(b"x-sum", b"1")])


@pytest.mark.parametrize(
    "part", [b"Content-Length: 3\r\n\r\nab", b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", b""]
)
def test_8_an_incomplete_request_is_an_error(part: bytes) -> None:
    codec = HTTP1Codec(HTTP1Limits(), now_s=0.0)
    codec.receive_data(POST + part, 0.0)
    [failed] = codec.receive_eof()
    assert isinstance(failed, ProtocolFailed)

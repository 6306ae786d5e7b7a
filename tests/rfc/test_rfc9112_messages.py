"""RFC 9112 sections 2 to 5: messages, request lines, targets and fields."""

from __future__ import annotations

import pytest

from fullduplex.exceptions import RemoteProtocolError
from fullduplex.limits import HTTP1Limits
from fullduplex.wire.events import Event, ProtocolFailed, RequestHead, ResponseHead
from fullduplex.wire.http1 import HTTP1Codec


def received(data: bytes) -> list[Event]:
    return HTTP1Codec(HTTP1Limits(), now_s=0.0).receive_data(data, 0.0)


def head(data: bytes) -> RequestHead:
    [event] = received(data)
    assert isinstance(event, RequestHead), event
    return event


def status(data: bytes) -> int:
    [event] = received(data)
    assert isinstance(event, ProtocolFailed), event
    assert isinstance(event.error, RemoteProtocolError)
    return event.error.status_hint


def test_2_2_one_empty_line_before_a_request_is_ignored() -> None:
    assert head(b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").target == b"/"


def test_2_2_bare_lf_is_no_line_end() -> None:
    assert status(b"GET / HTTP/1.1\nHost: a\n\n") == 400
    assert status(b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n") == 400


def test_2_2_bare_cr_is_invalid() -> None:
    assert status(b"GET / HTTP/1.1\r\nHost: a\r\nX: y\rz\r\n\r\n") == 400


def test_2_2_whitespace_between_start_line_and_first_field_is_invalid() -> None:
    assert status(b"GET / HTTP/1.1\r\n Host: a\r\n\r\n") == 400


def test_2_3_the_version_is_case_sensitive_and_other_versions_are_not_supported() -> None:
    assert status(b"GET / http/1.1\r\nHost: a\r\n\r\n") == 400
    assert status(b"GET / HTTP/2.0\r\nHost: a\r\n\r\n") == 505
    assert status(b"GET / HTTP/0.9\r\n\r\n") == 505


def test_2_3_we_answer_http10_with_our_own_version() -> None:
    codec = HTTP1Codec(HTTP1Limits(), now_s=0.0)
    codec.receive_data(b"GET / HTTP/1.0\r\n\r\n", 0.0)
    codec.send(ResponseHead(200, [], end_stream=True))
    assert codec.data_to_send().startswith(b"HTTP/1.1 200 OK\r\n")


def test_3_words_are_separated_by_single_spaces() -> None:
    assert status(b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n") == 400
    assert status(b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n") == 400
    assert status(b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n") == 400


def test_3_a_target_of_8000_bytes_is_taken_and_one_too_long_is_414() -> None:
    target = b"/" + b"a" * 7999
    assert head(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target).target == target
    assert status(b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"a" * 20_000)) == 414


def test_3_1_the_method_is_a_case_sensitive_token() -> None:
    assert head(b"get / HTTP/1.1\r\nHost: a\r\n\r\n").method == "get"
    assert status(b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n") == 400


@pytest.mark.parametrize(
    "host",
    [b"", b"Host: a\r\nHost: a\r\n", b"Host: a, b c\r\n", b"Host: a/\r\n", b"Host: [:\r\n", b"Host: http://a\r\n"],
)
def test_3_2_a_host_that_is_missing_doubled_or_invalid_is_400(host: bytes) -> None:
    assert status(b"GET / HTTP/1.1\r\n%b\r\n" % host) == 400


@pytest.mark.parametrize("host", [b"a", b"a.b-c:80", b"127.0.0.1", b"[::1]", b"[::ffff:1.2.3.4]:8000", b"a:", b"%41"])
def test_3_2_a_host_is_a_host_and_maybe_a_port(host: bytes) -> None:
    assert head(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host).headers == [(b"host", host)]


def test_3_2_1_origin_form() -> None:
    assert head(b"GET /where?q=now HTTP/1.1\r\nHost: a\r\n\r\n").target == b"/where?q=now"


def test_3_2_2_absolute_form_overrides_host() -> None:
    request = head(b"GET http://www.example.org/pub/a?b HTTP/1.1\r\nHost: other\r\n\r\n")
    assert request.target == b"/pub/a?b"
    assert request.headers == [(b"host", b"www.example.org")]


@pytest.mark.parametrize("target", [b"http://", b"http:///a", b"http://a b/", b"http://u@b/", b"ftp://a/", b"urn:a"])
def test_3_2_2_an_absolute_form_that_is_no_http_uri_is_400(target: bytes) -> None:
    assert status(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target) == 400


def test_3_2_3_authority_form_is_for_connect_which_is_not_implemented() -> None:
    assert status(b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n") == 501
    assert status(b"GET a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n") == 400


def test_3_2_4_asterisk_form_is_for_options() -> None:
    assert head(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").target == b"*"
    assert head(b"OPTIONS http://a:8001 HTTP/1.1\r\nHost: a\r\n\r\n").target == b"*"
    assert status(b"GET * HTTP/1.1\r\nHost: a\r\n\r\n") == 400


def test_5_1_whitespace_before_the_colon_is_400() -> None:
    assert status(b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n") == 400


def test_5_whitespace_around_a_value_is_not_part_of_it() -> None:
    assert head(b"GET / HTTP/1.1\r\nHost:a\r\nX: \t y \t \r\n\r\n").headers == [(b"host", b"a"), (b"x", b"y")]


def test_5_2_obsolete_folding_is_400() -> None:
    assert status(b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n") == 400

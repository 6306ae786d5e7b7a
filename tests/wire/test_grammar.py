"""Fields, targets, authorities, trailers and chunk sizes."""

from __future__ import annotations

import pytest

from fullduplex.exceptions import RemoteProtocolError
from fullduplex.wire.grammar import (
    find_bad_byte,
    is_authority,
    is_field_value,
    is_token,
    match_chunk_size,
    parse_content_length,
    parse_trailers,
    split_absolute_form,
    split_list,
)


@pytest.mark.parametrize("byte", range(256))
def test_token_and_value_characters(byte: int) -> None:
    character = bytes([byte])
    assert bool(is_token(character)) is (character.isalnum() or character in b"!#$%&'*+-.^_`|~")
    assert bool(is_field_value(character)) is (character == b"\t" or (byte >= 0x20 and byte != 0x7F))


def test_token_is_not_empty_but_a_value_may_be() -> None:
    assert not is_token(b"")
    assert is_field_value(b"")
    assert not is_token(b"a\n")
    assert not is_field_value(b"a\n")


@pytest.mark.parametrize(
    "authority",
    [
        b"a",
        b"a.b",
        b"A-b_c~d",
        b"a:0",
        b"a:65535",
        b"a:",
        b"1.2.3.4:80",
        b"[::]",
        b"[1:2:3:4:5:6:7:8]:80",
        b"a%20b",
        b"!$&'()*+,;=",
    ],
)
def test_authorities(authority: bytes) -> None:
    assert is_authority(authority)


@pytest.mark.parametrize(
    "authority",
    [
        b"",
        b":",
        b":80",
        b"a:b",
        b"a:65536",
        b"a:-1",
        b"a:1:2",
        b"a b",
        b"a/",
        b"a?",
        b"a#",
        b"u@a",
        b"[",
        b"[]",
        b"[::1",
        b"::1",
        b"[1.2.3.4]",
        b"[::1]a",
        b"[v1.a]",
        b"[:::]",
        b"a%2",
        b"a%zz",
        b"a\\b",
        b"\xc3\xa9",
        b"a\n",
        b"a\t",
        b"[fe80::1%25eth0]",
        b'"a"',
    ],
)
def test_no_authorities(authority: bytes) -> None:
    assert not is_authority(authority)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"http://a/b?c", (b"a", b"/b?c")),
        (b"HTTPS://A:1/", (b"A:1", b"/")),
        (b"http://a", (b"a", b"")),
        (b"http://a?b/c", (b"a", b"/?b/c")),
        (b"http://[::1]/b", (b"[::1]", b"/b")),
    ],
)
def test_absolute_form(target: bytes, expected: tuple[bytes, bytes]) -> None:
    assert split_absolute_form(target) == expected


@pytest.mark.parametrize(
    "target", [b"", b"a", b"http:", b"http:/a", b"http:///", b"ws://a/", b"http://a:x/", b"xhttp://a"]
)
def test_no_absolute_form(target: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        split_absolute_form(target)


def test_content_length() -> None:
    assert parse_content_length(b"0") == 0
    assert parse_content_length(b"9" * 18) == 10**18 - 1
    for value in (b"", b"-1", b"+1", b" 1", b"1 ", b"1_0", b"0x1", b"1,1", b"9" * 19, "٣".encode()):
        with pytest.raises(RemoteProtocolError):
            parse_content_length(value)


def test_lists() -> None:
    assert split_list(b"Keep-Alive ,\tUpgrade,, ") == [b"keep-alive", b"upgrade"]
    assert split_list(b"") == []


@pytest.mark.parametrize("line", [b"0", b"aF9", b"1;a", b"1 ; a = b", b'1;a="b\\"c";d', b"0" * 16])
def test_chunk_sizes(line: bytes) -> None:
    assert match_chunk_size(line)


@pytest.mark.parametrize(
    "line", [b"", b"g", b" 1", b"1 ", b"1;", b"1; ", b"1;=b", b"1;a=", b'1;a="b', b"1;a b", b"1\t", b"0" * 17]
)
def test_no_chunk_sizes(line: bytes) -> None:
    assert not match_chunk_size(line)


def test_chunk_size_lines_take_linear_time() -> None:
    assert not match_chunk_size(b"1" + b" ; a = b" * 30 + b" ;")
    assert not match_chunk_size(b'1;a="' + b"\\\\" * 120)


def test_bad_bytes() -> None:
    assert not find_bad_byte(b"a: b\t\xe9\r\nc\r\n\r")
    for data in (b"\n", b"a\n", b"a\rb", b"\r\r\n", b"\0", b"\x7f", b"\x1b"):
        assert find_bad_byte(data)


def test_trailers() -> None:
    assert parse_trailers(b"Content-Type: a/b", 2) == [(b"content-type", b"a/b")]
    assert parse_trailers(b"X-A: 1 \r\nb:", 2) == [(b"x-a", b"1"), (b"b", b"")]
    with pytest.raises(RemoteProtocolError) as caught:
        parse_trailers(b"a: 1\r\nb: 2", 1)
    assert caught.value.status_hint == 431
    for block in (b"", b"a", b": b", b"a : b", b" a: b", b"a: b\r\n c", b"Host: a", b"TE: a", b"a: \x00"):
        with pytest.raises(RemoteProtocolError) as caught:
            parse_trailers(block, 5)
        assert caught.value.status_hint == 400

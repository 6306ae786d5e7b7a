"""Made-up input, good and bad: never an exception, never dependent on cuts, never more lenient than h11."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fullduplex.limits import HTTP1Limits
from fullduplex.testing.codecs import assert_cut_independent
from fullduplex.wire.http1 import HTTP1Codec
from tests.wire.differences import answer, assert_agrees_with_h11, read, seen_by_h11, seen_by_us
from tests.wire.vectors import BAD, OK

# What h11 takes and we refuse, and why. The list is exact: a vector that h11 begins to refuse is to be taken off.
STRICTER = {
    "RFC 9112 section 2.3: other versions, and the preface of HTTP/2": {"HTTP/1.2", "HTTP/2.0", "HTTP/2 preface"},
    "RFC 9112 section 3.2: a target in none of its forms": {
        *("fragment", "relative target", "GET *", "authority-form of GET", "another scheme", "no authority"),
        "user information",
    },
    "RFC 9110 section 9.3.6: a tunnel": {"CONNECT"},
    "RFC 9112 section 2.2: a bare LF may be taken for a line end; where two recipients differ, smuggling begins": {
        *("bare LF after the request line", "bare LF everywhere", "bare LF after a field", "bare LF before the end"),
        *("bare LF at the end", "trailer with bare LF"),
    },
    "RFC 9112 section 5.2: folding is obsolete": {"folded", "folded by tab", "trailer folded"},
    "RFC 9110 section 5.5: controls in a value": {"control in a value", "DEL in a value"},
    "RFC 9110 section 7.2: Host is a host": {
        *("empty Host", "Host with path", "Host with user", "Host with space", "Host with letters for a port"),
        *("Host with a port too large", "Host with half an address", "Host with no address"),
    },
    "RFC 9110 section 8.3: one Content-Type": {"two Content-Types"},
    "RFC 9112 section 6.3: a repeated length may be taken when equal; no sender has a reason": {
        "list",
        "two that agree",
    },
    "RFC 9112 section 6.3: both lengths ought to be refused": {"both", "both, the other way round"},
    "RFC 9112 section 6.1: Transfer-Encoding in HTTP/1.0": {"chunked over HTTP/1.0"},
    "RFC 9112 section 7.1: the grammar of size lines": {
        *("space after size", "bare CR in extension", "NUL in extension", "extension without name"),
        "extension too long",
    },
    "RFC 9110 section 6.5.1: a trailer that frames": {"trailer that frames"},
    "RFC 9110 section 10.1.1: expectations that we cannot meet": {"unknown expectation", "two expectations"},
}


def test_where_we_are_stricter_than_h11():
    found = set()
    for name, (data, _, _) in BAD.items():
        ours = [request for request in seen_by_us(read(data)) if request[4]]
        theirs = [request for request in seen_by_h11(data) if request[4]]
        assert ours == theirs[: len(ours)], name
        if len(theirs) > len(ours):
            found.add(name)
    assert found == set().union(*STRICTER.values())


def test_what_is_good_is_good_for_h11():
    for data, _ in OK.values():
        assert_agrees_with_h11(data)


methods = st.sampled_from([b"GET", b"GET", b"POST", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"BREW", b"CONNECT", b"G T"])
targets = st.sampled_from(
    [
        *[b"/"] * 4,
        *(b"/a?b=c", b"//a", b"/%00", b"*", b"", b"/#a", b"a:443", b"/\xe9", b"/ /"),
        *(b"http://b/", b"http://b", b"HTTP://b?q", b"https://[::1]:8/x", b"http://u@b/", b"http://", b"ftp://b/"),
    ]
)
versions = st.sampled_from([*[b"HTTP/1.1"] * 8, b"HTTP/1.0", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.2", b"http/1.1", b""])
line_ends = st.sampled_from([*[b"\r\n"] * 40, b"\n", b"\r", b"\r\r\n", b" \r\n", b"\r\n "])
field_lines = st.sampled_from(
    [
        *[b"Content-Length: 3"] * 2,
        *[b"Transfer-Encoding: chunked"] * 2,
        *(b"Content-Length: 0", b"content-length:3", b"Content-Length: +3", b"Content-Length: 3,3"),
        *(b"Content-Length: 03", b"Content-Length: \xb3", b"Content-Length: 3\t", b"Content-Length:  3  "),
        *(b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding : chunked", b"Transfer-Encoding:\tCHUNKED "),
        *(b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked;x", b"Transfer-Encoding: chunked, chunked"),
        *(b"Host: b", b"Connection: close", b"Connection: keep-alive", b"Connection: x, ClOsE", b"Connection: upgrade"),
        *(b"Upgrade: websocket", b"Expect: 100-continue", b"X: \t y z \t", b"X:", b"X: y\r\n folded", b"X y: z"),
        *(b"X: \xe9", b"X: \x01", b"X", b": y", b"X: y\tz", b"Content-Type: a/b"),
    ]
)
chunk_sizes = st.sampled_from(
    [b"3", b"3", b"03", b"0003", b"3;x", b"3;x=y", b'3;x="y;z"', b"3 ", b" 3", b"+3", b"0x3", b"4"]
)
trailers = st.sampled_from([b"", b"", b"T: u\r\n", b"T: u\r\nV:\r\n", b"Content-Length: 3\r\n", b"T : u\r\n", b"T\r\n"])


@st.composite
def chunked(draw: st.DrawFn) -> bytes:
    sizes = draw(st.lists(chunk_sizes, max_size=3))
    chunks = [size + draw(line_ends) + b"abc" + draw(line_ends) for size in sizes]
    return b"".join(chunks) + draw(st.sampled_from([b"0", b"0", b"000", b"0;x"])) + b"\r\n" + draw(trailers) + b"\r\n"


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One request, whose body is more often than not what its fields announce."""
    fields = draw(st.lists(field_lines, max_size=3))
    line = b" ".join((draw(methods), draw(targets), draw(versions)))
    host = draw(st.sampled_from([*[b"Host: a"] * 8, b"Host: a:80", b"Host: [::1]", b"Host:", b"Host: a b", None]))
    lines = [line, *([] if host is None else [host]), *fields]
    head = b"".join(line + draw(line_ends) for line in lines) + b"\r\n"
    said = b"".join(fields).lower()
    if draw(st.integers(0, 7)) == 0:
        body = draw(st.binary(max_size=10))
    elif b"chunked" in said:
        body = draw(chunked())
    else:
        body = b"abc" if b"length" in said and b"0" not in said else b""
    return head + body


@st.composite
def inputs(draw: st.DrawFn) -> bytes:
    """One to four requests, pipelined, with up to two places overwritten or filled in."""
    data = b"".join(draw(st.lists(requests(), min_size=1, max_size=4)))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        place = draw(st.integers(0, len(data)))
        piece = draw(st.sampled_from([b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b",", b";", b"\0", b"\x7f", b"\xe9"]))
        data = data[:place] + piece + data[place + draw(st.integers(0, 1)) :]
    return data


def make_codec() -> HTTP1Codec:
    return HTTP1Codec(HTTP1Limits(), now_s=0.0)


@settings(max_examples=400)
@given(inputs())
def test_what_we_take_h11_takes_the_same_way(data: bytes) -> None:
    assert_cut_independent(make_codec, data, react=answer, random_count=3, eof=True)
    assert_agrees_with_h11(data)


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_noise(data: bytes) -> None:
    for start in (
        b"",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    ):
        assert_cut_independent(make_codec, start + data, react=answer, random_count=2)

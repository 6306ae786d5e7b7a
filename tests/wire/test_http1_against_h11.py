"""Made-up input, good and bad: never an exception, never dependent on cuts, never more lenient than h11."""

from __future__ import annotations

import h11
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from fullduplex.limits import HTTP1Limits
from fullduplex.testing.codecs import assert_cut_independent
from fullduplex.wire.codec import Codec
from fullduplex.wire.events import Data, EndOfMessage, Event, Fields, RequestHead, ResponseHead
from fullduplex.wire.http1 import HTTP1Codec

pieces_of_lines = st.sampled_from(
    [
        b"\r\n",
        b"\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b":",
        b": ",
        b",",
        b";",
        b"\0",
        b"\x0b",
        b"\x7f",
        b"\xe9",
        b"=",
    ]
)
request_lines = st.sampled_from(
    [
        *[b"GET / HTTP/1.1\r\n"] * 4,
        *[b"POST /a?b=c HTTP/1.1\r\n"] * 4,
        b"HEAD / HTTP/1.0\r\n",
        b"OPTIONS * HTTP/1.1\r\n",
        b"GET http://b/ HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n",
        b"GET /\r\n",
    ]
)
field_lines = st.sampled_from(
    [
        b"Content-Length: 3\r\n",
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: 0\r\n",
        b"content-length:3\r\n",
        b"Content-Length: +3\r\n",
        b"Content-Length: 3,3\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Host: b\r\n",
        b"Connection: close\r\n",
        b"Connection: keep-alive\r\n",
        b"Expect: 100-continue\r\n",
        b"X: \t y z \t\r\n",
        b"X:\r\n",
        b"X: y\r\n folded\r\n",
        b"X y: z\r\n",
    ]
)
bodies = st.sampled_from(
    [
        b"",
        b"abc",
        b"3\r\nabc\r\n0\r\n\r\n",
        b"1;x=y\r\na\r\n00\r\nT: u\r\n\r\n",
        b"3\r\nabc\n0\r\n\r\n",
        b"3 \r\nabc\r\n0\r\n\r\n",
        b"-3\r\nabc\r\n0\r\n\r\n",
        b"0\r\n\r\n",
    ]
)
requests = st.builds(
    lambda line, host, fields, body: line + host + b"".join(fields) + b"\r\n" + body,
    request_lines,
    st.sampled_from([b"Host: a\r\n"] * 5 + [b""]),
    st.lists(field_lines, max_size=3),
    bodies,
)


@st.composite
def inputs(draw: st.DrawFn) -> bytes:
    """One to three requests, with up to two places overwritten or filled in."""
    data = b"".join(draw(st.lists(requests, min_size=1, max_size=3)))
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(data)))
        data = data[:place] + draw(pieces_of_lines) + data[place + draw(st.integers(0, 1)) :]
    return data


Seen = list[tuple[str, str, Fields, bytes, bool]]


def seen_by_us(events: list[Event]) -> Seen:
    """Method, version, fields without Host, content and completeness of each request."""
    seen: Seen = []
    for event in events:
        if isinstance(event, RequestHead):
            seen.append((event.method, event.http_version, without_host(event.headers), b"", event.end_stream))
        elif isinstance(event, Data):
            seen[-1] = (*seen[-1][:3], seen[-1][3] + event.data, False)
        elif isinstance(event, EndOfMessage):
            seen[-1] = (*seen[-1][:4], True)
    return seen


def without_host(fields: Fields) -> Fields:
    """Host of an absolute-form is its authority for us, and as sent for h11."""
    return [field for field in fields if field[0] != b"host"]


def seen_by_h11(data: bytes) -> Seen:
    """What h11 makes of the requests, up to an error."""
    seen: Seen = []
    try:
        while data:
            # It knows no empty line before a request.
            data = _read_by_h11(data.removeprefix(b"\r\n"), seen)
    except h11.ProtocolError:
        pass
    return seen


def _read_by_h11(data: bytes, seen: Seen) -> bytes:
    """Add one request to ``seen``; return what follows it."""
    peer = h11.Connection(h11.SERVER)
    peer.receive_data(data)
    while True:
        event = peer.next_event()
        if isinstance(event, h11.Request):
            headers = without_host([(bytes(name), bytes(value)) for name, value in event.headers])
            seen.append((event.method.decode(), event.http_version.decode(), headers, b"", False))
        elif isinstance(event, h11.Data):
            seen[-1] = (*seen[-1][:3], seen[-1][3] + bytes(event.data), False)
        elif isinstance(event, h11.EndOfMessage):
            seen[-1] = (*seen[-1][:4], True)
            return b"" if peer.our_state is h11.MUST_CLOSE else peer.trailing_data[0]
        else:
            return b""


def answer(codec: Codec, events: list[Event]) -> None:
    for event in events:
        if (isinstance(event, RequestHead) and event.end_stream) or isinstance(event, EndOfMessage):
            codec.send(ResponseHead(204, [], end_stream=True))


@seed(9112)
@settings(max_examples=300, deadline=None, database=None)
@given(inputs())
def test_what_we_take_h11_takes_the_same_way(data: bytes) -> None:
    events = assert_cut_independent(
        lambda: HTTP1Codec(HTTP1Limits(), now_s=0.0), data, react=answer, random_count=3, eof=True
    )
    ours = [request for request in seen_by_us(events) if request[4]]
    assert ours == seen_by_h11(data)[: len(ours)]


@seed(9112)
@settings(max_examples=300, deadline=None, database=None)
@given(st.binary(max_size=200))
def test_noise(data: bytes) -> None:
    for start in (
        b"",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    ):
        assert_cut_independent(lambda: HTTP1Codec(HTTP1Limits(), now_s=0.0), start + data, react=answer, random_count=2)

"""HTTP/1 input as we read it and as h11 does: never more leniently, and never as something else."""

from __future__ import annotations

import h11

from fullduplex.limits import HTTP1Limits
from fullduplex.testing.codecs import feed
from fullduplex.wire.codec import Codec
from fullduplex.wire.events import Data, EndOfMessage, Event, Fields, RequestHead, ResponseHead
from fullduplex.wire.http1 import HTTP1Codec

#: Method, version, fields as :func:`comparable` leaves them, content and completeness of each request.
Seen = list[tuple[str, str, Fields, bytes, bool]]


def assert_agrees_with_h11(data: bytes) -> None:
    """Every request that we take whole is one that h11 takes whole, in the same order and with the same meaning."""
    ours = [request for request in seen_by_us(read(data)) if request[4]]
    assert ours == seen_by_h11(data)[: len(ours)]


def read(data: bytes) -> list[Event]:
    return feed(HTTP1Codec(HTTP1Limits(), now_s=0.0), [data], react=answer, eof=True)


def answer(codec: Codec, events: list[Event]) -> None:
    """Answer each request when it is complete."""
    for event in events:
        if (isinstance(event, RequestHead) and event.end_stream) or isinstance(event, EndOfMessage):
            codec.send(ResponseHead(204, [], end_stream=True))


def seen_by_us(events: list[Event]) -> Seen:
    seen: Seen = []
    for event in events:
        if isinstance(event, RequestHead):
            seen.append((event.method, event.http_version, comparable(event.headers), b"", event.end_stream))
        elif isinstance(event, Data):
            seen[-1] = (*seen[-1][:3], seen[-1][3] + event.data, False)
        elif isinstance(event, EndOfMessage):
            seen[-1] = (*seen[-1][:4], True)
    return seen


def comparable(fields: Fields) -> Fields:
    """Leave out what is known to look different without meaning anything else.

    Host of an absolute-form is its authority for us, and as sent for h11; Transfer-Encoding is as sent for us, and in
    lower case for h11.
    """
    return [
        (name, value.lower() if name == b"transfer-encoding" else value) for name, value in fields if name != b"host"
    ]


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
    peer = h11.Connection(h11.SERVER, max_incomplete_event_size=1_000_000)
    peer.receive_data(data)
    while True:
        event = peer.next_event()
        if isinstance(event, h11.Request):
            headers = comparable([(bytes(name), bytes(value)) for name, value in event.headers])
            seen.append((event.method.decode(), event.http_version.decode(), headers, b"", False))
        elif isinstance(event, h11.Data):
            seen[-1] = (*seen[-1][:3], seen[-1][3] + bytes(event.data), False)
        elif isinstance(event, h11.EndOfMessage):
            seen[-1] = (*seen[-1][:4], True)
            return b"" if peer.our_state is h11.MUST_CLOSE else peer.trailing_data[0]
        else:
            return b""

"""Frames of the local layer, whole and in pieces."""

from __future__ import annotations

import pytest

from fullduplex.sequencer.frames import (
    BINARY,
    DONE,
    MAX_PAYLOAD_BYTES,
    SUBSCRIBE,
    TEXT,
    Frame,
    Frames,
    encode,
    encode_number,
    number_of,
)

SENT = [
    encode(TEXT, b"room", "Grüße".encode()),
    encode(BINARY, b"", b""),
    encode_number(SUBSCRIBE, b"x" * 99, 7),
    encode(BINARY, b"room", bytes(range(256)) * 300),
    encode_number(DONE, b"room", 2**63),
]


def taken(pieces: list[bytes]) -> list[Frame]:
    frames, found = Frames(), []
    for piece in pieces:
        frames.feed(piece)
        while (frame := frames.next()) is not None:
            found.append(frame)
    return found


@pytest.mark.parametrize("size", [1, 2, 7, 8, 100, 1_000_000])
def test_they_come_as_they_were_sent_however_the_bytes_are_cut(size: int) -> None:
    data = b"".join(SENT)
    found = taken([data[start : start + size] for start in range(0, len(data), size)])
    assert [frame.whole for frame in found] == SENT
    assert (found[0].kind, found[0].group, found[0].payload) == (TEXT, b"room", "Grüße".encode())
    assert number_of(found[2].payload) == 7
    assert number_of(found[4].payload) == 2**63


def test_one_that_is_put_back_comes_again() -> None:
    frames = Frames()
    frames.feed(SENT[0] + SENT[1])
    first = frames.next()
    frames.put_back()
    assert frames.next() == first
    frames.feed(b"")
    assert frames.next() == taken([SENT[1]])[0]


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", b"T\0\1" + (MAX_PAYLOAD_BYTES + 1).to_bytes(4, "big") + b"a"])
def test_what_is_none_is_told_at_its_head(data: bytes) -> None:
    with pytest.raises(ValueError, match="no frame of the local layer"):
        taken([data])


def test_what_is_too_long_is_not_made() -> None:
    with pytest.raises(ValueError, match="at most 16777216 bytes"):
        encode(BINARY, b"a", b"x" * (MAX_PAYLOAD_BYTES + 1))
    with pytest.raises(ValueError, match="a group whose name has 65536"):
        encode(BINARY, b"a" * 65_536)
    with pytest.raises(ValueError, match="no number"):
        number_of(b"123")

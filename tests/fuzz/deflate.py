"""Compressed messages alone: the reader of permessage-deflate."""

from __future__ import annotations

import zlib
from random import Random

from fullduplex.exceptions import RemoteProtocolError
from fullduplex.wire.deflate import Inflater, deflate_alone
from tests.fuzz.harness import Harness
from tests.fuzz.mutation import mutate

MAX_BYTES = 3000
MAX_STREAMS_COUNT = 64  # what restarting zlib may cost for one message
WORDS = (b"\x00\x00\xff\xff", b"\x03\x00", b"\x02\x00", b"\x00", b"\xff", b"\x01\x00\x00\xff\xff", b"\x4b\x04\x00")
TEXTS = (b"", b"a", b"hello " * 30, bytes(range(256)), b"\0" * 2999, b"\0" * 3000, b"\0" * 100_000)


def _stored(text: bytes) -> bytes:
    """Blocks with BFINAL set (RFC 7692 section 7.2.3.4)."""
    compressor = zlib.compressobj(0, zlib.DEFLATED, -15)
    return compressor.compress(text) + compressor.flush() + b"\0"


VECTORS = (
    *(deflate_alone(text) for text in TEXTS),
    *(_stored(text) for text in TEXTS[:5]),
    b"\x03\x00" * 60 + b"\x00",
    b"\x03\x00" * 500 + b"\x00",
)


class Deflate(Harness):
    """The first byte of an input says which window and whether contexts are kept."""

    name = "deflate"
    share = 10
    vectors = VECTORS
    words = WORDS

    def make(self, random: Random) -> bytes:
        return bytes((random.getrandbits(8),)) + mutate(random, VECTORS, WORDS)

    def check(self, data: bytes) -> None:
        if inflate(data, 1 << 30)[0] is not None:
            assert count_streams(data) <= MAX_STREAMS_COUNT

    def check_closely(self, data: bytes) -> None:
        # With a smaller window zlib takes distances that are too far where the output is at hand, and so in one piece
        # alone. A server never has a smaller one; a client that takes too much harms nobody.
        data = bytes((data[0] | 7,)) + data[1:]
        whole = inflate(data, 1 << 30)
        for size in (1, 7, 100):
            assert inflate(data, size) == whole, f"in pieces of {size} bytes"


def count_streams(data: bytes) -> int:
    """How often zlib must be started for what follows the first byte; it stops counting at a thousand."""
    bits, data = 8 + (data[0] & 7), data[1:]
    count = 0
    while data and count < 1000:
        decompressor = zlib.decompressobj(-bits)
        decompressor.decompress(data)
        count += 1
        data = decompressor.unused_data
    return count


def inflate(data: bytes, size: int) -> list[bytes | None]:
    """Two equal messages in pieces of ``size`` bytes; None for one that is refused, and the end.

    A message that has one byte too many and bad data right behind it is too big or invalid, whichever zlib, which drops
    its output when it fails, comes upon first; so the two are not told apart here.
    """
    bits, takeover = 8 + (data[0] & 7), bool(data[0] & 8)
    inflater = Inflater(bits, takeover)
    messages: list[bytes | None] = []
    for _ in range(2):
        inflated = b""
        try:
            for start in range(1, len(data), size):
                most = MAX_BYTES + 1 - len(inflated)
                piece = inflater.inflate(data[start : start + size], most)
                assert len(piece) <= most
                inflated += piece
                if len(inflated) > MAX_BYTES:
                    return [*messages, None]
            inflated += inflater.finish(MAX_BYTES + 1 - len(inflated))
        except RemoteProtocolError as error:
            assert error.close_code == 1007
            return [*messages, None]
        if len(inflated) > MAX_BYTES:
            return [*messages, None]
        messages.append(inflated)
    return messages

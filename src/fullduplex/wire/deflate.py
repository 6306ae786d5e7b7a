"""permessage-deflate (RFC 7692): negotiation, and messages in and out with a bound on what they inflate to.

The rule of the house is no context takeover, either way: each message is compressed on its own, and
nothing is kept between messages. A pair of zlib contexts kept for each socket costs about 96 KiB, and
195 KiB after messages of 100 KB, which 10,000 idle sockets turn into a gigabyte or two; a fresh
compressor costs some microseconds for each message that is long enough to be worth it. It also makes a
compressed frame the same for every receiver.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from fullduplex.exceptions import RemoteProtocolError

# Shorter messages go uncompressed: with its headers such a message fits in one packet either way (a TCP
# segment carries about 1,400 bytes), so compressing it would cost both ends time and save no packet.
# The `ws` package for Node.js draws the same line.
MIN_DEFLATE_BYTES = 1_024

# Speed first: the loop waits while a message is compressed. Level 6 takes up to three times as long and
# makes JSON a sixth smaller. Go's gorilla/websocket: 1.
_LEVEL = 1

# What a sync flush leaves at the end of each message, and what the wire therefore omits
# (RFC 7692 section 7.2.1); behind it, for a context that is not kept, an empty last block: a stream
# that does not end there was cut off.
_FLUSHED = b"\x00\x00\xff\xff"
_FLUSHED_AND_ENDED = b"\x00\x00\xff\xff\x03\x00"

# A message may hold blocks with BFINAL set (RFC 7692 section 7.2.3.4), each of which ends a zlib stream.
# Two bytes make one, and restarting zlib costs microseconds: unbounded, 64 KiB would buy a second of CPU.
_MAX_STREAMS_COUNT = 64

# zlib's object keeps a copy of what a call has left, and of what it was given: so it gets no more than this at a time.
_SLICE_BYTES = 8_192

ExtensionOffer = tuple[str, list[tuple[str, str | None]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeflateParameters:
    """The agreed parameters of permessage-deflate. RFC 7692 section 7.1.

    ``client_max_window_bits`` is None where the response does not limit the client's window.
    """

    server_no_context_takeover: bool = True
    client_no_context_takeover: bool = True
    server_max_window_bits: int | None = None
    client_max_window_bits: int | None = None

    def to_header(self) -> bytes:
        """The element of Sec-WebSocket-Extensions that says so."""
        parts = [b"permessage-deflate"]
        if self.server_no_context_takeover:
            parts.append(b"server_no_context_takeover")
        if self.client_no_context_takeover:
            parts.append(b"client_no_context_takeover")
        if self.server_max_window_bits is not None:
            parts.append(b"server_max_window_bits=%d" % self.server_max_window_bits)
        if self.client_max_window_bits is not None:
            parts.append(b"client_max_window_bits=%d" % self.client_max_window_bits)
        return b"; ".join(parts)


def negotiate_deflate(offers: list[ExtensionOffer], *, context_takeover: bool = False) -> DeflateParameters | None:
    """Choose the server's answer to the client's offers.

    Args:
        offers: the extensions as offered, in order; see :attr:`~fullduplex.wire.handshake.Handshake.extensions`.
        context_takeover: keep contexts between messages where the client does not object.

    Returns:
        The parameters for the first acceptable offer of permessage-deflate, or None to decline them all.

    Source: RFC 7692 sections 5 and 7.1.
    """
    for name, parameters in offers:
        if name == "permessage-deflate":
            agreed = _accept_offer(parameters, context_takeover)
            if agreed is not None:
                return agreed
    return None


def _accept_offer(parameters: list[tuple[str, str | None]], context_takeover: bool) -> DeflateParameters | None:
    try:
        asked = _read_parameters(parameters, is_offer=True)
    except ValueError:
        return None
    server_bits = asked.server_max_window_bits
    if server_bits == 8:
        # zlib cannot make a raw stream with a window of 256 bytes (it silently uses 512), so this offer cannot be met.
        return None
    return DeflateParameters(
        server_no_context_takeover=asked.server_no_context_takeover or not context_takeover,
        # A server may ask for this without an offer of it (RFC 7692 section 7.1.1.2).
        client_no_context_takeover=asked.client_no_context_takeover or not context_takeover,
        server_max_window_bits=server_bits,
        # Limiting the client's window would only lower our memory, and there is none to save without takeover.
        client_max_window_bits=None,
    )


def read_deflate_response(parameters: list[tuple[str, str | None]]) -> DeflateParameters:
    """What a server agreed to, seen by a client that offered no ``client_max_window_bits``.

    Raises:
        RemoteProtocolError: the response has a parameter that it may not have.
    """
    try:
        agreed = _read_parameters(parameters, is_offer=False)
    except ValueError as error:
        raise RemoteProtocolError(f"RFC 7692 section 7.1: {error}") from None
    if agreed.client_max_window_bits is not None:
        raise RemoteProtocolError("RFC 7692 section 7.1.2.2: client_max_window_bits was not offered")
    return agreed


def _read_parameters(parameters: list[tuple[str, str | None]], *, is_offer: bool) -> DeflateParameters:
    """Raises ValueError for a parameter that is unknown, repeated or has a wrong value."""
    found: dict[str, int | bool] = {}
    for name, value in parameters:
        if name in found:
            raise ValueError(f"parameter {name!r} is repeated")
        if name in ("server_no_context_takeover", "client_no_context_takeover") and value is None:
            found[name] = True
        elif name == "client_max_window_bits" and value is None and is_offer:
            found[name] = 15
        elif name in ("server_max_window_bits", "client_max_window_bits") and value in _WINDOW_BITS:
            found[name] = int(value)
        else:
            raise ValueError(f"parameter {name!r} is unknown or has a wrong value")
    return DeflateParameters(
        server_no_context_takeover="server_no_context_takeover" in found,
        client_no_context_takeover="client_no_context_takeover" in found,
        server_max_window_bits=found.get("server_max_window_bits"),
        client_max_window_bits=found.get("client_max_window_bits"),
    )


_WINDOW_BITS = frozenset(("8", "9", "10", "11", "12", "13", "14", "15"))


def max_deflated_bytes(message_bytes: int) -> int:
    """The most bytes that a message of this size can take on the wire, whatever the sender's zlib settings.

    Source: ``deflateBound`` in zlib's deflate.c, its conservative case.
    """
    return message_bytes + (message_bytes >> 3) + (message_bytes >> 6) + 64


class Deflater:
    """Compresses the messages of one direction.

    Args:
        window_bits: the largest window agreed, 9 to 15.
        context_takeover: keep the context between messages.
    """

    __slots__ = ("_compressor", "_context_takeover", "_window_bits")

    def __init__(self, window_bits: int, context_takeover: bool) -> None:
        self._window_bits = window_bits
        self._context_takeover = context_takeover
        self._compressor: zlib._Compress | None = None

    def deflate(self, payload: bytes) -> bytes:
        """One message as it stands on the wire."""
        if not self._context_takeover:
            return deflate_alone(payload, self._window_bits)
        if self._compressor is None:
            # Memory level 5 as in `websockets`: 16 KiB instead of 128, for a few percent of size.
            self._compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -self._window_bits, 5)
        data = self._compressor.compress(payload) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
        return data[:-4]

    def reset(self) -> None:
        """Forget the context: the peer has seen a message that this compressor has not (a shared frame)."""
        self._compressor = None


def deflate_alone(payload: bytes, window_bits: int = 15) -> bytes:
    """Compress one message without context; any receiver that agreed to this window can read it."""
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -window_bits)
    data = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return data[:-4]


class Inflater:
    """Decompresses the messages of one direction, never past a bound.

    Args:
        window_bits: the largest window agreed, 8 to 15.
        context_takeover: keep the context between messages.

    Attributes:
        rest: what the last call left of its data at its bound; it belongs before the next piece.
    """

    __slots__ = ("_context_takeover", "_decompressor", "_streams_count", "_window_bits", "rest")

    def __init__(self, window_bits: int, context_takeover: bool) -> None:
        self._window_bits = window_bits
        self._context_takeover = context_takeover
        self._decompressor: zlib._Decompress | None = None
        self._streams_count = 0
        self.rest: bytes | bytearray = b""

    def inflate(self, data: bytes | bytearray, max_bytes: int) -> bytes:
        """Take a piece of a message and return what it inflates to so far.

        Args:
            data: as received, unmasked.
            max_bytes: at least 1. So many bytes returned mean that there may be more, which comes with the
                next call; ask for one byte more than is acceptable to know that a message is too big.

        Raises:
            RemoteProtocolError: this is not DEFLATE data (close code 1007).
        """
        inflated = b""
        size = len(data)
        while size and len(inflated) < max_bytes:
            decompressor = self._decompressor
            if decompressor is None:
                decompressor = self._open_stream()
            if size > _SLICE_BYTES:
                pieces = [inflated]
                data = self._inflate_slices(decompressor, data, max_bytes - len(inflated), pieces)
                inflated = b"".join(pieces)
            else:
                try:
                    inflated += decompressor.decompress(data, max_bytes - len(inflated))
                except zlib.error:
                    raise invalid_data() from None
                data = decompressor.unused_data if decompressor.eof else decompressor.unconsumed_tail
            if decompressor.eof:
                self._decompressor = None
            size = len(data)
        self.rest = data
        return inflated

    def _inflate_slices(
        self, decompressor: zlib._Decompress, data: bytes | bytearray, max_bytes: int, pieces: list[bytes]
    ) -> bytes | bytearray:
        """Inflate until one slice is left, the bound is reached or the stream ends; return what is left."""
        position, size = 0, len(data)
        while size - position > _SLICE_BYTES and max_bytes > 0 and not decompressor.eof:
            end = position + _SLICE_BYTES
            try:
                piece = decompressor.decompress(data[position:end], max_bytes)
            except zlib.error:
                raise invalid_data() from None
            pieces.append(piece)
            max_bytes -= len(piece)
            position = end - len(decompressor.unused_data if decompressor.eof else decompressor.unconsumed_tail)
        return data[position:]

    def finish(self, max_bytes: int) -> bytes:
        """Return what the message inflates to after its last piece, and get ready for the next one.

        Raises:
            RemoteProtocolError: this is not DEFLATE data, or it is cut off (close code 1007).
        """
        self._streams_count = 0
        if self._decompressor is None:
            return b""  # nothing since the start or since a block with BFINAL
        if self._context_takeover:
            return self.inflate(_FLUSHED, max_bytes)
        inflated = self.inflate(_FLUSHED_AND_ENDED, max_bytes)
        if self._decompressor is not None and len(inflated) < max_bytes:
            raise invalid_data()
        self._decompressor = None
        return inflated

    def _open_stream(self) -> zlib._Decompress:
        self._streams_count += 1
        if self._streams_count > _MAX_STREAMS_COUNT:
            raise invalid_data()
        self._decompressor = zlib.decompressobj(-self._window_bits)
        return self._decompressor


def invalid_data() -> RemoteProtocolError:
    """Bad DEFLATE data, or bad UTF-8 inside it.

    One error for both: when a piece has both, zlib tells of its own alone, and drops what it inflated before it;
    so which of them is found first depends on how the piece was cut.
    """
    return RemoteProtocolError("RFC 7692 section 7.2.2: the message does not inflate to valid data", close_code=1007)

"""The writing half of a WebSocket: messages and control frames become bytes (RFC 6455, RFC 7692)."""

from __future__ import annotations

import os
from typing import Any, Final

from fullduplex.exceptions import LocalProtocolError
from fullduplex.wire.deflate import MIN_DEFLATE_BYTES, DeflateParameters, Deflater, deflate_alone
from fullduplex.wire.events import AppContent, Close, Event, Message, Ping, Pong
from fullduplex.wire.frames import (
    CLOSE,
    MAX_CONTROL_BYTES,
    PING,
    PONG,
    SHORT_BINARY_HEADERS,
    SHORT_TEXT_HEADERS,
    TEXT,
    encode_close,
    encode_data,
    encode_frame,
)

_SHORT_BYTES: Final = 126  # from here on the header depends on more than the length's last byte


class WebSocketWriter:
    """Writes the frames of one socket; the reading half queues what the RFC asks of it.

    Attributes:
        close_sent: a Close frame is queued or sent; nothing more can be sent.
    """

    __slots__ = ("_client", "_deflate", "_deflater", "_ended", "_out", "_shared_key", "close_sent")

    def __init__(self, deflate: DeflateParameters | None, *, client: bool) -> None:
        self._client = client
        self._deflate = deflate
        self._deflater: Deflater | None = None
        self._out: list[bytes] = []
        self._ended = False
        self.close_sent = False
        # Deflate window of shared frames; 0 when they are not compressed.
        self._shared_key = 0 if deflate is None else deflate.server_max_window_bits or 15

    def send(self, event: Event) -> None:
        """Queue a ``Message``, ``Ping``, ``Pong`` or ``Close`` for the peer.

        A Close has a code of 1000-1003, 1007-1014 or 3000-4999, or 1005 for none, and a reason of at most
        123 bytes in UTF-8. A ping or pong has at most 125 bytes.

        Raises:
            LocalProtocolError: the event is malformed, or a Close frame has been sent.

        Source: RFC 6455 sections 5.5, 5.6 and 7.4.
        """
        self._check_open()
        if isinstance(event, Message):
            self._out.append(self.encode_message(event.data))
        elif isinstance(event, Close):
            self._queue(CLOSE, encode_close(event.code, event.reason))
            self.close_sent = True
        elif isinstance(event, Ping | Pong):
            if len(event.payload) > MAX_CONTROL_BYTES:
                raise LocalProtocolError("a ping or pong carries at most 125 bytes")
            self._queue(PING if isinstance(event, Ping) else PONG, event.payload)
        else:
            raise LocalProtocolError(f"{type(event).__name__} is no event of a WebSocket")

    def encode_message(self, data: AppContent) -> bytes:
        """Return the frame of a message, to be written behind ``data_to_send()``: ``send`` without event and queue.

        Raises:
            LocalProtocolError: as :meth:`send`.
        """
        if self.close_sent or self._ended:
            self._check_open()
        opcode, payload = encode_data(data)
        length = len(payload)
        if length < _SHORT_BYTES and not self._client:
            return (SHORT_TEXT_HEADERS if opcode == TEXT else SHORT_BINARY_HEADERS)[length] + payload
        rsv1 = self._deflate is not None and length >= MIN_DEFLATE_BYTES
        if rsv1:
            payload = self._get_deflater().deflate(payload)
        return encode_frame(opcode, payload, rsv1=rsv1, mask=os.urandom(4) if self._client else None)

    def data_to_send(self) -> bytes:
        """Return and forget the bytes queued for the peer."""
        out = self._out
        if len(out) == 1:
            return out.pop()
        data = b"".join(out)
        out.clear()
        return data

    def shared_frame(self, data: str | bytes, frames: dict[Any, bytes]) -> bytes:
        """Return the frame of a message that other server-side sockets get, too; to be written behind
        ``data_to_send()``. Past the queue, because this runs once for each member of a group.

        Args:
            data: the message.
            frames: keeps the frames of this message: one for each distinct compression, and one without.

        Raises:
            LocalProtocolError: text that cannot be encoded in UTF-8, or a Close frame has been sent.
        """
        if self.close_sent or self._ended:
            self._check_open()
        frame = frames.get(self._shared_key)
        if frame is None:
            frame = frames[self._shared_key] = self._encode_shared(data)
        if self._deflater is not None:
            # The peer's context now holds this message, and ours does not.
            self._deflater.reset()
        return frame

    @property
    def shared_key(self) -> int | None:
        """Where among the ``frames`` of a message this peer's frame is, once it is there; None: ask ``shared_frame``
        each time. It stays the same. Only an open socket may take a frame from there."""
        return self._shared_key if self._deflate is None or not window(self._deflate, of_server=True)[1] else None

    def _encode_shared(self, data: str | bytes) -> bytes:
        opcode, payload = encode_data(data)
        if self._shared_key and len(payload) >= MIN_DEFLATE_BYTES:
            return encode_frame(opcode, deflate_alone(payload, self._shared_key), rsv1=True)
        return encode_frame(opcode, payload)

    def _get_deflater(self) -> Deflater:
        if self._deflater is None:
            self._deflater = Deflater(*window(self._deflate, of_server=not self._client))
        return self._deflater

    def _queue(self, opcode: int, payload: bytes) -> None:
        self._out.append(encode_frame(opcode, payload, mask=os.urandom(4) if self._client else None))

    def _check_open(self) -> None:
        if self.close_sent:
            raise LocalProtocolError("the socket is closed for sending: a Close frame has been sent")
        if self._ended:
            raise LocalProtocolError("the connection has ended")


def window(deflate: DeflateParameters | None, *, of_server: bool) -> tuple[int, bool]:
    """Window bits and context takeover of what the server, or the client, compresses."""
    assert deflate is not None
    if of_server:
        return deflate.server_max_window_bits or 15, not deflate.server_no_context_takeover
    return deflate.client_max_window_bits or 15, not deflate.client_no_context_takeover

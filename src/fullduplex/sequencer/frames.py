"""What goes over the sockets of the local layer: frames of kind, group and payload.

::

    T, B   a message, text or binary     process -> sequencer -> processes that subscribed, as it is
    S, U   subscribe, unsubscribe        process -> sequencer; the payload of S is a number
    D      subscribed                    sequencer -> process, with that number
    N      something for the log         sequencer -> a process
    K      keep and pass on a message    process -> sequencer; it is answered by P. See kept.py
    M      a message that is kept        sequencer -> processes that subscribed; also passed on as T and B are
    P      its place                     sequencer -> process
    R      read what is kept             process -> sequencer; it is answered by A
    A      what was kept                 sequencer -> process
    E      the process ends              process -> sequencer; it is answered by D
"""

from __future__ import annotations

import struct
from typing import NamedTuple

TEXT, BINARY, SUBSCRIBE, UNSUBSCRIBE, DONE, NOTICE, KEEP, KEPT, PLACE, READ, ANSWER, END = b"TBSUDNKMPRAE"

_KINDS = frozenset(b"TBSUDNKMPRAE")
_HEAD = struct.Struct("!BHI")  # kind, bytes of the group's name, bytes of the payload
_NUMBER = struct.Struct("!Q")

MAX_PAYLOAD_BYTES = 16_777_216  # a receiver keeps one message that is not complete yet, for each connection
MAX_AROUND_BYTES = 2_097_152  # what a frame may have beside one message: its place, and others in one answer


class Frame(NamedTuple):
    """Attributes: kind, the group's name, the payload, and all of it as it came."""

    kind: int
    group: bytes
    payload: bytes
    whole: bytes


def encode(kind: int, group: bytes, payload: bytes = b"") -> bytes:
    """One frame.

    Raises:
        ValueError: the payload or the group's name is too long.
    """
    check_size(group, payload)
    return pack(kind, group, payload)


def check_size(group: bytes, payload: bytes) -> None:
    """
    Raises:
        ValueError: the payload or the group's name is too long.
    """
    if len(payload) > MAX_PAYLOAD_BYTES or len(group) > 0xFFFF:
        raise ValueError(
            f"{len(payload)} bytes for a group whose name has {len(group)}: the local layer carries at most "
            f"{MAX_PAYLOAD_BYTES} bytes in one message"
        )


def pack(kind: int, group: bytes, payload: bytes) -> bytes:
    """One frame, whose message was measured before."""
    return _HEAD.pack(kind, len(group), len(payload)) + group + payload


def encode_number(kind: int, group: bytes, number: int) -> bytes:
    return encode(kind, group, _NUMBER.pack(number))


def number_of(payload: bytes) -> int:
    """The number with which it begins.

    Raises:
        ValueError: there is none.
    """
    if len(payload) < _NUMBER.size:
        raise ValueError("no number")
    number: int = _NUMBER.unpack_from(payload)[0]
    return number


class Frames:
    """Takes bytes as they come, and gives whole frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._position = 0
        self._last = 0  # where the frame begins that was given last

    def feed(self, data: bytes) -> None:
        if self._position:
            del self._buffer[: self._position]
            self._position = self._last = 0
        self._buffer += data

    def next(self) -> Frame | None:
        """The next frame; None while it is not complete.

        Raises:
            ValueError: this is none of ours.
        """
        buffer, start = self._buffer, self._position
        if len(buffer) - start < _HEAD.size:
            return None
        kind, group_bytes, payload_bytes = _HEAD.unpack_from(buffer, start)
        around_bytes = 0 if kind in (TEXT, BINARY) else MAX_AROUND_BYTES
        if kind not in _KINDS or payload_bytes > MAX_PAYLOAD_BYTES + around_bytes:
            raise ValueError("no frame of the local layer")
        end = start + _HEAD.size + group_bytes + payload_bytes
        if len(buffer) < end:
            return None
        with memoryview(buffer) as view:
            whole = bytes(view[start:end])
        self._last, self._position = start, end
        group_end = _HEAD.size + group_bytes
        return Frame(kind, whole[_HEAD.size : group_end], whole[group_end:], whole)

    def put_back(self) -> None:
        """Give the same frame once more; it was not the time for it."""
        self._position = self._last

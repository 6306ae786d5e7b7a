"""What is inside the frames of histories: what is to be kept, what was kept, and what is asked for.

::

    K   number, count, age_s, max_bytes, bytes of all groups, kind, key, data
    M   offset, kind, epoch, key, data
    P   number, offset, epoch
    R   number, age_s, max_count, max_bytes, and what comes after which offset of which epoch; no epoch: none
    A   number, offset, epoch, recovered, complete, and frames M
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, NamedTuple

from fullduplex.sequencer.frames import ANSWER, BINARY, KEEP, KEPT, PLACE, READ, TEXT, Frames, pack

_KEEP = struct.Struct("!QIdQQBB")
_KEPT = struct.Struct("!QBBB")
_PLACE = struct.Struct("!QQ")
_READ = struct.Struct("!QdIQQ")
_ANSWER = struct.Struct("!QQBBB")

MAX_COUNT = 0xFFFFFFFF


class ToKeep(NamedTuple):
    number: int
    max_count: int
    age_s: float
    max_bytes: int
    all_max_bytes: int
    kind: int
    key: str
    data: bytes


class Kept(NamedTuple):
    offset: int
    epoch: str
    kind: int
    key: str
    data: bytes


class Wanted(NamedTuple):
    number: int
    age_s: float
    max_count: int
    max_bytes: int
    after: tuple[int, str] | None


class Answer(NamedTuple):
    number: int
    offset: int
    epoch: str
    recovered: bool
    complete: bool
    messages: list[Kept]


def encode_keep(group: bytes, wanted: ToKeep) -> bytes:
    key = wanted.key.encode()
    head = _KEEP.pack(*wanted[:6], len(key))
    return pack(KEEP, group, head + key + wanted.data)


def decode_keep(payload: bytes) -> ToKeep:
    """
    Raises:
        ValueError: it is none; so the others.
    """
    number, max_count, age_s, max_bytes, all_max_bytes, kind, key_bytes = _unpack(_KEEP, payload)
    _check_kind(kind)
    key_end = _KEEP.size + key_bytes
    key, data = payload[_KEEP.size : key_end].decode("ascii"), payload[key_end:]
    return ToKeep(number, max_count, age_s, max_bytes, all_max_bytes, kind, key, data)


def encode_kept(group: bytes, kept: Kept) -> bytes:
    epoch, key = kept.epoch.encode(), kept.key.encode()
    head = _KEPT.pack(kept.offset, kept.kind, len(epoch), len(key))
    return pack(KEPT, group, b"".join((head, epoch, key, kept.data)))


def decode_kept(payload: bytes) -> Kept:
    offset, kind, epoch_bytes, key_bytes = _unpack(_KEPT, payload)
    epoch_end = _KEPT.size + epoch_bytes
    key_end = epoch_end + key_bytes
    epoch, key = payload[_KEPT.size : epoch_end].decode("ascii"), payload[epoch_end:key_end].decode("ascii")
    _check_kind(kind)
    return Kept(offset, epoch, kind, key, payload[key_end:])


def encode_place(group: bytes, number: int, offset: int, epoch: str) -> bytes:
    return pack(PLACE, group, _PLACE.pack(number, offset) + epoch.encode())


def decode_place(payload: bytes) -> tuple[int, int, str]:
    """Number, offset, epoch."""
    number, offset = _unpack(_PLACE, payload)
    return number, offset, payload[_PLACE.size :].decode("ascii")


def encode_read(group: bytes, wanted: Wanted) -> bytes:
    offset, epoch = wanted.after or (0, "")
    return pack(READ, group, _READ.pack(*wanted[:4], offset) + epoch.encode())


def decode_read(payload: bytes) -> Wanted:
    number, age_s, max_count, max_bytes, offset = _unpack(_READ, payload)
    epoch = payload[_READ.size :].decode("ascii")
    return Wanted(number, age_s, max_count, max_bytes, (offset, epoch) if epoch else None)


def encode_answer(group: bytes, answer: Answer, frames: Iterable[bytes]) -> bytes:
    epoch = answer.epoch.encode()
    head = _ANSWER.pack(answer.number, answer.offset, answer.recovered, answer.complete, len(epoch))
    return pack(ANSWER, group, b"".join((head, epoch, *frames)))


def decode_answer(payload: bytes) -> Answer:
    number, offset, recovered, complete, epoch_bytes = _unpack(_ANSWER, payload)
    epoch_end = _ANSWER.size + epoch_bytes
    frames = Frames()
    frames.feed(payload[epoch_end:])
    messages = []
    while (inner := frames.next()) is not None:
        messages.append(decode_kept(inner.payload))
    return Answer(
        number, offset, payload[_ANSWER.size : epoch_end].decode("ascii"), bool(recovered), bool(complete), messages
    )


def _unpack(form: struct.Struct, payload: bytes) -> tuple[Any, ...]:
    if len(payload) < form.size:
        raise ValueError("too short")
    return form.unpack_from(payload)


def _check_kind(kind: int) -> None:
    if kind not in (TEXT, BINARY):
        raise ValueError("neither text nor binary")

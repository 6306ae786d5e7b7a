"""Messages and histories, as the frames of the sequencer say them."""

from __future__ import annotations

from collections.abc import Callable

from fullduplex.exceptions import LayerError
from fullduplex.layers.base import Delivered, Message
from fullduplex.layers.history import Keep, Kept, Missed, Position
from fullduplex.sequencer import kept as wire
from fullduplex.sequencer.frames import BINARY, KEPT, TEXT, Frame, check_size, pack

_MAX_NUMBER = 2**63


def frame_of(group: str, message: Message) -> bytes:
    """A message that is passed on.

    Raises:
        LayerError: it is too long; so the others.
    """
    name, kind, data = _parts(group, message)
    return pack(kind, name, data)


def kept_frame_of(group: str, kept: Kept) -> bytes:
    """A message that another store keeps."""
    name, kind, data = _parts(group, kept.data)
    offset, epoch = kept.position
    return wire.encode_kept(name, wire.Kept(offset, epoch, kind, kept.key, data))


def keeping(group: str, message: Message, keep: Keep, key: str, all_max_bytes: int) -> Callable[[int], bytes]:
    """What makes the frame by which a message is kept, of a number."""
    name, kind, data = _parts(group, message)
    bounds = min(keep.count, wire.MAX_COUNT), keep.age_s, min(keep.max_bytes, _MAX_NUMBER), all_max_bytes
    return lambda number: wire.encode_keep(name, wire.ToKeep(number, *bounds, kind, key, data))


def reading(group: str, keep: Keep, after: Position | None, max_count: int, max_bytes: int) -> Callable[[int], bytes]:
    """What makes the frame by which a history is read, of a number."""
    bounds = keep.age_s, min(max_count, wire.MAX_COUNT), min(max_bytes, _MAX_NUMBER)
    if after is not None and not (0 <= after.offset < _MAX_NUMBER and after.epoch and after.epoch.isascii()):
        after = Position(0, "-")  # nobody can have got this one
    return lambda number: wire.encode_read(group.encode(), wire.Wanted(number, *bounds, after))


def message_of(frame: Frame) -> Delivered:
    """
    Raises:
        ValueError: the frame says none; so the others.
    """
    if frame.kind == KEPT:
        return _kept(wire.decode_kept(frame.payload))
    return frame.payload.decode() if frame.kind == TEXT else frame.payload


def position_of(frame: Frame) -> Position:
    _, offset, epoch = wire.decode_place(frame.payload)
    return Position(offset, epoch)


def missed_of(frame: Frame) -> Missed:
    answer = wire.decode_answer(frame.payload)
    position = Position(answer.offset, answer.epoch)
    return Missed([_kept(kept) for kept in answer.messages], position, answer.recovered, answer.complete)


def _kept(kept: wire.Kept) -> Kept:
    data = kept.data.decode() if kept.kind == TEXT else kept.data
    return Kept(data, Position(kept.offset, kept.epoch), kept.key)


def _parts(group: str, message: Message) -> tuple[bytes, int, bytes]:
    """Name, kind and data."""
    kind, data = (TEXT, message.encode()) if isinstance(message, str) else (BINARY, message)
    name = group.encode()
    try:
        check_size(name, data)
    except ValueError as error:
        raise LayerError(str(error)) from None
    return name, kind, data

"""What the sequencer keeps, and how it outlives it.

::

    begin: load() ── the file is gone from then on ──> windows ──> save(): the file ──> the next sequencer loads it

A sequencer ends with its last connection, as at a restart of the service, and leaves a file behind for the next one,
which goes on with the same epochs. Whoever is killed leaves none: what he had kept is lost, and the next one begins
other epochs. No file is loaded twice, since what came after it would be missing: it is removed, on the disk as well,
before anything is answered out of it, and when something is kept after it was written.
"""

from __future__ import annotations

import contextlib
import os
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fullduplex.sequencer.frames import Frame, Frames
from fullduplex.sequencer.kept import (
    Answer,
    Kept,
    decode_keep,
    decode_kept,
    decode_read,
    encode_answer,
    encode_kept,
    encode_place,
)
from fullduplex.sequencer.windows import Windows

ALL_MAX_BYTES = 67_108_864  # until somebody says something else
ANSWER_MAX_BYTES = 1_048_576  # of messages in one answer, beside the first
ANSWER_MAX_COUNT = 10_000
MAGIC = b"fullduplex history 1\n"

_BEGIN = struct.Struct("!d")  # when it was written
_COUNT = struct.Struct("!QdIHB")  # offset, age_s, messages, bytes of the group's name and of the epoch, which follow
_ENTRY = struct.Struct("!dIBI")  # age, bytes of data, of the key and of the frame M, which follow
_END = struct.Struct("!I")  # CRC-32


class Keeper:
    """The windows of all groups, and their file.

    Args:
        path: the file; None: there is none.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._windows: Windows[bytes, bytes] = Windows(ALL_MAX_BYTES)
        self._has_file = False
        self._is_saved = False

    def keep(self, frame: Frame) -> tuple[bytes | None, bytes]:
        """Keep a message; return what is passed on, None where it had been before, and the answer.

        Raises:
            ValueError: it is none; so the others.
        """
        wanted = decode_keep(frame.payload)
        self._is_saved = False
        if self._has_file:
            self._remove()
        if wanted.key:
            whole = self._windows.find(frame.group, wanted.key, wanted.age_s)
            if whole is not None:
                offset, epoch = _place_of(whole)
                return None, encode_place(frame.group, wanted.number, offset, epoch)
        self._windows.max_bytes = wanted.all_max_bytes
        place = (0, "")

        def make(offset: int, epoch: str) -> bytes:
            nonlocal place
            place = offset, epoch
            return encode_kept(frame.group, Kept(offset, epoch, wanted.kind, wanted.key, wanted.data))

        whole = self._windows.append(
            frame.group,
            make,
            len(wanted.data),
            count=wanted.max_count,
            age_s=wanted.age_s,
            max_bytes=wanted.max_bytes,
            key=wanted.key,
        )
        return whole, encode_place(frame.group, wanted.number, *place)

    def read(self, frame: Frame) -> bytes:
        """Answer what is asked for."""
        wanted = decode_read(frame.payload)
        self._is_saved = False  # a group may be known from now on
        found = self._windows.read(
            frame.group,
            wanted.after,
            age_s=wanted.age_s,
            max_count=min(wanted.max_count, ANSWER_MAX_COUNT),
            max_bytes=min(wanted.max_bytes, ANSWER_MAX_BYTES),
        )
        answer = Answer(wanted.number, found.offset, found.epoch, found.recovered, found.complete, [])
        return encode_answer(frame.group, answer, found.items)

    def sweep(self) -> None:
        self._windows.sweep()

    # The file --------------------------------------------------------------------------------

    def load(self) -> None:
        """Take over what the last one has left. The file is gone afterwards, whatever was in it."""
        if self._path is None:
            return
        try:
            data = self._path.read_bytes()
            self._remove()
            self._windows = _restored(data)
        except (OSError, ValueError):
            pass  # there is none, or it is none

    def save(self) -> None:
        """Leave a file with all that is kept, for the next one. Where that fails, it begins other epochs."""
        if self._path is None or self._is_saved or not self._windows:
            return
        beside = self._path.with_suffix(".new")
        try:
            fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with open(fd, "wb") as file:
                checksum = 0
                for part in _parts(self._windows):
                    checksum = zlib.crc32(part, checksum)
                    file.write(part)
                file.write(_END.pack(checksum))
            os.rename(beside, self._path)
            self._has_file = self._is_saved = True
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(beside)

    def _remove(self) -> None:
        """Remove the file, so that it does not come back after a loss of power either."""
        assert self._path is not None
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
            directory = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        self._has_file = False


def _parts(windows: Windows[bytes, bytes]) -> Iterator[bytes]:
    """The file, in pieces."""
    now_s = time.monotonic()
    yield MAGIC + _BEGIN.pack(time.time())
    for group, offset, epoch, age_s, entries in windows.counts():
        listed = [*entries]
        yield _COUNT.pack(offset, age_s, len(listed), len(group), len(epoch)) + group + epoch.encode()
        for item, size_bytes, time_s, text in listed:
            key = text.encode()
            yield _ENTRY.pack(now_s - time_s, size_bytes, len(key), len(item)) + key + item


def _restored(data: bytes) -> Windows[bytes, bytes]:
    """
    Raises:
        ValueError: it is no such file, or not all of it.
    """
    end = len(data) - _END.size
    if not data.startswith(MAGIC) or end < len(MAGIC) + _BEGIN.size:
        raise ValueError("no history")
    if _END.unpack_from(data, end)[0] != zlib.crc32(memoryview(data)[:end]):
        raise ValueError("not all of a history")
    rest = _Rest(data, len(MAGIC))
    [written_s] = rest.unpack(_BEGIN)
    now_s = time.monotonic() - max(0.0, time.time() - written_s)
    windows: Windows[bytes, bytes] = Windows(ALL_MAX_BYTES)
    while rest.start < end:
        offset, age_s, count, group_bytes, epoch_bytes = rest.unpack(_COUNT)
        group, epoch = rest.take(group_bytes), rest.take(epoch_bytes).decode("ascii")
        entries = []
        for _ in range(count):
            old_s, size_bytes, key_bytes, item_bytes = rest.unpack(_ENTRY)
            key = rest.take(key_bytes).decode("ascii")
            entries.append((rest.take(item_bytes), size_bytes, now_s - old_s, key))
        windows.restore(group, offset, epoch, age_s, entries)
    return windows


class _Rest:
    """What is left of a file."""

    def __init__(self, data: bytes, start: int) -> None:
        self._data = data
        self.start = start

    def take(self, count: int) -> bytes:
        begin, self.start = self.start, self.start + count
        return self._data[begin : self.start]

    def unpack(self, form: struct.Struct) -> tuple[Any, ...]:
        begin, self.start = self.start, self.start + form.size
        return form.unpack_from(self._data, begin)


def _place_of(whole: bytes) -> tuple[int, str]:
    frames = Frames()
    frames.feed(whole)
    frame = frames.next()
    assert frame is not None
    kept = decode_kept(frame.payload)
    return kept.offset, kept.epoch

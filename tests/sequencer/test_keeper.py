"""What the sequencer keeps, and the file by which it outlives it. Faults of the file are honest: other epochs."""

from __future__ import annotations

from pathlib import Path

import pytest

from fullduplex.sequencer import keeper as keeper_module
from fullduplex.sequencer.frames import BINARY, TEXT, Frame, Frames
from fullduplex.sequencer.keeper import Keeper
from fullduplex.sequencer.kept import (
    Answer,
    Kept,
    ToKeep,
    Wanted,
    decode_answer,
    decode_keep,
    decode_kept,
    decode_place,
    decode_read,
    encode_keep,
    encode_read,
)


def frame_of(whole: bytes) -> Frame:
    frames = Frames()
    frames.feed(whole)
    frame = frames.next()
    assert frame is not None
    return frame


def keep(keeper: Keeper, text: str, group: bytes = b"g", *, key: str = "", age_s: float = 60) -> tuple[int, str]:
    wanted = ToKeep(1, 100, age_s, 1_000_000, 64_000_000, TEXT, key, text.encode())
    _, answer = keeper.keep(frame_of(encode_keep(group, wanted)))
    _, offset, epoch = decode_place(frame_of(answer).payload)
    return offset, epoch


def read(keeper: Keeper, after: tuple[int, str] | None, group: bytes = b"g") -> Answer:
    return decode_answer(frame_of(keeper.read(frame_of(encode_read(group, Wanted(1, 60, 100, 10_000, after))))).payload)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history"


def next_one(path: Path) -> Keeper:
    keeper = Keeper(path)
    keeper.load()
    return keeper


def test_what_is_kept_is_passed_on_and_answered(path: Path) -> None:
    keeper = Keeper(path)
    whole, _ = keeper.keep(frame_of(encode_keep(b"g", ToKeep(7, 10, 60, 100, 10_000, BINARY, "k", b"\x00"))))
    assert whole is not None
    message = decode_kept(frame_of(whole).payload)
    assert message == Kept(1, message.epoch, BINARY, "k", b"\x00")
    again, answer = keeper.keep(frame_of(encode_keep(b"g", ToKeep(8, 10, 60, 100, 10_000, BINARY, "k", b"\x00"))))
    assert again is None
    assert decode_place(frame_of(answer).payload) == (8, 1, message.epoch)
    assert read(keeper, (0, message.epoch)) == Answer(1, 1, message.epoch, True, True, [message])


def test_the_next_one_goes_on_with_the_same_epochs_and_keys(path: Path) -> None:
    keeper = Keeper(path)
    offset, epoch = keep(keeper, "a", key="k")
    keep(keeper, "b")
    start = read(keeper, None, b"quiet")
    keeper.save()
    following = next_one(path)
    answer = read(following, (offset, epoch))
    assert ([message.data for message in answer.messages], answer.recovered) == ([b"b"], True)
    assert keep(following, "a", key="k") == (1, epoch)
    assert keep(following, "c") == (3, epoch)
    assert read(following, (0, start.epoch), b"quiet").recovered


def test_messages_grow_old_between_two_sequencers(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = Keeper(path)
    offset, epoch = keep(keeper, "a")
    keeper.save()
    real = keeper_module.time.time
    monkeypatch.setattr(keeper_module.time, "time", lambda: real() + 61)
    following = next_one(path)
    assert read(following, (0, epoch)) == Answer(1, 1, epoch, False, True, [])
    assert read(following, (offset, epoch)).recovered


def test_a_file_is_loaded_once(path: Path) -> None:
    """What is kept after that and lost with a sequencer that is killed would be missing, and nobody would know."""
    keeper = Keeper(path)
    position = keep(keeper, "a")
    keeper.save()
    assert read(next_one(path), position).recovered
    assert not path.exists()
    assert not read(next_one(path), position).recovered


def test_a_file_is_no_longer_there_when_something_is_kept_after_it_was_written(path: Path) -> None:
    keeper = Keeper(path)
    position = keep(keeper, "a")
    keeper.save()
    keep(keeper, "b")
    assert not path.exists()
    keeper.save()
    assert [message.data for message in read(next_one(path), position).messages] == [b"b"]


def test_what_is_asked_for_after_it_was_written_is_known_as_well(path: Path) -> None:
    keeper = Keeper(path)
    keep(keeper, "a")
    keeper.save()
    start = read(keeper, None, b"new")
    keeper.save()
    assert read(next_one(path), (0, start.epoch), b"new").recovered


@pytest.mark.parametrize("kept_bytes", [0, 5, 40, -5, -1])
def test_a_file_that_is_not_whole_is_none(path: Path, kept_bytes: int) -> None:
    keeper = Keeper(path)
    position = keep(keeper, "a" * 100)
    keeper.save()
    path.write_bytes(path.read_bytes()[:kept_bytes])
    assert not read(next_one(path), position).recovered
    assert not path.exists()


def test_a_file_that_was_changed_is_none(path: Path) -> None:
    keeper = Keeper(path)
    position = keep(keeper, "a" * 100)
    keeper.save()
    path.write_bytes(path.read_bytes().replace(b"aaaa", b"aaab", 1))
    assert not read(next_one(path), position).recovered


def test_where_nothing_is_known_there_is_no_file(path: Path) -> None:
    Keeper(path).save()
    assert not path.exists()


def test_a_file_that_cannot_be_written_costs_the_epoch_and_nothing_else(path: Path) -> None:
    keeper = Keeper(path)
    position = keep(keeper, "a")
    path.with_suffix(".new").mkdir()
    keeper.save()
    assert read(keeper, (0, position[1])).recovered
    assert not path.exists()


def test_only_its_owner_reads_the_file(path: Path) -> None:
    keeper = Keeper(path)
    keep(keeper, "a")
    keeper.save()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("decode", [decode_keep, decode_kept, decode_place, decode_read, decode_answer])
def test_what_is_cut_short_is_an_error(decode) -> None:  # type: ignore[no-untyped-def]
    for size in range(8):
        with pytest.raises(ValueError, match="too short"):
            decode(b"\0" * size)

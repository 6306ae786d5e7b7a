"""The sequencer in this process, beside its files."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fullduplex.sequencer.frames import DONE, END, PLACE, TEXT, Frame, Frames, encode_number
from fullduplex.sequencer.kept import ToKeep, encode_keep
from fullduplex.sequencer.process import Sequencer


class Begun:
    """A sequencer with one client, turned by hand."""

    def __init__(self, directory: Path) -> None:
        (directory / "lock").touch()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(directory / "socket"))
        self.listener.listen()
        self.sequencer = Sequencer(self.listener, directory)
        self.client = socket.socket(socket.AF_UNIX)
        self.client.connect(str(directory / "socket"))
        self.client.setblocking(False)
        self._frames = Frames()

    def ask(self, whole: bytes) -> Frame:
        self.client.sendall(whole)
        while (frame := self._frames.next()) is None:
            for key, events in self.sequencer._selector.select(1):
                key.data(events)
                self.sequencer._go_on()
            try:
                self._frames.feed(self.client.recv(65_536))
            except BlockingIOError:
                continue
        return frame

    def close(self) -> None:
        self.client.close()
        self.sequencer.tidy()
        self.sequencer._selector.close()


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[Begun]:
    begun = Begun(tmp_path)
    yield begun
    begun.close()


KEEP = encode_keep(b"g", ToKeep(1, 10, 60, 1_000, 100_000, TEXT, "", b"a"))


def test_what_is_kept_is_saved_before_a_farewell_is_answered(begun: Begun, tmp_path: Path) -> None:
    assert begun.ask(KEEP).kind == PLACE
    assert begun.ask(encode_number(END, b"", 2)).kind == DONE
    assert (tmp_path / "history").exists()


def test_whose_files_are_others_leaves_nothing_beside_them(begun: Begun, tmp_path: Path) -> None:
    """The next sequencer has begun; what this one would leave would be taken for that one's."""
    assert begun.ask(KEEP).kind == PLACE
    os.rename(tmp_path / "lock", tmp_path / "lock.old")
    (tmp_path / "lock").touch()
    assert begun.ask(encode_number(END, b"", 2)).kind == DONE
    begun.sequencer.tidy()
    assert not (tmp_path / "history").exists()
    assert (tmp_path / "lock").exists()

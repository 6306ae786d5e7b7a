"""The conformance helper finds what it is for: events that depend on cuts."""

from __future__ import annotations

import pytest

from fullduplex.testing.codecs import assert_cut_independent, cuts, merged
from fullduplex.wire.codec import Codec
from fullduplex.wire.events import Data, EndOfMessage, Event, Ping


class Careless:
    """Takes the end of a read for the end of a message."""

    def receive_data(self, data: bytes, now_s: float) -> list[Event]:
        return [Data(data), EndOfMessage()] if b"." in data else [Data(data)] if data else []

    def receive_eof(self) -> list[Event]:
        return [Ping()]

    def send(self, event: Event) -> None: ...

    def data_to_send(self) -> bytes:
        return b""

    def next_deadline_s(self) -> float | None:
        return None


def test_equal_in_every_cut() -> None:
    assert assert_cut_independent(Careless, b"abc") == [Data(b"abc")]
    assert assert_cut_independent(Careless, b"abc", eof=True) == [Data(b"abc"), Ping()]
    assert assert_cut_independent(Careless, b"") == []


def test_a_difference_is_shown_with_its_cut() -> None:
    with pytest.raises(AssertionError, match=r"cut as \[b'a', b'.', b'b'\]"):
        assert_cut_independent(Careless, b"a.b")


def test_the_bytes_sent_count_too() -> None:
    class Chatty(Careless):
        def __init__(self) -> None:
            self.reads = 0

        def receive_data(self, data: bytes, now_s: float) -> list[Event]:
            self.reads += 1
            return []

        def data_to_send(self) -> bytes:
            return b"!" * self.reads

    with pytest.raises(AssertionError, match="!!!"):
        assert_cut_independent(Chatty, b"abc")


def test_the_application_reacts_between_reads() -> None:
    seen: list[Event] = []

    class Pipelined(Careless):
        held = b""

        def receive_data(self, data: bytes, now_s: float) -> list[Event]:
            self.held += data
            first, self.held = self.held[:1], self.held[1:]
            return [Ping(first)] if first else []

    def react(codec: Codec, events: list[Event]) -> None:
        seen.extend(events)

    assert assert_cut_independent(Pipelined, b"ab", react=react) == [Ping(b"a"), Ping(b"b")]
    assert seen[:2] == [Ping(b"a"), Ping(b"b")]


def test_cuts_are_the_same_for_the_same_seed() -> None:
    assert list(cuts(b"abcdef", seed=1)) == list(cuts(b"abcdef", seed=1))
    assert list(cuts(b"abcdef", seed=1)) != list(cuts(b"abcdef", seed=2))
    assert all(b"".join(pieces) == b"abcdef" for pieces in cuts(b"abcdef"))


def test_merging_keeps_streams_and_the_end_apart() -> None:
    events = [Data(b"a"), Data(b"b", True), Data(b"c", stream_id=1), Ping(), Data(b"d", stream_id=1)]
    assert merged(events) == [Data(b"ab", True), Data(b"c", stream_id=1), Ping(), Data(b"d", stream_id=1)]

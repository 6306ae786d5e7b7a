"""Windows in memory: what is kept, what goes first, and which epochs there are. The clock is the test's."""

from __future__ import annotations

import tracemalloc

import pytest

from fullduplex.sequencer.windows import ENTRY_BYTES, HEAD_BYTES, WINDOW_BYTES, Found, Windows


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Shelf:
    """Windows of texts, each as long as it says."""

    def __init__(self, max_bytes: int = 1_000_000) -> None:
        self.clock = Clock()
        self.windows: Windows[str, str] = Windows(max_bytes, self.clock)

    def append(self, text: str, group: str = "g", *, key: str = "", **keep: int) -> str:
        self.clock.now_s += 0.001
        bounds = {"count": 100, "age_s": 60, "max_bytes": 10_000, **keep}
        return self.windows.append(group, lambda offset, epoch: f"{offset}:{text}", len(text), key=key, **bounds)

    def read(self, after: tuple[int, str] | None, group: str = "g", **bounds: int) -> Found[str]:
        return self.windows.read(group, after, **{"age_s": 60, "max_count": 1000, "max_bytes": 10_000, **bounds})

    def start(self, group: str = "g") -> tuple[int, str]:
        found = self.read(None, group)
        return found.offset, found.epoch


def test_what_came_after_a_position() -> None:
    shelf = Shelf()
    start = shelf.start()
    for text in "abc":
        shelf.append(text)
    assert shelf.read(start) == (["1:a", "2:b", "3:c"], 3, start[1], True, True)
    assert shelf.read((2, start[1])) == (["3:c"], 3, start[1], True, True)
    assert shelf.read((3, start[1])) == ([], 3, start[1], True, True)
    assert shelf.read(None) == ([], 3, start[1], True, True)


def test_positions_that_nobody_can_have() -> None:
    shelf = Shelf()
    _, epoch = shelf.start()
    assert shelf.read((1, epoch)).recovered is False
    shelf.append("a")
    assert shelf.read((2, epoch)) == (["1:a"], 1, epoch, False, True)
    assert shelf.read((1, "another")) == (["1:a"], 1, epoch, False, True)


@pytest.mark.parametrize("keep", [{"count": 2}, {"max_bytes": 2}])
def test_the_oldest_goes_first(keep: dict[str, int]) -> None:
    shelf = Shelf()
    start = shelf.start()
    for text in "abc":
        shelf.append(text, **keep)
    assert shelf.read(start) == (["2:b", "3:c"], 3, start[1], False, True)
    assert shelf.read((1, start[1])) == (["2:b", "3:c"], 3, start[1], True, True)


def test_a_message_that_is_longer_than_the_window_is_an_honest_gap() -> None:
    shelf = Shelf()
    start = shelf.start()
    shelf.append("a")
    shelf.append("long", max_bytes=3)
    assert shelf.read(start) == ([], 2, start[1], False, True)
    shelf.append("c")
    assert shelf.read(start) == (["3:c"], 3, start[1], False, True)
    assert shelf.read((2, start[1])).recovered


def test_what_is_too_old_is_not_answered_and_the_count_goes_on() -> None:
    shelf = Shelf()
    start = shelf.start()
    shelf.append("a")
    shelf.clock.now_s += 61
    assert shelf.read(start) == ([], 1, start[1], False, True)
    assert shelf.read((1, start[1])) == ([], 1, start[1], True, True)
    assert shelf.append("b") == "2:b"
    assert shelf.read((1, start[1])) == (["2:b"], 2, start[1], True, True)


def test_groups_that_nobody_uses_are_swept_whatever_their_age() -> None:
    shelf = Shelf()
    for number in range(10):
        shelf.append("a", f"short.{number}", age_s=10)
        shelf.append("a", f"long.{number}", age_s=1000)
    shelf.clock.now_s += 11
    shelf.append("a", "other", age_s=1000)
    assert shelf.windows.size_bytes == 11 * (1 + ENTRY_BYTES + WINDOW_BYTES)
    shelf.clock.now_s += 1001
    shelf.windows.sweep()
    assert shelf.windows.size_bytes == 0


def test_a_key_is_known_as_long_as_its_message_is_kept() -> None:
    shelf = Shelf()
    shelf.append("a", key="k")
    assert shelf.windows.find("g", "k", 60) == "1:a"
    assert shelf.windows.find("h", "k", 60) is None
    shelf.append("b", count=1)
    assert shelf.windows.find("g", "k", 60) is None
    shelf.append("c", key="k")
    shelf.clock.now_s += 61
    assert shelf.windows.find("g", "k", 60) is None


def test_an_answer_is_bounded_and_its_first_message_is_part_of_it() -> None:
    shelf = Shelf()
    start = shelf.start()
    for text in ("aaaa", "b", "cc"):
        shelf.append(text)
    assert shelf.read(start, max_count=2) == (["1:aaaa", "2:b"], 3, start[1], True, False)
    assert shelf.read(start, max_bytes=5) == (["1:aaaa", "2:b"], 3, start[1], True, False)
    assert shelf.read(start, max_bytes=1) == (["1:aaaa"], 3, start[1], True, False)
    assert shelf.read((2, start[1]), max_bytes=1) == (["3:cc"], 3, start[1], True, True)


def test_above_the_bound_of_all_groups_the_quiet_ones_lose_theirs() -> None:
    shelf = Shelf(max_bytes=3 * (600 + ENTRY_BYTES + WINDOW_BYTES))
    starts = {group: shelf.start(group) for group in "abc"}
    for group in "abc":
        shelf.append("x" * 600, group, age_s=60 if group == "b" else 30)
    shelf.append("y" * 600, "a", age_s=30)
    assert [shelf.read(starts[group], group).recovered for group in "abc"] == [True, False, True]
    for _ in range(10):
        shelf.append("z" * 600, "a", age_s=30)
    assert shelf.read(starts["c"], "c").recovered is False
    assert len(shelf.read((9, starts["a"][1]), "a").items) == 3
    assert shelf.windows.size_bytes <= shelf.windows.max_bytes
    assert shelf.read((1, starts["b"][1]), "b").recovered  # its head is still known


def test_many_groups_of_little_cost_no_more_than_the_bound() -> None:
    tracemalloc.start()
    try:
        shelf = Shelf(max_bytes=2_000_000)
        before = tracemalloc.get_traced_memory()[0]
        for number in range(8_000):
            shelf.append("a", f"g{number}")
        used_bytes = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert used_bytes < 2 * 2_000_000  # heads have half as much for themselves


def test_a_bound_that_was_lowered_is_met_by_a_message_that_is_not_kept() -> None:
    shelf = Shelf()
    for group in "abc":
        shelf.append("x" * 600, group)
    shelf.windows.max_bytes = 1_000
    assert shelf.append("y" * 600, "d", age_s=30, max_bytes=500) == "1:" + "y" * 600
    assert shelf.windows.size_bytes == 0


def test_a_group_that_is_forgotten_begins_another_epoch() -> None:
    shelf = Shelf(max_bytes=3 * HEAD_BYTES)
    starts = {group: shelf.start(group) for group in "abc"}
    shelf.start("a")  # it is used
    shelf.start("d")
    assert shelf.start("a") == starts["a"]
    assert shelf.start("c") == starts["c"]
    assert shelf.start("b")[1] != starts["b"][1]


def test_two_lives_share_no_epoch() -> None:
    assert Shelf().start() != Shelf().start()

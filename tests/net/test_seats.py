"""How many clients there are at the same time."""

from __future__ import annotations

from fullduplex.net.seats import REFUSALS_COUNT, Seats


def test_above_the_limit_a_few_are_refused_and_the_others_have_no_seat() -> None:
    seats = Seats(3)
    assert [seats.take() for _ in range(3 + REFUSALS_COUNT + 2)] == [True] * 3 + [False] * REFUSALS_COUNT + [None] * 2
    assert seats.taken_count == 3 + REFUSALS_COUNT
    seats.leave()
    assert seats.take() is True, "those who are refused do not take the place of others"
    assert seats.take() is None
    seats.leave_refused()
    assert seats.take() is False


def test_without_a_limit_all_are_served() -> None:
    seats = Seats(0)
    assert all(seats.take() for _ in range(1_000))
    assert seats.taken_count == 1_000

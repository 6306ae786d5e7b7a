"""Who accepts at whose sockets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from fullduplex.server.children import Child, share_out


def workers(*slots: int) -> list[Child]:
    process: Any = SimpleNamespace(pid=1)
    return [Child(process, slot, 1, 0.0) for slot in slots]


def shares(slots: int, serving: list[Child], blocked: list[Child] | None = None) -> dict[int, set[int]]:
    return {child.slot: accepting for child, accepting in share_out(range(slots), serving, blocked or []).items()}


def test_each_worker_accepts_at_its_own_sockets() -> None:
    assert shares(3, workers(0, 1, 2)) == {0: {0}, 1: {1}, 2: {2}}


def test_others_stand_in_for_slots_without_a_worker() -> None:
    assert shares(4, workers(0, 2)) == {0: {0}, 2: {1, 2, 3}}
    assert shares(4, workers(3)) == {3: {0, 1, 2, 3}}
    assert shares(4, []) == {}


@pytest.mark.parametrize("blocked", [0, 1])
def test_others_stand_in_for_a_blocked_worker_whose_sockets_stay_its_own(blocked: int) -> None:
    serving = workers(0, 1)
    found = shares(2, serving, [serving[blocked]])
    assert found == {blocked: {blocked}, 1 - blocked: {0, 1}}


def test_where_all_are_blocked_nothing_changes() -> None:
    serving = workers(0, 1)
    assert shares(3, serving, serving) == {0: {0, 2}, 1: {1}}

"""What ``--workers auto`` means."""

from __future__ import annotations

import pytest

from fullduplex.server import cores
from fullduplex.server.cores import cores_count


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("max 100000", 8),
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("10000 100000", 1),
        ("9900000 100000", 8),
        ("", 8),
    ],
)
def test_the_quota_of_a_container_counts(quota, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda pid: range(8), raising=False)
    file = tmp_path / "cpu.max"
    file.write_text(quota)
    assert cores_count(file) == expected
    assert cores_count(tmp_path / "nothing") == 8

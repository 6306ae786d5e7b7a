"""When a worker has served long enough."""

from __future__ import annotations

import sys

import pytest

from fullduplex.exceptions import ConfigurationError
from fullduplex.limits import RecycleLimits
from fullduplex.server import recycling
from fullduplex.server.cli import serve
from fullduplex.server.config import ServerConfig
from fullduplex.server.recycling import Recycling, resident_bytes


def test_without_limits_it_serves_for_ever():
    assert Recycling(RecycleLimits(), 0.0).reason(10**9, 10**9) is None


def test_each_limit_has_its_reason(monkeypatch):
    monkeypatch.setattr(recycling, "resident_bytes", lambda: 2_000)
    none = {"jitter": 0.0}
    assert Recycling(RecycleLimits(max_requests_count=10, **none), 0.0).reason(9, 0.0) is None
    assert Recycling(RecycleLimits(max_requests_count=10, **none), 0.0).reason(10, 0.0) == "has taken 10 requests"
    assert Recycling(RecycleLimits(max_lifetime_s=60.0, **none), 5.0).reason(0, 64.0) is None
    assert Recycling(RecycleLimits(max_lifetime_s=60.0, **none), 5.0).reason(0, 65.0) == "has served for 60 s"
    assert Recycling(RecycleLimits(max_memory_bytes=2_001, **none), 0.0).reason(0, 0.0) is None
    assert Recycling(RecycleLimits(max_memory_bytes=2_000, **none), 0.0).reason(0, 0.0) == "has 2000 bytes in memory"


def test_chance_keeps_workers_apart():
    limits = RecycleLimits(max_requests_count=1_000, jitter=0.5)
    firsts = [next(n for n in range(1_000, 1_502) if Recycling(limits, 0.0).reason(n, 0.0)) for _ in range(20)]
    assert len({*firsts}) > 5


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_memory_is_read():
    assert 5_000_000 < resident_bytes() < 10**11


def test_a_single_worker_has_nobody_to_replace_it(caplog):
    assert serve(ServerConfig(app="a:b", recycle=RecycleLimits(max_lifetime_s=1.0))) == 1
    assert "a single worker has nobody to replace it" in caplog.text
    with pytest.raises(ConfigurationError):
        RecycleLimits(jitter=-1.0)

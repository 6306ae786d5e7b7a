"""Which server serves a name, found out without a server: the test answers the questions."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from fullduplex.exceptions import LayerUnavailable
from fullduplex.layers.redis.hosts import Host, read_hosts
from fullduplex.layers.redis.topology import Cluster, Hosts, consistent_hash, find_master


@pytest.mark.parametrize(
    ("value", "ring_size", "expected"),
    [("key_one", 1, 0), ("key_one", 2, 1), ("key_two", 2, 0), ("key_one", 10, 6), (b"key_two", 10, 4)],
)
def test_a_name_is_found_where_channels_redis_finds_it(value: str | bytes, ring_size: int, expected: int) -> None:
    """The values are those of channels_redis."""
    assert consistent_hash(value, ring_size) == expected


def test_several_hosts_share_the_names() -> None:
    hosts = read_hosts(["redis://a", "redis://b"])
    topology = Hosts(hosts)
    found = [topology.host_for(b"name %d" % number) for number in range(100)]
    assert set(found) == set(hosts)
    assert found == [Hosts(hosts).host_for(b"name %d" % number) for number in range(100)]


def drive(steps: Generator[Any, Any, Any], *answers: Any) -> tuple[list[tuple[str, tuple[str, ...]]], Any]:
    """Answer each question, exceptions by raising them; return the questions and the result."""
    asked = []
    try:
        question = next(steps)
        for answer in answers:
            host, command = question
            asked.append((host.label, command))
            question = steps.throw(answer) if isinstance(answer, Exception) else steps.send(answer)
    except StopIteration as end:
        return asked, end.value
    raise AssertionError(f"one more question: {question}")


def slots(*ranges: tuple[int, int, bytes, int]) -> list[Any]:
    return [[first, last, [host, port, b"id", []], [b"replica", 1, b"id", []]] for first, last, host, port in ranges]


class TestCluster:
    def make(self) -> Cluster:
        return Cluster(read_hosts(["redis://:secret@seed:1", "redis://:secret@other:2"]))

    def test_nothing_is_known_at_first(self) -> None:
        assert self.make().host_for(b"x") is None

    def test_slots_tell_the_master_of_a_name(self) -> None:
        cluster = self.make()
        asked, _ = drive(cluster.refresh(), slots((0, 8000, b"a", 1), (8001, 16383, b"b", 2)))
        assert asked == [("seed:1", ("CLUSTER", "SLOTS"))]
        foo, bar = cluster.host_for(b"foo"), cluster.host_for(b"bar")  # slots 12182 and 5061, by CLUSTER KEYSLOT
        assert foo is not None
        assert bar is not None
        assert (foo.label, bar.label) == ("b:2", "a:1")
        assert foo.connection(1, 1).password == "secret"  # type: ignore[attr-defined]

    def test_nodes_stay_the_same_objects(self) -> None:
        """Connections hang on them."""
        cluster = self.make()
        drive(cluster.refresh(), slots((0, 16383, b"a", 1)))
        before = cluster.host_for(b"x")
        drive(cluster.refresh(), slots((0, 100, b"b", 2), (101, 16383, b"a", 1)))
        assert cluster.host_for(b"foo") is before
        assert len(cluster.servers()) == 2
        drive(cluster.refresh(), slots((0, 16383, b"b", 2)))
        assert [host.label for host in cluster.servers()] == ["b:2"]

    def test_a_slot_that_nobody_serves(self) -> None:
        cluster = self.make()
        drive(cluster.refresh(), slots((0, 100, b"a", 1)))
        assert cluster.host_for(b"foo") is None

    def test_a_node_that_does_not_know_its_address(self) -> None:
        cluster = self.make()
        drive(cluster.refresh(), slots((0, 16383, b"", 7)))
        host = cluster.host_for(b"foo")
        assert host is not None
        assert host.label == "seed:7"

    def test_the_next_node_is_asked_when_one_is_gone(self) -> None:
        cluster = self.make()
        asked, _ = drive(cluster.refresh(), ConnectionRefusedError(), slots((0, 16383, b"a", 1)))
        assert [label for label, _ in asked] == ["seed:1", "other:2"]

    def test_nodes_that_were_found_stand_in_for_the_seeds(self) -> None:
        cluster = self.make()
        drive(cluster.refresh(), slots((0, 16383, b"found", 3)))
        asked, _ = drive(cluster.refresh(), OSError(), OSError(), slots((0, 16383, b"a", 1)))
        assert asked[-1][0] == "found:3"

    def test_all_are_gone(self) -> None:
        with pytest.raises(LayerUnavailable, match="No node of the cluster tells its slots: refused"):
            drive(self.make().refresh(), OSError("down"), OSError("refused"))


class TestSentinel:
    def make(self) -> Host:
        (host,) = read_hosts([{"sentinels": [("s1", 1), ("s2", 2)], "master_name": "main", "db": 4}])
        return host

    def test_the_first_that_knows_the_master_is_believed(self) -> None:
        asked, host = drive(find_master(self.make()), OSError(), [b"10.0.0.1", b"6380"])
        assert asked == [
            ("s1:1", ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")),
            ("s2:2", ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")),
        ]
        assert host.label == "10.0.0.1:6380"
        assert host.connection(1, 1).db == 4

    def test_none_knows_it(self) -> None:
        with pytest.raises(LayerUnavailable, match="No sentinel tells the address of main of s1:1, s2:2"):
            drive(find_master(self.make()), None, OSError())

"""Every message once, in order, or told: histories while servers die, fail over and move, and networks break. Counted.

Run the long ones with ``pytest -m slow -s``, which prints what was counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.layers.history_run import Run
from tests.layers.proxy import Proxy
from tests.layers.servers import Cluster, Sentinel, Server, other_binary, valkey_binary, wait_until

COUNT = 10_002  # a multiple of the publishers, and of the threads among them
BINARIES: dict[str, Callable[[], str]] = {"valkey": valkey_binary, "redis6": other_binary}
PATIENT: dict[str, Any] = {"ping_interval_s": 0.5, "ping_timeout_s": 2.0}


async def in_thread(function: Callable[[], Any]) -> None:
    """The loop goes on meanwhile."""
    await asyncio.to_thread(function)


# The network -------------------------------------------------------------------------------------


async def test_a_network_that_is_cut_costs_nothing(valkey: Server) -> None:
    await _cut(valkey, count=300, cuts_count=3)


@pytest.mark.slow
@pytest.mark.parametrize("name", BINARIES)
async def test_a_network_that_is_cut_again_and_again_costs_nothing(name: str, tmp_path: Path) -> None:
    server = Server(tmp_path, binary=BINARIES[name]())
    try:
        await _cut(server.start(), count=COUNT, cuts_count=60)
    finally:
        server.kill()


async def _cut(server: Server, *, count: int, cuts_count: int) -> None:
    async with Proxy(server.port) as near, Proxy(server.port) as far:
        run = Run({"hosts": [near.url]}, {"hosts": [far.url]}, count=count)

        async def cut_publishers() -> None:
            near.cut()

        async def cut_subscribers() -> None:
            far.cut()

        async def lose_answers() -> None:
            near.lose_answers()
            await near.answered.wait()
            near.stop_losing()

        faults = (cut_publishers, cut_subscribers, lose_answers)
        await run.go({(number + 1) * count // (cuts_count + 1): faults[number % 3] for number in range(cuts_count)})
        print(f"\n{cuts_count} cuts: {run.figures()}")
        assert [member.gaps_count for member in run.members] == [0, 0, 0]
        assert len(run.acknowledged) == count


@pytest.mark.slow
async def test_a_network_that_stalls_costs_nothing(server: Server) -> None:
    """Longer than anybody waits: publishers give up and ask again, subscribers connect anew."""
    limits = {"ping_interval_s": 0.3, "ping_timeout_s": 0.5, "publish_timeout_s": 1.0, "connect_timeout_s": 1.0}
    async with Proxy(server.port) as near, Proxy(server.port) as far:
        run = Run({"hosts": [near.url], **limits}, {"hosts": [far.url], **limits}, count=COUNT)

        async def stall(proxy: Proxy) -> None:
            proxy.stall()
            await asyncio.sleep(2.5)
            proxy.flow()

        faults = {number: lambda proxy=proxy: stall(proxy) for number, proxy in _alternating(near, far, 6)}
        await run.go(faults)
        print(f"\nstalled: {run.figures()}")
        assert run.refusals_count
        assert [member.gaps_count for member in run.members] == [0, 0, 0]


def _alternating(one: Any, other: Any, count: int) -> list[tuple[int, Any]]:
    return [((number + 1) * COUNT // (count + 1), (one, other)[number % 2]) for number in range(count)]


# Servers that lose ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", BINARIES)
@pytest.mark.parametrize("loses", ["all", "since the snapshot", "nothing"])
async def test_a_server_is_started_again(loses: str, name: str, tmp_path: Path) -> None:
    """Killed, without a snapshot or with one that is older than what was acknowledged; or told to stop, which writes
    one. What it lost is told to everybody."""
    snapshots = () if loses == "all" else ("--save", "3600 1")
    server = Server(tmp_path, *snapshots, binary=BINARIES[name]())
    try:
        config = {"hosts": [server.start().url], **PATIENT}
        run = Run(config, config, count=COUNT)

        def snapshot() -> None:
            with server.client() as client:
                client.save()

        def again() -> None:
            if loses == "nothing":
                server.stop()
            else:
                server.kill()
            server.start()

        faults = {at: lambda: in_thread(again) for at in (COUNT // 4, COUNT // 2, COUNT * 3 // 4)}
        if loses == "since the snapshot":
            faults |= {at - COUNT // 10: lambda: in_thread(snapshot) for at in [*faults]}
        await run.go(faults)
        print(f"\n{name}, loses {loses}: {run.figures()}")
        assert all(member.gaps_count >= 3 for member in run.members)
    finally:
        server.kill()


# Sentinel ------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_sentinel_promotes(tmp_path: Path) -> None:
    """As an operator asks for it, the old master living on as a replica; then by itself, when the new one dies."""
    first = Server(tmp_path / "first", "--repl-diskless-sync-delay", "0")
    second = Server(tmp_path / "second", "--replicaof", f"127.0.0.1 {first.port}", "--repl-diskless-sync-delay", "0")
    servers = [first, second]
    try:
        first.start()
        second.start()
        wait_until(lambda: _link_is_up(second))
        sentinel = Sentinel(tmp_path / "sentinel", first)
        servers.append(sentinel.start())
        with sentinel.client() as client:
            wait_until(lambda: len(client.sentinel_slaves("main")) == 1)
        hosts = [{"sentinels": [("127.0.0.1", sentinel.port)], "master_name": "main"}]
        run = Run({"hosts": hosts, **PATIENT}, {"hosts": hosts, **PATIENT}, count=COUNT)

        async def ask_for_it() -> None:
            with sentinel.client() as client:
                client.execute_command("SENTINEL", "FAILOVER", "main")
            await in_thread(lambda: wait_until(lambda: _is_master(second) and _link_is_up(first)))

        async def die() -> None:
            second.kill()
            await in_thread(lambda: wait_until(lambda: _is_master(first)))

        await run.go({COUNT // 4: ask_for_it, COUNT // 2: die})
        print(f"\nby Sentinel: {run.figures()}")
        assert len({position.epoch for position in run.acknowledged.values()}) == 3
        assert all(member.gaps_count for member in run.members)
    finally:
        for server in servers:
            server.kill()


# Clusters ------------------------------------------------------------------------------------------


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of the test's own."""
    servers = Cluster(tmp_path / "cluster")
    try:
        yield servers.start()
    finally:
        servers.kill()


@pytest.mark.slow
async def test_a_replica_is_promoted(own_cluster: Cluster) -> None:
    """First in the place of a master that died with 300 messages which it had acknowledged and not handed on; then,
    for the master that is back as a replica, as an operator asks for it."""
    _, master = own_cluster.place("fullduplex:g")
    replica = own_cluster.add_replica(master)
    config = {"hosts": own_cluster.urls, "cluster": True, **PATIENT}
    run = Run(config, config, count=COUNT)

    async def die() -> None:
        replica.pause()
        known = len(run.acknowledged)
        while len(run.acknowledged) < known + 300:
            await asyncio.sleep(0.001)
        master.kill()
        replica.resume()
        await in_thread(lambda: wait_until(lambda: _is_master(replica)))

    async def back() -> None:
        await in_thread(master.start)
        await in_thread(lambda: wait_until(lambda: _link_is_up(master)))
        with master.client() as client:
            client.execute_command("CLUSTER", "FAILOVER")
        await in_thread(lambda: wait_until(lambda: _is_master(master)))

    await run.go({COUNT // 4: die, COUNT // 2: back})
    print(f"\npromoted: {run.figures()}")
    assert len({position.epoch for position in run.acknowledged.values()}) == 3
    assert all(member.gaps_count for member in run.members)


@pytest.mark.slow
@pytest.mark.parametrize("atomic", [False, True])
async def test_a_slot_moves(atomic: bool, own_cluster: Cluster) -> None:
    """Key by key, as any cluster does, or as a whole, as Valkey 9 can; there and back again."""
    slot, source = own_cluster.place("fullduplex:g")
    target = next(node for node in own_cluster.nodes if node is not source)
    config = {"hosts": own_cluster.urls, "cluster": True, **PATIENT}
    run = Run(config, config, count=COUNT)
    move = _move_as_a_whole if atomic else _move_key_by_key
    faults = {
        (number + 1) * COUNT // 7: lambda ends=ends: in_thread(lambda: move(own_cluster, slot, *ends))
        for number, ends in enumerate([(source, target), (target, source)] * 3)
    }
    await run.go(faults)
    print(f"\nmoved, atomic={atomic}: {run.figures()}")
    assert len({position.epoch for position in run.acknowledged.values()}) > 1


def _move_key_by_key(cluster: Cluster, slot: int, source: Server, target: Server) -> None:
    with source.client() as here, target.client() as there:
        ids = [client.execute_command("CLUSTER", "MYID").decode() for client in (here, there)]
        there.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
        here.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
        while keys := here.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1):
            here.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        for client in (there, here):
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[1])


def _move_as_a_whole(cluster: Cluster, slot: int, source: Server, target: Server) -> None:
    with source.client() as here, target.client() as there:
        node_id = there.execute_command("CLUSTER", "MYID").decode()
        here.execute_command("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", node_id)
    wait_until(lambda: cluster.place("fullduplex:g")[1] is target)


def _is_master(server: Server) -> bool:
    with server.client() as client:
        info: Any = client.info("replication")
    return bool(info["role"] == "master")


def _link_is_up(server: Server) -> bool:
    with server.client() as client:
        info: Any = client.info("replication")
    return bool(info.get("master_link_status") == "up")

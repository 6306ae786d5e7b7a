"""Histories in Redis and Valkey, beyond the public suite: what servers lose, and what is left of a script half done."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from fullduplex.exceptions import ConfigurationError, LayerUnavailable
from fullduplex.layers.history import Keep, Kept, Missed, Position
from fullduplex.layers.redis import RedisLayer
from fullduplex.layers.redis.history import keys_of
from fullduplex.testing.layers import Inbox
from tests.layers.proxy import Proxy
from tests.layers.servers import Server, wait_until

DEADLINE_S = 30.0
KEEP = Keep(count=100, age_s=3600.0, max_bytes=1_000_000)


@pytest.fixture(params=["valkey", "redis6"])
def shared(request: pytest.FixtureRequest) -> Server:
    server: Server = request.getfixturevalue(request.param)
    return server


def data_of(missed: Missed) -> list[Any]:
    return [kept.data for kept in missed.messages]


# What is on the server ---------------------------------------------------------------------------


async def test_every_key_of_a_group_expires_and_its_window_last(shared: Server) -> None:
    layer = RedisLayer(hosts=[shared.url], prefix="expiring")
    keep = Keep(count=3, age_s=100.0, max_bytes=1_000)
    await layer.aread("unused", keep, after=None)
    for number in range(20):
        await layer.aappend("g", str(number), keep)
    await layer.aappend("g", "x" * 2_000, keep)  # is not kept, so that nothing is
    await layer.aappend("g", "after that", keep)
    with shared.client() as client:
        names = {name.decode() for name in client.keys("*expiring:*")}
        rest_ms = {name.rpartition(":")[2]: client.pttl(name) for name in names}
        assert names == {"{expiring:unused}:window", *(f"{{expiring:g}}:{kind}" for kind in rest_ms)}
    assert rest_ms.keys() == {"window", "messages", "requests"}
    assert 100_000 < rest_ms["messages"] < rest_ms["window"] < 400_000
    assert 100_000 < rest_ms["requests"] < rest_ms["window"]
    await layer.close()


async def test_a_group_that_was_forgotten_comes_back_with_another_epoch(shared: Server) -> None:
    layer = RedisLayer(hosts=[shared.url], prefix="forgotten")
    before = [await layer.aappend("g", str(number), KEEP) for number in range(3)]
    with shared.client() as client:
        client.delete("{forgotten:g}:window")  # as when it expires; what is left of the others must not be believed
    missed = await layer.aread("g", KEEP, after=before[0])
    assert (missed.recovered, data_of(missed), missed.position.offset) == (False, [], 0)
    after = await layer.aappend("g", "anew", KEEP)
    assert after.offset == 1
    assert after.epoch == missed.position.epoch != before[0].epoch
    await layer.close()


async def test_messages_grow_old(shared: Server) -> None:
    layer = RedisLayer(hosts=[shared.url], prefix="old")
    keep = Keep(count=100, age_s=0.2, max_bytes=1_000)
    first = await layer.aappend("g", "old", keep)
    await asyncio.sleep(0.25)
    missed = await layer.aread("g", keep, after=Position(0, first.epoch))
    assert (missed.recovered, data_of(missed), missed.position) == (False, [], first)
    assert (await layer.aread("g", keep, after=first)).recovered
    await layer.aappend("g", "old, too", keep)
    await asyncio.sleep(0.25)
    last = await layer.aappend("g", "young", keep)
    missed = await layer.aread("g", keep, after=Position(last.offset - 1, last.epoch))
    assert (missed.recovered, data_of(missed)) == (True, ["young"])
    with shared.client() as client:
        assert client.xlen("{old:g}:messages") == client.hlen("{old:g}:requests") == 1
    await layer.close()


async def test_windows_overshoot_a_little_and_are_read_exactly(shared: Server) -> None:
    """Trimming by one with each append would cost as much as the append."""
    layer = RedisLayer(hosts=[shared.url], prefix="window")
    keep = Keep(count=80, age_s=3600.0, max_bytes=1_000_000)
    lengths = set()
    with shared.client() as client:
        for number in range(200):
            await layer.aappend("g", str(number), keep)
            lengths.add(client.xlen("{window:g}:messages"))
        assert max(lengths) == 90
        missed = await layer.aread("g", keep, after=Position(0, "another"))
        assert data_of(missed) == [str(number) for number in range(120, 200)]
        assert not missed.recovered
        missed = await layer.aread("g", keep, after=Position(119, missed.position.epoch))
        assert not missed.recovered
        missed = await layer.aread("g", keep, after=Position(120, missed.position.epoch))
        assert missed.recovered
        assert client.xlen("{window:g}:messages") == client.hlen("{window:g}:requests") == 80
    await layer.close()


async def test_a_long_window_is_read_in_pieces(shared: Server) -> None:
    layer = RedisLayer(hosts=[shared.url], prefix="long")
    keep = Keep(count=1000, age_s=3600.0, max_bytes=10_000_000)
    start = (await layer.aread("g", keep, after=None)).position
    sent = [f"{number} {'x' * (number % 7 * 1000)}" for number in range(400)]
    for data in sent:
        await layer.aappend("g", data, keep)
    for bounds in ({}, {"max_count": 7}, {"max_bytes": 20_000}, {"max_count": 250, "max_bytes": 1}):
        position, read, pieces = start, [], 0
        while True:
            missed = await layer.aread("g", keep, after=position, **bounds)
            assert missed.recovered
            read += data_of(missed)
            pieces += 1
            assert sum(map(len, data_of(missed))) <= max(
                bounds.get("max_bytes", 1_048_576), len(missed.messages[0].data)
            )
            assert len(missed.messages) <= bounds.get("max_count", 1_000)
            if missed.complete:
                break
            position = missed.messages[-1].position
        assert read == sent
        assert pieces > 1
    await layer.close()


async def test_only_so_many_reads_are_under_way(server: Server) -> None:
    """The server has their answers in its memory: 500 who come back at once must not fill it."""
    async with Proxy(server.port) as proxy:
        config: dict[str, Any] = {"prefix": "reads", "max_reads_count": 3}
        layer, near = RedisLayer(hosts=[proxy.url], **config), RedisLayer(hosts=[server.url], **config)
        position = await near.aappend("g", "x" * 100_000, KEEP)
        start = Position(0, position.epoch)
        await layer.aread("g", KEEP, after=start)
        proxy.stall()
        reading = [asyncio.ensure_future(layer.aread("g", KEEP, after=start)) for _ in range(500)]
        await asyncio.sleep(0)
        with server.client() as client:
            proxy.flow()
            assert [data_of(missed) for missed in await asyncio.gather(*reading)] == [["x" * 100_000]] * 500
            largest: Any = client.info("clients")
        assert largest["client_recent_max_output_buffer"] < 500_000
        await layer.close()
        await near.close()


async def test_a_server_that_forgot_the_scripts_is_told_them(server: Server) -> None:
    layer = RedisLayer(hosts=[server.url])
    await layer.aappend("g", "one", KEEP)
    with server.client() as client:
        client.script_flush()
    await layer.aappend("g", "two", KEEP)
    with server.client() as client:
        client.script_flush()
    position = await asyncio.to_thread(layer.append, "g", "three", KEEP)
    assert data_of(await layer.aread("g", KEEP, after=Position(0, position.epoch))) == ["one", "two", "three"]
    await layer.close()


async def test_a_user_who_may_do_what_the_guide_names(server: Server) -> None:
    page = (Path(__file__).parents[2] / "docs/howto/redis.md").read_text()
    told = next(line for line in page.splitlines() if line.startswith("**Permissions.**"))
    commands = [f"+{name.lower()}" for name in re.findall(r"`(\w+)`", told)]
    rules = ["on", ">x", "&fullduplex:*", "~fullduplex:*", "~{fullduplex:*", "+ping", *commands]
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "site", *rules)
    layer, inbox = RedisLayer(hosts=[f"redis://site:x@127.0.0.1:{server.port}"]), Inbox(DEADLINE_S)
    await layer.subscribe("g", inbox)
    for number in range(20):
        position = await layer.aappend("g", str(number), Keep(count=3, age_s=60.0, max_bytes=100))
    assert (await inbox.take_many(20))[-1] == Kept("19", position)
    with server.client() as client:
        client.delete("{fullduplex:g}:requests")
    assert await layer.aread("g", KEEP, after=position) == ([], position, True, True)
    await layer.close()


async def test_nothing_readable_is_on_the_server(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    config: dict[str, Any] = {"hosts": [server.url], "prefix": "sealed"}
    layer, inbox = RedisLayer(symmetric_encryption_keys=["new", "old"], **config), Inbox(DEADLINE_S)
    await layer.subscribe("g", inbox)
    position = await layer.aappend("g", "a secret", KEEP, key="an order")
    assert await inbox.take() == Kept("a secret", position, "an order")
    with server.client() as client:
        stored = b"".join(client.dump(name) or b"" for name in client.keys("*"))
    assert b"secret" not in stored
    assert b"order" not in stored
    assert await layer.aappend("g", "a secret", KEEP, key="an order") == position
    other = RedisLayer(symmetric_encryption_keys=["other"], **config)
    missed = await other.aread("g", KEEP, after=Position(0, position.epoch))
    assert (data_of(missed), missed.recovered, missed.complete) == ([], False, True)
    assert "A message of a history cannot be read: no key" in caplog.text
    await layer.close()
    await other.close()


def test_keys_live_with_the_channel_in_one_slot() -> None:
    assert keys_of(b"p:g") == (b"{p:g}:window", b"{p:g}:messages", b"{p:g}:requests")
    assert keys_of(b"{p}:g") == (b"{p}:g:window", b"{p}:g:messages", b"{p}:g:requests")
    for prefix in (b"a}b:g", b"{}:g", b"a{:g"):
        with pytest.raises(ConfigurationError, match="prefix: histories need one without braces"):
            keys_of(prefix)


# Epochs --------------------------------------------------------------------------------------------


async def test_a_restart_with_a_snapshot_begins_another_epoch(server: Server) -> None:
    """What was acknowledged after the snapshot is lost, and the window of the snapshot says nothing of it."""
    layer = RedisLayer(hosts=[server.url])
    for number in range(10):
        await layer.aappend("g", str(number), KEEP, key=f"key of {number}")
    with server.client() as client:
        client.save()
    last = [await layer.aappend("g", str(number), KEEP) for number in range(10, 60)][-1]
    server.kill()
    server.start()
    missed = await layer.aread("g", KEEP, after=last)
    assert not missed.recovered
    assert missed.position.offset == 10
    assert missed.position.epoch != last.epoch
    anew = await layer.aappend("g", "anew", KEEP)
    assert anew == (11, missed.position.epoch)
    assert not (await layer.aread("g", KEEP, after=Position(10, last.epoch))).recovered
    assert data_of(await layer.aread("g", KEEP, after=missed.position)) == ["anew"]
    assert data_of(await layer.aread("g", KEEP, after=last)) == ["anew"]
    assert (await layer.aappend("g", "0", KEEP, key="key of 0")).offset == 1, "it is known what is left of before"
    await layer.close()


@pytest.mark.slow
async def test_each_promotion_begins_another_epoch(tmp_path: Path) -> None:
    """There and back again: what the first had acknowledged alone is lost, though it is the same process as before."""
    servers = [Server(tmp_path / name, "--repl-diskless-sync-delay", "0") for name in "ab"]
    layers: list[RedisLayer] = []
    try:
        for server in servers:
            server.start()
        layers = [RedisLayer(hosts=[server.url], publish_timeout_s=2.0) for server in servers]
        with servers[0].client() as a, servers[1].client() as b:
            b.replicaof("127.0.0.1", servers[0].port)
            wait_until(lambda: b.info("replication")["master_link_status"] == "up")  # type: ignore[index]
            positions = [await layers[0].aappend("g", "seen by both", KEEP)]
            assert a.wait(1, 10_000) == 1
            b.replicaof("NO", "ONE")
            positions.append(await layers[0].aappend("g", "acknowledged, and lost", KEEP))
            a.replicaof("127.0.0.1", servers[1].port)
            wait_until(lambda: a.info("replication")["master_link_status"] == "up")  # type: ignore[index]
            with pytest.raises(LayerUnavailable, match="master"):
                await layers[0].aread("g", KEEP, after=positions[0])
            positions.append((await layers[1].aread("g", KEEP, after=None)).position)
            a.replicaof("NO", "ONE")
        positions.append((await layers[0].aread("g", KEEP, after=None)).position)
        assert positions[0].epoch == positions[1].epoch
        assert [position.offset for position in positions] == [1, 2, 1, 1]
        assert len({position.epoch for position in positions}) == 3
        for position in positions[:3]:
            assert not (await layers[0].aread("g", KEEP, after=position)).recovered
    finally:
        for layer in layers:
            await layer.close()
        for server in servers:
            server.kill()


# Asked for twice -----------------------------------------------------------------------------------


@pytest.mark.parametrize("in_thread", [False, True])
@pytest.mark.parametrize("key", ["", "a key"])
async def test_an_answer_that_was_lost_is_asked_for_again(in_thread: bool, key: str, shared: Server) -> None:
    """The script had run: the message is kept once, and its position returned."""
    async with Proxy(shared.port) as proxy:
        layer, inbox = RedisLayer(hosts=[proxy.url], prefix=f"twice{in_thread}"), Inbox(DEADLINE_S)
        far = RedisLayer(hosts=[shared.url], prefix=f"twice{in_thread}", publish_timeout_s=DEADLINE_S)
        await far.subscribe(f"g{key[:1]}", inbox)
        before = await layer.aread(f"g{key[:1]}", KEEP, after=None)
        await asyncio.to_thread(layer.read, f"g{key[:1]}", KEEP, after=None)
        proxy.lose_answers()
        if in_thread:
            appending = asyncio.ensure_future(asyncio.to_thread(layer.append, f"g{key[:1]}", "once", KEEP, key=key))
        else:
            appending = asyncio.ensure_future(layer.aappend(f"g{key[:1]}", "once", KEEP, key=key))
        async with asyncio.timeout(DEADLINE_S):
            await proxy.answered.wait()
            proxy.stop_losing()
            position = await appending
        assert position.offset == before.position.offset + 1
        assert await inbox.take() == Kept("once", position, key)
        missed = await far.aread(f"g{key[:1]}", KEEP, after=before.position)
        assert (data_of(missed), missed.position) == (["once"], position)
        assert inbox.empty
        await layer.close()
        await far.close()


async def test_what_cannot_be_known_any_more_is_not_appended_again(valkey: Server) -> None:
    """The window is so small that the message may have been in it and gone."""
    keep = Keep(count=2, age_s=60.0, max_bytes=1_000)
    async with Proxy(valkey.port) as proxy:
        layer, near = (RedisLayer(hosts=[url], prefix="unknown") for url in (proxy.url, valkey.url))
        await layer.aappend("g", "before", keep)
        proxy.lose_answers()
        appending = asyncio.ensure_future(layer.aappend("g", "perhaps", keep))
        async with asyncio.timeout(DEADLINE_S):
            await proxy.answered.wait()
            for number in range(10):
                await near.aappend("g", str(number), keep)
            proxy.stop_losing()
            with pytest.raises(LayerUnavailable, match="does not tell whether it was"):
                await appending
        assert data_of(await near.aread("g", keep, after=Position(0, "another"))) == ["8", "9"]
        await layer.close()
        await near.close()


async def test_a_plain_message_is_not_sent_twice(valkey: Server) -> None:
    """Long ones go by a script, too, and that is asked once."""
    async with Proxy(valkey.port) as proxy:
        layer, inbox = RedisLayer(hosts=[proxy.url], prefix="plain"), Inbox(DEADLINE_S)
        near = RedisLayer(hosts=[valkey.url], prefix="plain")
        await near.subscribe("g", inbox)
        await layer.apublish("g", "x" * 50_000)
        proxy.lose_answers()
        publishing = asyncio.ensure_future(layer.apublish("g", "y" * 50_000))
        async with asyncio.timeout(DEADLINE_S):
            await proxy.answered.wait()
            proxy.stop_losing()
            with pytest.raises(LayerUnavailable):
                await publishing
        await near.apublish("g", "the end")
        assert await inbox.take_many(3) == ["x" * 50_000, "y" * 50_000, "the end"]
        await layer.close()
        await near.close()


# Scripts half done, and keys that are gone -----------------------------------------------------------

# What a script writes with, in its order; an error of PUBLISH comes after all is kept.
WRITES = ("XADD", "HSET", "XTRIM", "HDEL", "SET", "PUBLISH")


@pytest.mark.parametrize("command", WRITES)
async def test_a_script_that_ends_half_way_leaves_no_lie(command: str, valkey: Server) -> None:
    """The server refuses one of its commands, when others of it were done already. What was acknowledged before is
    there, or its loss is told; what was not acknowledged is at no position that is used again."""
    keep = Keep(count=4, age_s=60.0, max_bytes=1_000)
    prefix = f"half{command}"
    layer, inbox = RedisLayer(hosts=[valkey.url], prefix=prefix), Inbox(DEADLINE_S)
    with valkey.client() as client:
        client.execute_command("ACL", "SETUSER", "lame", "on", ">x", "~*", "&*", "+@all", f"-{command}")
    lame = RedisLayer(hosts=[f"redis://lame:x@127.0.0.1:{valkey.port}"], prefix=prefix)
    seen: dict[Position, Any] = {}

    async def append_until_refused(number: int) -> None:
        while command in ("XTRIM", "HDEL"):  # are not needed by each append
            position = await lame.aappend("g", f"{number} more", keep)
            assert seen.setdefault(position, f"{number} more") == f"{number} more"
        await lame.aappend("g", f"{number} half", keep, key=f"half {number}")

    await layer.subscribe("g", inbox)
    for number in range(30):
        kept = [await layer.aappend("g", f"{number}.{step}", keep) for step in range(1 + number % 3)]
        for position, step in zip(kept, range(3), strict=False):
            assert seen.setdefault(position, f"{number}.{step}") == f"{number}.{step}"
        with pytest.raises(LayerUnavailable):
            await append_until_refused(number)
        missed = await layer.aread("g", keep, after=kept[-1])
        for message in missed.messages:
            assert seen.setdefault(message.position, message.data) == message.data
        offsets = [message.position.offset for message in missed.messages]
        assert offsets == list(range(missed.position.offset - len(offsets) + 1, missed.position.offset + 1))
        assert not missed.recovered or len(offsets) == missed.position.offset - kept[-1].offset
        again = await layer.aappend("g", f"{number} half", keep, key=f"half {number}")
        assert seen.setdefault(again, f"{number} half") == f"{number} half"
    await layer.apublish("g", "the end")
    while (message := await inbox.take()) != "the end":
        assert isinstance(message, Kept)
        assert seen[message.position] == message.data
    with valkey.client() as client:
        client.acl_deluser("lame")
    await layer.close()
    await lame.close()


@pytest.mark.parametrize("kind", ["messages", "requests"])
async def test_a_key_that_was_evicted_is_an_honest_loss(kind: str, shared: Server) -> None:
    layer = RedisLayer(hosts=[shared.url], prefix=f"evicted{kind}")
    positions = [await layer.aappend("g", str(number), KEEP) for number in range(3)]
    with shared.client() as client:
        client.delete(f"{{evicted{kind}:g}}:{kind}")
    missed = await layer.aread("g", KEEP, after=positions[0])
    assert (missed.recovered, data_of(missed), missed.position) == (False, [], positions[2])
    position = await layer.aappend("g", "next", KEEP)
    assert position == (4, positions[2].epoch)
    assert data_of(await layer.aread("g", KEEP, after=positions[2])) == ["next"]
    await layer.close()


async def test_a_full_server_refuses_and_keeps_nothing(server: Server) -> None:
    layer = RedisLayer(hosts=[server.url])
    position = await layer.aappend("g", "before", KEEP)
    with server.client() as client:
        client.config_set("maxmemory", 1)
        with pytest.raises(LayerUnavailable, match="maxmemory"):
            await layer.aappend("g", "too much", KEEP)
        client.config_set("maxmemory", 0)
    assert await layer.aappend("g", "after", KEEP) == (2, position.epoch)
    assert data_of(await layer.aread("g", KEEP, after=position)) == ["after"]
    await layer.close()

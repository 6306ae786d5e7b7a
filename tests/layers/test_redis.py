"""The Redis layer against real servers: what happens when they fail, and what it leaves behind."""

from __future__ import annotations

import asyncio
import logging
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from asgiref.sync import async_to_sync

from fullduplex import watched
from fullduplex.exceptions import ChannelFull, LayerUnavailable
from fullduplex.layers.redis import RedisLayer, pipeline
from fullduplex.layers.redis.loop_state import LoopState
from fullduplex.layers.redis.subscriber import Subscriber
from fullduplex.testing.layers import Inbox
from tests.layers.servers import Cluster, Sentinel, Server, free_port, wait_until

DEADLINE_S = 30.0

# Deadlines for tests of failures, so that they do not take long.
IMPATIENT: dict[str, Any] = {
    "connect_timeout_s": 0.5,
    "publish_timeout_s": 0.5,
    "subscribe_timeout_s": 0.5,
    "ping_interval_s": 0.2,
    "ping_timeout_s": 0.2,
}


def connections(server: Server) -> int:
    """Those that the server sees, besides the one that asks."""
    with server.client() as client:
        return len(client.client_list()) - 1


async def until(condition: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
    async with asyncio.timeout(deadline_s):
        while not condition():
            await asyncio.sleep(0.01)


def unreachable() -> str:
    return f"redis://127.0.0.1:{free_port()}"


# What is on the server ---------------------------------------------------------------------------


async def test_subscribing_is_done_when_it_returns_and_is_done_once(server: Server) -> None:
    layer = RedisLayer(hosts=[server.url], prefix="site")
    with server.client() as client:
        for number in range(20):
            await layer.subscribe(f"g{number}", Inbox(1.0))
            assert client.pubsub_numsub(f"site:g{number}") == [(f"site:g{number}".encode(), 1)]
        await asyncio.gather(*(layer.subscribe("same", Inbox(1.0)) for _ in range(20)))
        assert client.pubsub_numsub("site:same") == [(b"site:same", 1)]
        await layer.apublish("same", "x")
        assert connections(server) == 3  # one listens, one publishes, and one is that of this test
        assert client.keys("*") == []
        await layer.unsubscribe("same")
        await until(lambda: client.pubsub_numsub("site:same") == [(b"site:same", 0)])
    await layer.close()
    await until(lambda: connections(server) == 0)


async def test_prefixes_are_apart(valkey: Server) -> None:
    here, there = RedisLayer(hosts=[valkey.url], prefix="one"), RedisLayer(hosts=[valkey.url], prefix="two")
    inbox = Inbox(DEADLINE_S)
    await here.subscribe("g", inbox)
    await there.apublish("g", "to others")
    await here.apublish("g", "to us")
    assert await inbox.take() == "to us"
    await here.close()
    await there.close()


async def test_an_encrypted_message_is_unreadable_on_the_way(valkey: Server, caplog: pytest.LogCaptureFixture) -> None:
    old = RedisLayer(hosts=[valkey.url], prefix="sealed", symmetric_encryption_keys=["old"])
    both = RedisLayer(hosts=[valkey.url], prefix="sealed", symmetric_encryption_keys=["new", "old"])
    plain, inbox = RedisLayer(hosts=[valkey.url], prefix="sealed"), Inbox(DEADLINE_S)
    await both.subscribe("g", inbox)
    with valkey.client() as client, client.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe("sealed:g")
        listener.get_message(timeout=DEADLINE_S)
        await old.apublish("g", "a secret")
        seen = listener.get_message(timeout=DEADLINE_S)
    assert seen is not None
    assert b"secret" not in seen["data"]
    assert await inbox.take() == "a secret"
    await plain.apublish("g", "forged")
    await both.apublish("g", "the next")
    assert await inbox.take() == "the next"
    assert "A message to 'g' cannot be read: no key of symmetric_encryption_keys fits" in caplog.text
    for layer in (old, both, plain):
        await layer.close()


# Who publishes from where ------------------------------------------------------------------------


def test_loops_that_come_and_go_leave_nothing(server: Server) -> None:
    """As in Celery tasks and management commands (cr#332: "event loop is closed")."""
    layer = RedisLayer(hosts=[server.url])
    with server.client() as client, client.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe("fullduplex:g")
        for number in range(10):
            asyncio.run(layer.apublish("g", f"run {number}"))
            async_to_sync(layer.apublish)("g", f"sync {number}")
            layer.publish("g", f"thread {number}")
        heard: list[str] = []
        while len(heard) < 30:
            message = listener.get_message(timeout=DEADLINE_S)
            if message is not None:
                heard.append(message["data"].decode())
        assert heard == [f"t{who} {number}" for number in range(10) for who in ("run", "sync", "thread")]
        wait_until(lambda: connections(server) == 2)  # the listener's, and that of this thread
    asyncio.run(layer.close())
    wait_until(lambda: connections(server) == 0)


def test_a_closed_loop_is_forgotten(server: Server) -> None:
    layer = RedisLayer(hosts=[server.url])
    asyncio.run(layer.subscribe("g", lambda message: None))
    assert layer._loops == {}
    wait_until(lambda: connections(server) == 0)


def test_many_threads_share_a_few_connections(server: Server) -> None:
    layer = RedisLayer(hosts=[server.url], max_connections_count=3)
    counts: list[int] = []

    def publish() -> None:
        for _ in range(50):
            layer.publish("g", "x")

    threads = [threading.Thread(target=publish) for _ in range(20)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        counts.append(connections(server))
    assert 1 <= max(counts) <= 3
    layer._threads.close()


FORKING = """
import asyncio, os, sys
from fullduplex.layers.redis import RedisLayer

async def main(layer):
    heard = asyncio.Queue()
    await layer.subscribe("g", heard.put_nowait)
    await layer.apublish("g", "before")
    layer_of_threads = await asyncio.to_thread(layer.publish, "g", "by a thread")
    assert {await heard.get(), await heard.get()} == {"before", "by a thread"}
    child = os.fork()
    if child == 0:
        asyncio._set_running_loop(None)  # the parent's loop is not ours
        layer.publish("g", "by the child")
        asyncio.run(in_child(layer))
        os._exit(0)
    async with asyncio.timeout(30):
        assert [await heard.get() for _ in range(2)] == ["by the child", "by its loop"]
        await layer.apublish("g", "after")
        assert await heard.get() == "after"
    assert os.waitpid(child, 0)[1] == 0
    await layer.close()

async def in_child(layer):
    heard = asyncio.Queue()
    await layer.subscribe("other", heard.put_nowait)
    await layer.apublish("other", "own")
    assert await heard.get() == "own"
    await layer.apublish("g", "by its loop")
    await layer.close()

asyncio.run(main(RedisLayer(hosts=[sys.argv[1]])))
"""


def test_after_a_fork_both_go_on(server: Server) -> None:
    # Python warns of every fork beside threads, from 3.15 on of this one too; this is about such forks.
    warnings = ("-W", "error", "-W", "ignore:This process:DeprecationWarning")
    result = subprocess.run(
        [sys.executable, *warnings, "-c", FORKING, server.url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")


# When it cannot be reached -----------------------------------------------------------------------


async def test_nobody_waits_for_ever() -> None:
    layer = RedisLayer(hosts=[unreachable()], **IMPATIENT)
    for attempt in (
        layer.apublish("g", "x"),
        layer.subscribe("g", Inbox(1.0)),
        layer.open(),
        asyncio.to_thread(layer.publish, "g", "x"),
        layer.push("q", "x", capacity=1, expiry_s=1),
    ):
        started_s = time.monotonic()
        with pytest.raises(LayerUnavailable, match=r"refused.*gave up|gave up.*0.5 s"):
            await attempt
        assert time.monotonic() - started_s < DEADLINE_S
    await layer.close()


async def test_a_wrong_password_is_told_at_once(tmp_path: Path) -> None:
    server = Server(tmp_path, "--requirepass", "secret")
    try:
        server.start()
        right = RedisLayer(hosts=[f"redis://:secret@127.0.0.1:{server.port}"])
        wrong = RedisLayer(
            hosts=[f"redis://:guess@127.0.0.1:{server.port}"], publish_timeout_s=60, subscribe_timeout_s=60
        )
        none = RedisLayer(hosts=[server.url], publish_timeout_s=60, subscribe_timeout_s=60)
        async with asyncio.timeout(DEADLINE_S):
            await right.apublish("g", "x")
            for layer in (wrong, none):
                for attempt in (
                    layer.apublish("g", "x"),
                    layer.subscribe("g", Inbox(1.0)),
                    asyncio.to_thread(layer.publish, "g", "x"),
                ):
                    with pytest.raises(LayerUnavailable, match=r"(?i)password|authentication"):
                        await attempt
        for layer in (right, wrong, none):
            await layer.close()
    finally:
        server.kill()


async def test_a_server_that_hangs(server: Server) -> None:
    timeouts = dict.fromkeys(IMPATIENT, 2.0)  # a busy machine may seem to hang for a while
    layer = RedisLayer(hosts=[server.url], **{**timeouts, "ping_interval_s": 0.2})
    inbox, gaps = Inbox(DEADLINE_S), Inbox(DEADLINE_S)
    lost: list[str] = []
    layer.watchers.on_disconnect = lambda: lost.append("lost")
    await layer.subscribe("g", inbox, lambda: gaps("gap"))
    await layer.apublish("g", "before")
    await asyncio.to_thread(layer.publish, "g", "before")
    server.pause()
    for attempt in (layer.apublish("g", "x"), asyncio.to_thread(layer.publish, "g", "x"), layer.subscribe("h", inbox)):
        with pytest.raises(LayerUnavailable):
            async with asyncio.timeout(DEADLINE_S):
                await attempt
    await until(lambda: bool(lost))
    server.resume()
    assert await gaps.take() == "gap"
    await layer.apublish("g", "after")
    received = await inbox.take_many(3)
    while received[-1] != "after":
        received.append(await inbox.take())
    assert received[:2] == ["before", "before"]
    await layer.close()


async def test_waiting_messages_are_bounded_in_bytes(server: Server) -> None:
    layer = RedisLayer(hosts=[server.url], max_pending_bytes=1_000_000, publish_timeout_s=1.0)
    await layer.open()
    server.pause()
    attempts = [asyncio.ensure_future(layer.apublish("g", "x" * 100_000)) for _ in range(50)]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    server.resume()
    assert {type(result) for result in results} <= {LayerUnavailable, ChannelFull}
    assert ChannelFull in {type(result) for result in results}
    await layer.close()


# When it is lost and comes back ------------------------------------------------------------------


async def test_killed_and_started_again(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """Members are told, delivery resumes within 2 seconds of its return, and nothing leaks."""
    layer = RedisLayer(hosts=[server.url])
    told: list[str] = []
    layer.watchers.on_disconnect = lambda: told.append("lost")

    async def back() -> None:
        told.append("back")

    layer.watchers.on_reconnect = back
    inboxes = {f"g{number}": Inbox(DEADLINE_S) for number in range(50)}
    gaps: list[str] = []
    for name, inbox in inboxes.items():
        await layer.subscribe(name, inbox, lambda name=name: gaps.append(name))  # type: ignore[misc]
    await layer.apublish("g0", "before")
    await asyncio.to_thread(layer.publish, "g0", "before")
    assert await inboxes["g0"].take_many(2) == ["before", "before"]
    before, tasks = connections(server), len(asyncio.all_tasks())

    for round in range(3):
        server.kill()
        await until(lambda: told[-1:] == ["lost"])
        server.start()
        returned_s = time.monotonic()
        for number, (name, inbox) in enumerate(inboxes.items()):
            await until(lambda: name in gaps)  # noqa: B023
            await layer.apublish(name, f"{round} {number}")
            assert await inbox.take() == f"{round} {number}"
        assert time.monotonic() - returned_s < 10
        await asyncio.to_thread(layer.publish, "g0", "by a thread")
        assert await inboxes["g0"].take() == "by a thread"
        assert sorted(gaps) == sorted(inboxes)
        gaps.clear()

    await until(lambda: told == ["lost", "back"] * 3)
    assert all(inbox.empty for inbox in inboxes.values())
    with server.client() as client:
        assert [count for _, count in client.pubsub_numsub(*(f"fullduplex:{name}" for name in inboxes))] == [1] * 50
    assert (connections(server), len(asyncio.all_tasks())) == (before, tasks)
    lost = [record for record in caplog.records if "Messages to 50 names are missed" in record.getMessage()]
    back_again = [record for record in caplog.records if "subscribing to 50 names anew" in record.getMessage()]
    assert (len(lost), len(back_again)) == (3, 3)
    await layer.close()
    await until(lambda: connections(server) == 0)


async def test_closing_while_others_wait(server: Server) -> None:
    """They are told, and nothing is opened behind the back of who closed it."""
    layer = RedisLayer(hosts=[server.url], max_pending_bytes=1000)
    await layer.open()
    server.pause()
    waiting = [asyncio.ensure_future(layer.apublish("g", "x" * 900)) for _ in range(5)]
    waiting += [asyncio.ensure_future(layer.subscribe(f"g{number}", Inbox(1.0))) for number in range(2)]
    waiting += [asyncio.ensure_future(layer.pop("q"))]
    await asyncio.sleep(0.05)
    await layer.close()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(result) for result in results} == {LayerUnavailable}
    server.resume()
    await until(lambda: connections(server) == 0)


async def test_joining_while_it_is_away_waits_for_it(server: Server) -> None:
    layer, inbox = RedisLayer(hosts=[server.url]), Inbox(DEADLINE_S)
    server.kill()
    joining = [asyncio.ensure_future(layer.subscribe(f"g{number % 2}", inbox)) for number in range(4)]
    publishing = asyncio.ensure_future(layer.apublish("nobody", "x"))
    await asyncio.sleep(0.2)
    server.start()
    await asyncio.gather(*joining, publishing)
    await layer.apublish("g1", "x")
    assert await inbox.take() == "x"
    await layer.close()


async def test_what_was_left_meanwhile_is_not_subscribed_again(server: Server) -> None:
    layer, gaps = RedisLayer(hosts=[server.url]), Inbox(DEADLINE_S)
    await layer.subscribe("stays", Inbox(1.0), lambda: gaps("stays"))
    await layer.subscribe("goes", Inbox(1.0), lambda: gaps("goes"))
    server.kill()
    await layer.unsubscribe("goes")
    server.start()
    assert await gaps.take() == "stays"
    with server.client() as client:
        assert client.pubsub_numsub("fullduplex:goes") == [(b"fullduplex:goes", 0)]
    await layer.close()
    assert gaps.empty


async def test_a_gap_is_told_after_the_confirmation(server: Server) -> None:
    """So that who fetches the state then misses nothing."""
    layer, inbox = RedisLayer(hosts=[server.url]), Inbox(DEADLINE_S)

    def publish_at_once() -> None:
        with server.client() as client:
            assert client.publish("fullduplex:g", b"tright after") == 1

    await layer.subscribe("g", inbox, publish_at_once)
    with server.client() as client:
        client.client_kill_filter(_type="pubsub")
    assert await inbox.take() == "right after"
    await layer.close()


async def test_subscribers_that_fail_are_logged(valkey: Server, caplog: pytest.LogCaptureFixture) -> None:
    layer, inbox = RedisLayer(hosts=[valkey.url]), Inbox(DEADLINE_S)

    def fail(*message: object) -> None:
        raise ZeroDivisionError

    await layer.subscribe("bad", fail, fail)
    await layer.subscribe("good", inbox, lambda: inbox("gap"))
    layer.watchers.on_disconnect = fail
    await layer.apublish("bad", "x")
    await layer.apublish("good", "y")
    assert await inbox.take() == "y"
    with valkey.client() as client:
        client.client_kill_filter(_type="pubsub")
    assert await inbox.take() == "gap"
    for problem in (
        "A subscriber failed to take a message",
        "A subscriber failed to take note of a gap",
        "A callback of the Redis layer failed",
    ):
        assert problem in caplog.messages
    await layer.close()


async def test_a_flood_leaves_the_loop_time_for_other_work(valkey: Server) -> None:
    layer, other = RedisLayer(hosts=[valkey.url], slice_s=0.001), RedisLayer(hosts=[valkey.url])
    received = 0

    def count(message: object) -> None:
        nonlocal received
        received += 1

    await layer.subscribe("g", count)
    flood = threading.Thread(target=lambda: [other.publish("g", "x" * 100) for _ in range(2000)])
    flood.start()
    flood.join()  # the loop stands still meanwhile: all of it comes at once
    turns = 0
    while received < 2000:
        await asyncio.sleep(0)
        turns += 1
    assert turns > 5
    await layer.close()
    await other.close()


# Ways to reach it --------------------------------------------------------------------------------


async def exchange(layer: RedisLayer, group: str = "g") -> None:
    """Publish in both ways, and receive."""
    inbox = Inbox(DEADLINE_S)
    await layer.subscribe(group, inbox)
    await layer.apublish(group, "by a loop")
    assert await inbox.take() == "by a loop"
    await asyncio.to_thread(layer.publish, group, "by a thread")
    assert await inbox.take() == "by a thread"
    await layer.close()


async def test_a_unix_socket_with_a_password(tmp_path: Path) -> None:
    server = Server(tmp_path, "--unixsocket", str(tmp_path / "s"), "--requirepass", "secret")
    try:
        server.start()
        await exchange(RedisLayer(hosts=[f"unix://:secret@{tmp_path / 's'}?db=1"]))
    finally:
        server.kill()


async def test_tls(valkey: Server, tmp_path: Path) -> None:
    """Through a proxy that ends TLS, since not every build of the servers has it."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    proxied: set[asyncio.Task[Any]] = set()

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        proxied.add(asyncio.current_task())  # type: ignore[arg-type]
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", valkey.port)
        await asyncio.gather(_copy(reader, there_writer), _copy(there_reader, writer))

    listener = await asyncio.start_server(proxy, "127.0.0.1", 0, ssl=context)
    url = f"rediss://localhost:{listener.sockets[0].getsockname()[1]}"
    distrustful = RedisLayer(hosts=[url], publish_timeout_s=3.0)
    try:
        await exchange(RedisLayer(hosts=[{"address": url, "ssl_ca_certs": str(tmp_path / "ca.pem")}]))
        with pytest.raises(LayerUnavailable, match=r"(?i)certificate"):
            await distrustful.apublish("g", "x")
    finally:
        await distrustful.close()
        listener.close()
        await listener.wait_closed()
        await asyncio.wait(proxied)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def test_names_are_spread_over_two_servers_and_nothing_is_lost(valkey: Server, redis6: Server) -> None:
    """cr#221: with two hosts, half of what was sent was received nowhere."""
    here, there = (RedisLayer(hosts=[valkey.url, redis6.url], prefix="spread") for _ in range(2))
    inboxes = {f"g{number}": Inbox(DEADLINE_S) for number in range(20)}
    for name, inbox in inboxes.items():
        await here.subscribe(name, inbox)
    counts = []
    for server in (valkey, redis6):
        with server.client() as client:
            counts.append(len(client.pubsub_channels("spread:*")))
    assert sum(counts) == 20
    assert min(counts) > 0
    for name, inbox in inboxes.items():
        for number in range(5):
            await there.apublish(name, str(number))
        assert await inbox.take_many(5) == [str(number) for number in range(5)]
        await there.push(name, name, capacity=1, expiry_s=60)
        assert await here.pop(name) == name
    await here.close()
    await there.close()


async def test_a_slot_moves_to_another_node(cluster: Cluster) -> None:
    layer, inbox, gaps = RedisLayer(hosts=cluster.urls[:1], cluster=True), Inbox(DEADLINE_S), Inbox(DEADLINE_S)
    await layer.subscribe("moving", inbox, lambda: gaps("gap"))
    await layer.apublish("moving", "before")
    await asyncio.to_thread(layer.publish, "moving", "before")
    assert await inbox.take_many(2) == ["before", "before"]
    slot, source, target = _place(cluster, "fullduplex:moving")
    try:
        _migrate(cluster, slot, target)
        assert await gaps.take() == "gap"
        await layer.apublish("moving", "after")
        await asyncio.to_thread(layer.publish, "moving", "after")
        assert await inbox.take_many(2) == ["after", "after"]
    finally:
        _migrate(cluster, slot, source)
    assert await gaps.take() == "gap"
    await layer.close()


def _place(cluster: Cluster, name: str) -> tuple[int, str, str]:
    """The slot of a name, the id of the node that serves it, and that of another one."""
    with cluster.nodes[0].client() as client:
        slot = int(client.execute_command("CLUSTER", "KEYSLOT", name))
        ranges: Any = client.execute_command("CLUSTER", "SLOTS")
    owner = next(node[2] for first, last, node, *_ in ranges if first <= slot <= last)
    other = next(node[2] for _, _, node, *_ in ranges if node[2] != owner)
    return slot, _text(owner), _text(other)


def _migrate(cluster: Cluster, slot: int, node: str) -> None:
    for server in cluster.nodes:
        with server.client() as client:
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", node)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


async def test_sentinel_names_another_master(tmp_path: Path) -> None:
    master = Server(tmp_path / "master")
    replica = Server(tmp_path / "replica", "--replicaof", f"127.0.0.1 {master.port}", "--repl-diskless-sync-delay", "0")
    sentinel: Sentinel | None = None
    try:
        master.start()
        replica.start()
        with master.client() as client:
            client.config_set("repl-diskless-sync-delay", 0)
        wait_until(lambda: _replicates(replica))
        sentinel = Sentinel(tmp_path / "sentinel", master)
        sentinel.start()
        with sentinel.client() as client:
            wait_until(lambda: len(client.sentinel_slaves("main")) == 1)
        layer = RedisLayer(
            hosts=[{"sentinels": [("127.0.0.1", sentinel.port)], "master_name": "main"}], publish_timeout_s=DEADLINE_S
        )
        inbox, gaps = Inbox(20), Inbox(20)
        await layer.subscribe("g", inbox, lambda: gaps("gap"))
        await layer.apublish("g", "before")
        assert await inbox.take() == "before"
        master.kill()
        assert await gaps.take() == "gap"
        await layer.apublish("g", "after")
        assert await inbox.take() == "after"
        await asyncio.to_thread(layer.publish, "g", "by a thread")
        assert await inbox.take() == "by a thread"
        assert connections(replica) >= 2
        await layer.close()
    finally:
        for server in (sentinel, replica, master):
            if server is not None:
                server.kill()


def _replicates(replica: Server) -> bool:
    with replica.client() as client:
        info: Any = client.info("replication")
    return info["master_link_status"] == "up"


def test_logging_names_no_secrets(caplog: pytest.LogCaptureFixture) -> None:
    layer = RedisLayer(hosts=[f"redis://user:pa55word@127.0.0.1:{free_port()}"], **IMPATIENT)
    with caplog.at_level(logging.DEBUG), pytest.raises(LayerUnavailable) as caught:
        layer.publish("g", "x")
    assert "pa55word" not in caplog.text + str(caught.value)


# Faults of our own ---------------------------------------------------------------------------


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "PAUSE_S", 0.0)


def fail_once(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[Exception]:
    """Have a method raise what we do not expect, the first time; return what it has yet to raise."""
    original, failures = getattr(owner, name), [LookupError("a fault of ours")]

    def method(*args: Any) -> Any:
        if failures:
            raise failures.pop()
        return original(*args)

    monkeypatch.setattr(owner, name, method)
    return failures  # type: ignore[return-value]


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("name", ["_take_reply", "_tell_return", "_subscribe_all"])
async def test_listening_goes_on_after_a_fault(
    name: str, valkey: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    layer, inbox = RedisLayer(hosts=[valkey.url], prefix=f"fault{name}"), Inbox(DEADLINE_S)
    fail_once(monkeypatch, Subscriber, name)
    await layer.subscribe("g", inbox)
    await layer.apublish("g", "still here")
    assert await inbox.take() == "still here"
    assert f"Listening to Redis at 127.0.0.1:{valkey.port} failed; it is started again" in caplog.text
    await layer.close()


@pytest.mark.usefixtures("at_once")
async def test_a_fault_while_it_looks_who_serves_its_names_ends_no_subscription(
    valkey: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    layer, inbox = RedisLayer(hosts=[valkey.url], prefix="faulty"), Inbox(DEADLINE_S)
    await layer.subscribe("g", inbox)
    failures = fail_once(monkeypatch, LoopState, "_refresh")
    with valkey.client() as client:
        client.client_kill_filter(_type="pubsub")
        await until(lambda: not failures)
        await until(lambda: client.pubsub_numsub("faulty:g") == [(b"faulty:g", 1)])
    await layer.apublish("g", "still here")
    assert await inbox.take() == "still here"
    assert "Listening to Redis" in caplog.text
    await layer.close()


@pytest.mark.usefixtures("at_once")
async def test_names_that_have_moved_find_their_place_after_a_fault(
    valkey: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    layer, inboxes = RedisLayer(hosts=[valkey.url], prefix="moving"), [Inbox(DEADLINE_S) for _ in "abc"]
    for name, inbox in zip("abc", inboxes, strict=True):
        await layer.subscribe(name, inbox)
    state = layer._loop_state()
    (subscriber,) = state._subscribers.values()
    add, failures = subscriber.add, [LookupError("a fault of ours")]

    async def fail_second_time(subscription: Any) -> None:
        if subscription.name == b"moving:b" and failures:
            raise failures.pop()
        await add(subscription)

    monkeypatch.setattr(subscriber, "add", fail_second_time)
    for subscription in subscriber.subscriptions:
        subscriber._stray(subscription)
    await until(lambda: not failures and state._rehoming is None)
    for name, inbox in zip("abc", inboxes, strict=True):
        await state._subscriptions[f"moving:{name}".encode()].wait_confirmed()
        await layer.apublish(name, "still here")
        assert await inbox.take() == "still here"
    assert "Subscribing to names that have moved failed; it is started again" in caplog.text
    await layer.close()


async def test_who_waits_for_an_answer_hears_of_a_fault_and_the_next_is_answered(
    valkey: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    layer = RedisLayer(hosts=[valkey.url], publish_timeout_s=DEADLINE_S)
    await layer.apublish("g", "one")
    fail_once(monkeypatch, pipeline, "_is_stale")
    with pytest.raises(LayerUnavailable, match="a fault of ours"):
        await layer.apublish("g", "two")
    await layer.apublish("g", "three")
    assert "The connection to Redis at" in caplog.text
    await layer.close()

"""Both channel layers on a real server: what they share, and what is different."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import override_settings
from redis.asyncio import Redis

from fullduplex.channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from fullduplex.channels.redis.core import RedisChannelLayer
from fullduplex.channels.redis.pubsub import RedisPubSubChannelLayer
from fullduplex.channels.redis.utils import create_pool
from fullduplex.channels.testing import WebsocketCommunicator
from fullduplex.exceptions import ChannelFull, ConfigurationError, LayerUnavailable
from fullduplex.layers import close_layer, get_layer
from fullduplex.layers.channels import get_channel_layer
from fullduplex.layers.redis import RedisLayer
from fullduplex.testing.layers import Inbox
from tests.layers.servers import Cluster, Server, free_port

DEADLINE_S = 30.0
Make = Callable[..., Any]


@pytest.fixture(params=[RedisChannelLayer, RedisPubSubChannelLayer], ids=["core", "pubsub"])
def make(request: pytest.FixtureRequest, valkey: Server) -> Make:
    """Makes layers of one kind; several of them stand for several processes."""

    def make_layer(**options: Any) -> Any:
        return request.param(hosts=[valkey.url], prefix=f"test{os.urandom(4).hex()}", **options)

    return make_layer


def peer(layer: Any, **options: Any) -> Any:
    """The same layer in another process."""
    return type(layer)(layer=RedisLayer(hosts=[_url(layer)], prefix=layer.prefix), **options)


def _url(layer: Any) -> str:
    (host,) = layer.layer._topology.servers()
    return f"redis://{host.label}"


async def receive(layer: Any, channel: str) -> Any:
    async with asyncio.timeout(DEADLINE_S):
        return await layer.receive(channel)


async def nothing_comes(layer: Any, channel: str) -> bool:
    try:
        async with asyncio.timeout(0.1):
            await layer.receive(channel)
    except TimeoutError:
        return True
    return False


# What both do ------------------------------------------------------------------------------------


async def test_to_a_channel_of_another_process(make: Make) -> None:
    here = make()
    there = peer(here)
    channel = await here.new_channel()
    for number in range(20):
        await there.send(channel, {"type": "x", "number": number, "bytes": b"\x00\xff"})
    assert [(await receive(here, channel))["number"] for _ in range(20)] == list(range(20))
    await here.close()
    await there.close()


async def test_to_a_group_across_processes(make: Make) -> None:
    here = make()
    there = peer(here)
    members = [(layer, await layer.new_channel()) for layer in (here, there, here)]
    for layer, channel in members:
        await layer.group_add("g", channel)
    await there.group_send("g", {"type": "x", "list": [1]})
    first = await receive(*members[0])
    first["list"].append(2)  # each receiver has a message of its own
    assert [await receive(layer, channel) for layer, channel in members[1:]] == [{"type": "x", "list": [1]}] * 2
    await here.group_discard("g", members[0][1])
    await here.group_send("g", {"type": "y"})
    assert await receive(*members[2]) == {"type": "y"}
    assert await nothing_comes(*members[0])
    await here.close()
    await there.close()


async def test_send_and_group_send_keep_their_order(make: Make) -> None:
    layer = make()
    channel = await layer.new_channel()
    await layer.group_add("g", channel)
    for number in range(50):
        if number % 2:
            await layer.send(channel, {"n": number})
        else:
            await layer.group_send("g", {"n": number})
    assert [(await receive(layer, channel))["n"] for _ in range(50)] == list(range(50))
    await layer.close()


async def test_one_subscription_for_a_group_and_one_for_all_channels(make: Make, valkey: Server) -> None:
    layer = make()
    channels = [await layer.new_channel() for _ in range(50)]
    await asyncio.gather(*(layer.group_add("g", channel) for channel in channels))
    with valkey.client() as client:
        assert len(client.pubsub_channels(f"{layer.prefix}:*")) == 2
        for channel in channels:
            await layer.discard_channel(channel)
        async with asyncio.timeout(DEADLINE_S):
            while len(client.pubsub_channels(f"{layer.prefix}:*")) != 1:
                await asyncio.sleep(0.01)
        assert client.keys(f"{layer.prefix}*") == []
    await layer.close()


async def test_a_receiver_that_is_cancelled_loses_nothing(make: Make) -> None:
    layer = make()
    channel = await layer.new_channel()
    for number in range(100):
        receiving = asyncio.ensure_future(layer.receive(channel))
        await asyncio.sleep(0)
        await layer.send(channel, {"n": number})
        for _ in range(number % 10):
            await asyncio.sleep(0)
        receiving.cancel()
        try:
            message = await receiving
        except asyncio.CancelledError:
            message = await receive(layer, channel)
        assert message == {"n": number}
    await layer.close()


async def test_what_is_too_much_is_dropped_counted_and_logged(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    layer = make(capacity=3)
    stuck, quick = await layer.new_channel(), await layer.new_channel()
    for channel in (stuck, quick):
        await layer.group_add("g", channel)
    for number in range(6):
        await layer.group_send("g", {"n": number})
        assert await receive(layer, quick) == {"n": number}
    assert [(await receive(layer, stuck))["n"] for _ in range(3)] == [0, 1, 2]
    assert layer.dropped_count == 3
    assert "1 of 2 channels over capacity in group g" in caplog.text
    await layer.close()


async def test_a_stuck_channel_is_bounded_in_bytes(make: Make) -> None:
    layer = make(capacity=1_000_000)
    channel = await layer.new_channel()
    await layer.group_add("g", channel)
    for _ in range(8):
        await layer.group_send("g", {"data": b"x" * 300_000})
    async with asyncio.timeout(DEADLINE_S):
        while layer.dropped_count < 5:
            await asyncio.sleep(0.01)
    await layer.group_send("g", {"end": True})
    received = [await receive(layer, channel) for _ in range(4)]
    assert received[3] == {"end": True}
    assert layer.dropped_count == 5
    await layer.close()


async def test_messages_expire(make: Make) -> None:
    layer = make(expiry=0.05)
    channel = await layer.new_channel()
    await layer.send(channel, {"n": 1})
    await asyncio.sleep(0.2)
    assert await nothing_comes(layer, channel)
    await layer.close()


async def test_what_was_sent_while_the_inbox_was_lost_arrives(make: Make, valkey: Server) -> None:
    """cr#256: while pub/sub reconnected, messages were lost without a word."""
    here = make(reconnect_min_s=0.3)
    there = peer(here)
    channel = await here.new_channel()
    receiving = asyncio.ensure_future(here.receive(channel))
    await there.send(channel, {"n": 0})
    assert await receiving == {"n": 0}
    receiving = asyncio.ensure_future(here.receive(channel))
    with valkey.client() as client:
        for listener in client.client_list(_type="pubsub"):
            client.client_kill_filter(_id=listener["id"])
    await there.send(channel, {"n": 1})
    assert await receiving == {"n": 1}
    await here.close()
    await there.close()


async def test_watchers_are_told_of_gaps_once(make: Make, valkey: Server) -> None:
    layer = make()
    told, other = await layer.new_channel(), await layer.new_channel()
    layer.watch_gaps(told)
    for group in ("g", "h"):
        await layer.group_add(group, told)
        await layer.group_add(group, other)
    with valkey.client() as client, override_settings(FULLDUPLEX={"GAP_SPREAD_S": 0.0}):
        client.client_kill_filter(_type="pubsub")
        message = await receive(layer, told)
    assert (message["type"], sorted(message["groups"])) == ("channel_layer.gap", ["g", "h"])
    await layer.group_send("g", {"n": 1})
    assert await receive(layer, other) == {"n": 1}
    assert await receive(layer, told) == {"n": 1}
    await layer.close()


@pytest.mark.parametrize("base", [AsyncWebsocketConsumer, WebsocketConsumer])
async def test_consumers_tell_their_clients_of_gaps(valkey: Server, base: Any) -> None:
    class Consumer(base):  # type: ignore[misc]
        groups = ["g"]  # noqa: RUF012

    layers = {"default": {"BACKEND": "fullduplex.layers.redis.RedisLayer", "CONFIG": {"hosts": [valkey.url]}}}
    with override_settings(CHANNEL_LAYERS=layers, FULLDUPLEX={"GAP_SPREAD_S": 0.0}):
        closed = await _meet_a_gap(Consumer, valkey)
    assert (closed["type"], closed["code"], closed["reason"]) == ("websocket.close", 1012, "messages may be missing")
    settings = {"GAP_POLICY": "continue", "GAP_MESSAGE": '{"type": "gap"}'}
    with override_settings(CHANNEL_LAYERS=layers, FULLDUPLEX=settings):
        told = await _meet_a_gap(Consumer, valkey)
    assert (told["type"], told["text"]) == ("websocket.send", '{"type": "gap"}')


async def _meet_a_gap(consumer: Any, valkey: Server) -> Any:
    communicator = WebsocketCommunicator(consumer.as_asgi(), "/")
    try:
        assert (await communicator.connect())[0]
        with valkey.client() as client:
            client.client_kill_filter(_type="pubsub")
        return await communicator.receive_output(DEADLINE_S)
    finally:
        await communicator.disconnect()
        await get_channel_layer().close()


async def test_callbacks_of_the_configuration(make: Make, valkey: Server) -> None:
    told = Inbox(DEADLINE_S)
    layer = make(on_disconnect=lambda: told("lost"), on_reconnect=lambda: told("back"))
    await layer.new_channel()
    with valkey.client() as client:
        client.client_kill_filter(_type="pubsub")
    assert await told.take_many(2) == ["lost", "back"]
    await layer.close()


async def test_names_and_messages_are_checked(make: Make) -> None:
    layer = make()
    for attempt in (
        layer.send("no name!!", {}),
        layer.receive("no name!!"),
        layer.group_add("no group!", "c"),
        layer.group_send("x" * 100, {}),
    ):
        with pytest.raises(TypeError, match="must be a valid unicode string"):
            await attempt
    with pytest.raises(AssertionError, match="another process"):
        await layer.receive("specific.elsewhere!x")
    await layer.close()


async def test_flush_and_go_on(make: Make) -> None:
    layer = make()
    channel = await layer.new_channel()
    await layer.group_add("g", channel)
    await layer.send("general", {"n": 1})
    await layer.flush()
    await layer.group_send("g", {"n": 2})
    channel = await layer.new_channel()
    await layer.group_add("g", channel)
    await layer.group_send("g", {"n": 3})
    assert await receive(layer, channel) == {"n": 3}
    assert await nothing_comes(layer, "general")
    await layer.close()


async def test_an_unreachable_server_is_an_error(make: Make) -> None:
    impatient = {"connect_timeout_s": 0.2, "publish_timeout_s": 0.2, "subscribe_timeout_s": 0.2}
    layer = type(make())(hosts=[f"redis://127.0.0.1:{free_port()}"], **impatient)
    for attempt in (layer.new_channel(), layer.send("c", {}), layer.group_send("g", {})):
        with pytest.raises(LayerUnavailable):
            await attempt
    await layer.close()


async def test_encrypted(make: Make) -> None:
    layer = make(symmetric_encryption_keys=["key"], serializer_format="json")
    channel = await layer.new_channel()
    await layer.group_add("g", channel)
    await layer.group_send("g", {"n": 1})
    await layer.send(channel, {"n": 2})
    assert [await receive(layer, channel), await receive(layer, channel)] == [{"n": 1}, {"n": 2}]
    await layer.close()


# General channels --------------------------------------------------------------------------------


async def test_core_queues_for_workers(valkey: Server) -> None:
    layer = RedisChannelLayer(hosts=[valkey.url], prefix="workers", capacity=3, channel_capacity={"tiny*": 1})
    await layer.send("tiny.x", {})
    with pytest.raises(ChannelFull):
        await layer.send("tiny.x", {})
    for number in range(3):
        await layer.send("jobs", {"n": number})
    with pytest.raises(ChannelFull, match="3 messages wait on 'jobs'"):
        await layer.send("jobs", {"n": 3})
    workers = [peer(layer) for _ in range(3)]
    assert sorted([(await receive(worker, "jobs"))["n"] for worker in workers]) == [0, 1, 2]
    waiting = [asyncio.ensure_future(worker.receive("jobs")) for worker in workers]
    await layer.send("jobs", {"n": 4})
    done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED, timeout=DEADLINE_S)
    assert [task.result() for task in done] == [{"n": 4}]
    assert len(pending) == 2
    for task in pending:
        task.cancel()
    await asyncio.wait(pending)
    await layer.flush()
    for worker in workers:
        await worker.close()


async def test_pubsub_broadcasts_to_those_who_receive(valkey: Server) -> None:
    layer = RedisPubSubChannelLayer(hosts=[valkey.url], prefix="broadcast")
    others = [peer(layer) for _ in range(2)]
    receiving = [asyncio.ensure_future(other.receive("news")) for other in others]
    with valkey.client() as client:
        async with asyncio.timeout(DEADLINE_S):
            while client.pubsub_numsub("broadcast:channel:news")[0][1] != 2:
                await asyncio.sleep(0.01)
    await layer.send("news", {"n": 1})
    assert await asyncio.gather(*receiving) == [{"n": 1}] * 2
    for one in (layer, *others):
        await one.close()


async def test_pubsub_refuses_channels_of_others(valkey: Server) -> None:
    layer = RedisPubSubChannelLayer(hosts=[valkey.url])
    with pytest.raises(RuntimeError, match="exist in-process"):
        await layer.group_add("g", "specific.elsewhere!x")


async def test_core_lets_any_process_add_a_channel(valkey: Server) -> None:
    """A view may add the consumer whose name stands in the database."""
    here = RedisChannelLayer(hosts=[valkey.url], prefix="remote")
    there = peer(here)
    channel = await here.new_channel()
    await there.group_add("g", channel)
    await there.group_send("g", {"n": 1})
    assert await receive(here, channel) == {"n": 1}
    await there.group_discard("g", channel)
    await there.group_send("g", {"n": 2})
    await there.group_add("g", "specific.gone!x")  # its process has ended: nobody is there to join
    assert await nothing_comes(here, channel)
    await here.close()
    await there.close()


async def test_core_a_general_channel_in_a_group(valkey: Server) -> None:
    layer = RedisChannelLayer(hosts=[valkey.url], prefix="general")
    await layer.group_add("g", "jobs")
    await layer.group_send("g", {"n": 1})
    assert await receive(layer, "jobs") == {"n": 1}
    await layer.close()


async def test_core_in_a_cluster(cluster: Cluster) -> None:
    here, there = (RedisChannelLayer(hosts=cluster.urls, cluster=True, prefix="clustered") for _ in range(2))
    channel = await here.new_channel()
    await here.group_add("g", channel)
    await there.group_send("g", {"n": 1})
    assert await receive(here, channel) == {"n": 1}
    for number in range(10):
        await there.send(f"jobs{number}", {"n": number})
        assert await receive(here, f"jobs{number}") == {"n": number}
    await there.send("rest", {})
    await here.flush()
    assert await nothing_comes(there, "rest")
    await there.close()


# Loops and forks ---------------------------------------------------------------------------------


def test_from_synchronous_code(valkey: Server) -> None:
    """Each call has a loop of its own, and a channel outlives the loop that it was made on."""
    layer = RedisChannelLayer(hosts=[valkey.url], prefix="sync")
    channel = async_to_sync(layer.new_channel)()
    for number in range(3):
        async_to_sync(layer.send)(channel, {"n": number})
        async_to_sync(layer.group_send)("g", {"n": number})
    assert [async_to_sync(receive)(layer, channel)["n"] for _ in range(3)] == [0, 1, 2]


def test_a_loop_that_has_ended_leaves_nothing(make: Make) -> None:
    layer = make()

    async def use() -> None:
        channel = await layer.new_channel()
        await layer.group_add("g", channel)
        await layer.group_send("g", {"n": 1})
        assert await receive(layer, channel) == {"n": 1}

    for _ in range(3):
        async_to_sync(use)()
        asyncio.run(use())
    assert len(layer._layers) == 0


async def test_a_group_has_a_name_on_the_server(make: Make, valkey: Server) -> None:
    layer = make()
    await layer.group_add("g", await layer.new_channel())
    with valkey.client() as client:
        assert layer._group_key("g") in client.pubsub_channels(f"{layer.prefix}:*")
    await layer.close()


def test_names_differ_after_a_fork(valkey: Server) -> None:
    layer = RedisChannelLayer(hosts=[valkey.url])
    before = layer.client_prefix
    layer._begin()  # what runs in the child
    assert layer.client_prefix != before


# Settings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backend", "expected"),
    [
        ("channels_redis.core.RedisChannelLayer", RedisChannelLayer),
        ("channels_redis.pubsub.RedisPubSubChannelLayer", RedisPubSubChannelLayer),
        ("fullduplex.channels.redis.core.RedisChannelLayer", RedisChannelLayer),
        ("fullduplex.layers.redis.RedisLayer", RedisChannelLayer),
    ],
)
async def test_groups_and_consumers_share_the_connections(valkey: Server, backend: str, expected: type) -> None:
    config: dict[str, Any] = {"hosts": [valkey.url]}
    with override_settings(CHANNEL_LAYERS={"default": {"BACKEND": backend, "CONFIG": config}}):
        channel_layer = get_channel_layer()
        assert type(channel_layer) is expected
        assert get_layer() is channel_layer.layer
        await get_layer().apublish("g", "x")
        await close_layer()


async def test_all_options_of_channels_redis_are_understood(valkey: Server) -> None:
    config = {
        "hosts": [{"host": "127.0.0.1", "port": valkey.port, "db": 1}],
        "prefix": "custom",
        "expiry": 30,
        "group_expiry": 100,
        "capacity": 10,
        "channel_capacity": {"http.request": 200, "http.response!*": 10},
        "symmetric_encryption_keys": ["key"],
        "random_prefix_length": 12,
        "serializer_format": "json",
    }
    layer = RedisChannelLayer(**config)
    assert (layer.get_capacity("http.request"), layer.get_capacity("other")) == (200, 10)
    await layer.send("http.request", {"n": 1})
    assert await receive(layer, "http.request") == {"n": 1}
    await layer.close()
    with pytest.raises(ConfigurationError, match="hosts is a list"):
        RedisChannelLayer(hosts=valkey.url)


def test_it_needs_no_settings(valkey: Server) -> None:
    """For scripts that send to groups and are no Django."""
    script = f"""
import asyncio
from fullduplex.channels.redis.core import RedisChannelLayer

async def main():
    layer = RedisChannelLayer(hosts=["{valkey.url}"])
    channel = await layer.new_channel()
    await layer.group_add("lobby", channel)
    await layer.group_send("lobby", {{"type": "hello"}})
    print(await layer.receive(channel))
    await layer.close()

asyncio.run(main())
"""
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, encoding="utf-8")
    assert (run.stdout, run.stderr) == ("{'type': 'hello'}\n", "")


# Beside the layer --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["address", "sentinels"])
async def test_what_a_project_keeps_beside_the_layer(kind: str, request: pytest.FixtureRequest) -> None:
    """As channels_redis has it: a client for a host, and pools for the entries of ``hosts``."""
    valkey: Server = request.getfixturevalue("valkey")
    host: Any = {"address": valkey.url, "db": 3}
    if kind == "sentinels":
        host = {"sentinels": [("127.0.0.1", request.getfixturevalue("sentinel").port)], "master_name": "main", "db": 3}
    layer = RedisChannelLayer(hosts=[host])
    async with layer.connection(0) as client:
        await client.set(f"kept by {kind}", "here")
    async with layer.connection(0) as client:
        assert await client.get(f"kept by {kind}") == b"here"
    with pytest.raises(IndexError):
        layer.connection(1)
    await layer.close()
    pool = create_pool(host)
    async with Redis(connection_pool=pool) as client:
        assert await client.get(f"kept by {kind}") == b"here"
    await pool.disconnect()
    assert valkey.client(db=3).delete(f"kept by {kind}") == 1

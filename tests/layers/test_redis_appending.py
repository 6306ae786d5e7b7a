"""Appends that go out together: in order, each answered for itself, bounded, and told when the layer closes."""

from __future__ import annotations

import asyncio
from typing import Any

from fullduplex.exceptions import ChannelFull, LayerUnavailable
from fullduplex.layers.history import Keep, Position
from fullduplex.layers.redis import RedisLayer
from tests.layers.servers import Server

DEADLINE_S = 30.0
KEEP = Keep(count=1_000, age_s=3600.0, max_bytes=10_000_000)


async def test_what_comes_meanwhile_goes_out_together_and_in_order(server: Server) -> None:
    layer = RedisLayer(hosts=[server.url])
    start = await layer.aappend("g", "first", KEEP)
    with server.client() as client:
        client.config_resetstat()
        appending = [layer.aappend("g", str(number), KEEP, key=str(number % 40)) for number in range(200)]
        appending += [layer.aappend("other", str(number), KEEP) for number in range(50)]
        positions = await asyncio.gather(*appending)
        stats: Any = client.info("commandstats")
    assert [position.offset for position in positions[:200]] == [2 + number % 40 for number in range(200)]
    assert [position.offset for position in positions[200:]] == [*range(1, 51)]
    missed = await layer.aread("g", KEEP, after=start)
    assert [message.data for message in missed.messages] == [str(number) for number in range(40)]
    assert stats["cmdstat_evalsha"]["calls"] <= 12  # at most 64 in one
    await layer.close()


async def test_who_gave_up_while_he_waited_has_sent_nothing(server: Server) -> None:
    layer = RedisLayer(hosts=[server.url])
    start = await layer.aappend("g", "first", KEEP)
    server.pause()
    appending = [asyncio.ensure_future(layer.aappend("g", str(number), KEEP)) for number in range(4)]
    await asyncio.sleep(0)
    appending[2].cancel()
    server.resume()
    await asyncio.wait(appending)
    missed = await layer.aread("g", KEEP, after=start)
    assert [message.data for message in missed.messages] == ["0", "1", "3"]
    await layer.close()


async def test_what_waits_is_bounded_in_bytes(server: Server) -> None:
    layer = RedisLayer(hosts=[server.url], max_pending_bytes=1_000_000, publish_timeout_s=0.4)
    position = await layer.aappend("g", "before", KEEP)
    server.pause()
    attempts = [layer.aappend("g", f"{number} {'x' * 100_000}", KEEP) for number in range(50)]
    results = await asyncio.gather(*attempts, return_exceptions=True)
    server.resume()
    assert {type(result) for result in results} == {LayerUnavailable, ChannelFull}
    after = await layer.aappend("g", "after", KEEP)
    kept = (await layer.aread("g", KEEP, after=Position(0, position.epoch), max_bytes=20_000_000)).messages
    sent = [str(number) for number, result in enumerate(results) if not isinstance(result, ChannelFull)]
    texts = [str(message.data).split()[0] for message in kept]
    assert (texts[0], texts[-1]) == ("before", "after")
    assert set(texts[1:-1]) <= set(sent), "ChannelFull was told of what is kept"
    assert after.epoch == position.epoch
    await layer.close()


async def test_closing_while_others_wait(server: Server) -> None:
    layer = RedisLayer(hosts=[server.url])
    await layer.aappend("g", "before", KEEP)
    server.pause()
    appending = [asyncio.ensure_future(layer.aappend("g", str(number), KEEP)) for number in range(5)]
    await asyncio.sleep(0.05)
    async with asyncio.timeout(DEADLINE_S):
        await layer.close()
        results = await asyncio.gather(*appending, return_exceptions=True)
    assert {type(result) for result in results} == {LayerUnavailable}
    server.resume()


async def test_an_error_reaches_everybody_and_the_next_goes_on(server: Server) -> None:
    layer = RedisLayer(hosts=[server.url])
    start = await layer.aappend("g", "before", KEEP)
    with server.client() as client:
        client.config_set("maxmemory", 1)
        attempts = [layer.aappend("g", str(number), KEEP) for number in range(5)]
        results = await asyncio.gather(*attempts, return_exceptions=True)
        client.config_set("maxmemory", 0)
    assert len({id(result) for result in results}) == 5
    assert all(isinstance(result, LayerUnavailable) and "maxmemory" in str(result) for result in results)
    assert await layer.aappend("g", "after", KEEP) == (2, start.epoch)
    await layer.close()


async def test_what_goes_out_together_after_an_eviction_is_kept(server: Server) -> None:
    """With keys and without: what is left of before is thrown away first, and not what is acknowledged now."""
    layer = RedisLayer(hosts=[server.url])
    start = await layer.aappend("g", "before", KEEP)
    with server.client() as client:
        client.delete("{fullduplex:g}:messages")
    appending = [layer.aappend("g", str(number), KEEP, key=str(number) * (number % 2)) for number in range(6)]
    positions = await asyncio.gather(*appending)
    missed = await layer.aread("g", KEEP, after=start)
    assert missed.recovered
    assert [(message.data, message.position) for message in missed.messages] == [
        (str(number), position) for number, position in enumerate(positions)
    ]
    await layer.close()

"""Rooms whose messages pass a broker, and what a member of a room costs in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ClassVar

import uvloop

from bench import broker, peers
from bench.load.room import Room as LoadRoom
from bench.load.room import Rooms
from bench.scenario import Column, Measurement, Scenario
from bench.scenarios import django_project
from bench.scenarios.rooms import FLOOR, RoomScenario
from bench.server import Peer, Server

LAYERS = {
    "channels_redis core": "channels_redis.core.RedisChannelLayer",
    "channels_redis pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
}


def _ours_env() -> dict[str, str]:
    return {
        **layer_env("fullduplex.layers.redis.RedisLayer"),
        "BENCH_URLCONF": f"{django_project.PROJECT}.urls_sockets",
    }


def layer_env(backend: str) -> dict[str, str]:
    return {"DJANGO_SETTINGS_MODULE": "bench.apps.settings_redis", "BENCH_CHANNEL_LAYER": backend}


def _channels_redis_peers(server_name: str, server: Callable[..., Peer]) -> list[Peer]:
    return [
        server(django_project.CHANNELS, f"{name}, {server_name}", env=layer_env(backend))
        for name, backend in LAYERS.items()
    ]


class RedisRoomScenario(RoomScenario):
    """Rooms of processes that share a broker; here there is one process, so that what differs is the layer."""

    about = (
        "Deliveries with 8 messages of 64 bytes under way per room; latencies with one. Valkey runs on the load "
        "generator's core; bench/apps/settings_redis.py has the options of the layers."
    )

    def peers(self) -> list[Peer]:
        return [
            peers.fullduplex(django_project.OURS, env=_ours_env()),
            *_channels_redis_peers("uvicorn", peers.uvicorn),
            *_channels_redis_peers("daphne", peers.daphne),
            peers.floor("room", FLOOR),
        ]

    def prepare(self) -> None:
        super().prepare()
        broker.start()

    def measure(self, server: Server, seconds: float) -> Measurement:
        broker.empty()
        return super().measure(server, seconds)


class RedisRoom(RedisRoomScenario):
    name = "room-redis"
    title = "One room of 1,000 members, through Valkey"
    room_count, member_count = 1, 1000
    goals: ClassVar = {f"{layer}, {server}": 25 for layer in LAYERS for server in ("uvicorn", "daphne")}


class ManyRedisRooms(RedisRoomScenario):
    name = "rooms-100x10-redis"
    title = "100 rooms of 10 members, through Valkey"
    room_count, member_count = 100, 10
    goals: ClassVar = {f"{layer}, {server}": 8 for layer in LAYERS for server in ("uvicorn", "daphne")}


class RoomMemory(Scenario):
    name = "room-memory-per-member"
    title = "Memory of a member of a room"
    about = (
        "One room of 1,000 members, after messages for so many seconds, one under way, and a second of rest; growth of "
        "the server's PSS since a room of one member."
    )
    columns = (Column("kib", "KiB/member"),)
    less_is_better = True
    member_count: ClassVar[int] = 1000
    own_goal = 9
    goals: ClassVar = {f"{layer}, uvicorn": 1 / 3 for layer in ("channels in-memory", *LAYERS)}

    def peers(self) -> list[Peer]:
        ours, in_memory, _ = django_project.socket_peers()
        return [
            ours,
            peers.fullduplex(django_project.OURS, "fullduplex, through Valkey", env=_ours_env()),
            in_memory,
            *_channels_redis_peers("uvicorn", peers.uvicorn),
        ]

    def prepare(self) -> None:
        django_project.make_database()
        broker.start()

    def measure(self, server: Server, seconds: float) -> Measurement:
        broker.empty()
        return uvloop.run(self._measure(server, seconds))

    async def _measure(self, server: Server, seconds: float) -> Measurement:
        # A first member makes what is made once: imports, caches, the connections to the broker.
        first, rooms = Rooms([LoadRoom("first", 1)]), Rooms([LoadRoom("room", self.member_count)])
        try:
            await first.open(server.port)
            await first.run(1, 0.5)
            before_kib = server.memory_kib()
            await rooms.open(server.port)
            await rooms.run(1, seconds)
            await asyncio.sleep(1)
            kib = (server.memory_kib() - before_kib) / self.member_count
        finally:
            first.close()
            rooms.close()
        return Measurement({"kib": kib})

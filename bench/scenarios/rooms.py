"""Rooms: one message to many members, through groups."""

from __future__ import annotations

import time
from typing import ClassVar

import uvloop

from bench import peers
from bench.figures import percentile
from bench.load.room import Room as LoadRoom
from bench.load.room import Rooms
from bench.load.slow import SlowMembers
from bench.scenario import Column, Measurement, Scenario, cpu_columns
from bench.scenarios import django_project
from bench.server import Peer, Server

WARM_UP_S = 1.0
FLOOR = "floor: uvloop, a write per member"


class RoomScenario(Scenario):
    """So many rooms of so many members, and a publisher in each.

    Attributes:
        room_count: rooms.
        member_count: members of each.
        window: messages that a publisher has under way when deliveries per second are counted. Small,
            since the in-memory layer of Channels drops messages when 100 wait for a member.
    """

    columns = (
        Column("per_s", "deliveries/s"),
        Column("p50_ms", "p50 ms"),
        Column("p99_ms", "p99 ms"),
        *cpu_columns("delivery"),
    )
    room_count: ClassVar[int]
    member_count: ClassVar[int]
    window: ClassVar[int] = 8

    def peers(self) -> list[Peer]:
        return [*django_project.socket_peers(), peers.floor("room", FLOOR)]

    def prepare(self) -> None:
        django_project.make_database()

    def measure(self, server: Server, seconds: float) -> Measurement:
        return uvloop.run(self._measure(server, seconds))

    async def _measure(self, server: Server, seconds: float) -> Measurement:
        rooms = Rooms([LoadRoom(f"room{number}", self.member_count) for number in range(self.room_count)])
        try:
            await rooms.open(server.port)
            await rooms.run(self.window, WARM_UP_S)
            _, latencies_s = await rooms.run(1, seconds / 2)
            cpu, load_cpu_s, started_s = server.cpu(), time.process_time(), time.perf_counter()
            per_s, delivered = await rooms.run(self.window, seconds)
            elapsed_s = time.perf_counter() - started_s
            cpu, load_cpu_s = server.cpu() - cpu, time.process_time() - load_cpu_s
        finally:
            rooms.close()
        figures = {
            "per_s": per_s,
            "p50_ms": percentile(latencies_s, 50) * 1e3,
            "p99_ms": percentile(latencies_s, 99) * 1e3,
            "load_busy": load_cpu_s / elapsed_s,
            **cpu.figures(len(delivered), elapsed_s),
        }
        return Measurement(figures)


_ABOUT = "Deliveries with 8 messages of 64 bytes under way per room; latencies with one."


class Room(RoomScenario):
    name = "room"
    title = "One room of 1,000 members"
    about = _ABOUT
    room_count, member_count = 1, 1000
    goals: ClassVar = {"channels in-memory, uvicorn": 25, "channels in-memory, daphne": 25, FLOOR: 0.85}


class Room10000(RoomScenario):
    name = "room-10000"
    title = "One room of 10,000 members"
    about = _ABOUT
    room_count, member_count = 1, 10_000
    goals: ClassVar = {FLOOR: 0.85}


class ManyRooms(RoomScenario):
    name = "rooms-100x10"
    title = "100 rooms of 10 members"
    about = _ABOUT
    room_count, member_count = 100, 10
    goals: ClassVar = {"channels in-memory, uvicorn": 8, "channels in-memory, daphne": 8}


class SlowMember(Scenario):
    name = "slow-member"
    title = "One member that reads nothing"
    about = (
        "A room of 100; messages of 16 KiB, one under way. Share of the deliveries that the others still get when one "
        "more member reads nothing, and what the server's memory grows by meanwhile."
    )
    columns = (
        Column("share", "deliveries kept (1 = all)"),
        Column("per_s", "deliveries/s to the others"),
        Column("growth_kib", "memory growth KiB"),
    )

    def peers(self) -> list[Peer]:
        return django_project.socket_peers()

    def prepare(self) -> None:
        django_project.make_database()

    def measure(self, server: Server, seconds: float) -> Measurement:
        return uvloop.run(self._measure(server, seconds))

    async def _measure(self, server: Server, seconds: float) -> Measurement:
        room = LoadRoom("slow", 100, payload_bytes=16_384)
        rooms, slow = Rooms([room]), SlowMembers(server.port, "/room/slow/", 1)
        try:
            await rooms.open(server.port)
            await rooms.run(1, WARM_UP_S)
            undisturbed_per_s, _ = await rooms.run(1, seconds)
            await slow.open()
            before_kib = server.memory_kib()
            per_s, _ = await rooms.run(1, seconds)
            growth_kib = server.memory_kib() - before_kib
        finally:
            rooms.close()
            slow.close()
        return Measurement({"share": per_s / undisturbed_per_s, "per_s": per_s, "growth_kib": growth_kib})

"""A room whose members are on several workers: the local layer, beside in-process and beside channels_redis."""

from __future__ import annotations

from typing import ClassVar

from bench import broker, peers
from bench.scenario import Column, Measurement, cpu_columns
from bench.scenarios import django_project
from bench.scenarios.rooms import RoomScenario
from bench.scenarios.rooms_redis import LAYERS, layer_env
from bench.server import Peer, Server

_SOCKETS = {"BENCH_URLCONF": f"{django_project.PROJECT}.urls_sockets"}
_LOCAL = {**_SOCKETS, "DJANGO_SETTINGS_MODULE": "bench.apps.settings_local"}
IN_PROCESS = "fullduplex, one worker, in-process"


def _fullduplex(name: str, workers: int, env: dict[str, str], *, ours: bool = False) -> Peer:
    options = ["--workers", str(workers), "--no-access-log", "--log-level", "warning"]
    command = ["fullduplex", django_project.OURS, *options, "--port"]
    return Peer(name, lambda port: [*command, str(port)], env=env, ours=ours, cores_count=workers)


def _uvicorn(name: str, backend: str) -> Peer:
    one = peers.uvicorn(django_project.CHANNELS, name, env=layer_env(backend), cores_count=2)
    return Peer(name, lambda port: [*one.command(port), "--workers", "2"], env=one.env, cores_count=2)


class LocalRoom(RoomScenario):
    """Deliveries for each second of processor time tell what two workers do where each has a core of its own, also on
    a machine that has not so many: workers, supervisor and sequencer are counted, the load generator and Valkey not."""

    name = "room-local"
    title = "One room of 1,000 members on two workers of one machine"
    about = (
        "Deliveries for each second of processor time of all processes of the server, the local layer's sequencer "
        "included, Valkey not; with 8 messages of 64 bytes under way; latencies with one. Where each worker has a "
        "core, two deliver 1.6 times as much as one when this is at least 0.8 of the one's."
    )
    columns = (
        Column("per_cpu_s", "deliveries/CPU s"),
        Column("per_s", "deliveries/s"),
        Column("p50_ms", "p50 ms"),
        Column("p99_ms", "p99 ms"),
        *cpu_columns("delivery"),
    )
    room_count, member_count = 1, 1000
    goals: ClassVar = {IN_PROCESS: 0.8, **{f"{layer}, two uvicorn": 20 for layer in LAYERS}}

    def peers(self) -> list[Peer]:
        return [
            _fullduplex("fullduplex, two workers, local layer", 2, _SOCKETS, ours=True),
            _fullduplex("fullduplex, one worker, local layer", 1, _LOCAL),
            _fullduplex(IN_PROCESS, 1, _SOCKETS),
            *(_uvicorn(f"{name}, two uvicorn", backend) for name, backend in LAYERS.items()),
        ]

    def prepare(self) -> None:
        super().prepare()
        broker.start()

    def measure(self, server: Server, seconds: float) -> Measurement:
        broker.empty()
        measurement = super().measure(server, seconds)
        measurement.figures["per_cpu_s"] = 1e6 / measurement.figures["cpu_us"]
        return measurement

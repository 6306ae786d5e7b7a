"""What the scenarios with Django share: the project under bench/django_project and the peers that serve it."""

from __future__ import annotations

import functools
import subprocess
import sys

from bench import peers
from bench.environment import ROOT
from bench.server import Peer

PROJECT = "bench.django_project"
OURS = f"{PROJECT}.asgi_ours:application"
DJANGO = f"{PROJECT}.asgi_django:application"
WSGI = f"{PROJECT}.wsgi:application"
CHANNELS = f"{PROJECT}.asgi_channels:application"


@functools.cache
def make_database() -> None:
    """Once per run."""
    subprocess.run([sys.executable, "-m", f"{PROJECT}.seed"], cwd=ROOT, check=True)


def http_peers() -> list[Peer]:
    return [
        peers.fullduplex(OURS),
        peers.uvicorn(DJANGO, "uvicorn, Django's handler"),
        peers.uvicorn(OURS, "uvicorn, our handler"),
        peers.gunicorn_threads(WSGI),
        peers.granian(WSGI, "granian (WSGI)", interface="wsgi"),
    ]


def socket_peers() -> list[Peer]:
    in_memory = {"BENCH_CHANNEL_LAYER": "channels.layers.InMemoryChannelLayer"}
    return [
        peers.fullduplex(OURS, env={"BENCH_URLCONF": f"{PROJECT}.urls_sockets"}),
        peers.uvicorn(CHANNELS, "channels in-memory, uvicorn", env=in_memory),
        peers.daphne(CHANNELS, "channels in-memory, daphne", env=in_memory),
    ]

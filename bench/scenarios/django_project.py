"""What the scenarios with Django share: the project under bench/django_project and the peers that serve it."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Mapping

from bench import backends, peers
from bench.environment import ROOT
from bench.server import Peer

PROJECT = "bench.django_project"
OURS = f"{PROJECT}.asgi_ours:application"
DJANGO = f"{PROJECT}.asgi_django:application"
WSGI = f"{PROJECT}.wsgi:application"
CHANNELS = f"{PROJECT}.asgi_channels:application"
POSTGRES = {"BENCH_DATABASE": "postgresql"}


@functools.cache
def make_database() -> None:
    """Once per run."""
    subprocess.run([sys.executable, "-m", f"{PROJECT}.seed"], cwd=ROOT, check=True)


@functools.cache
def make_postgres_database() -> None:
    """The same in PostgreSQL, which is started for it."""
    backends.start_postgres()
    subprocess.run([sys.executable, "-m", f"{PROJECT}.seed"], cwd=ROOT, check=True, env={**os.environ, **POSTGRES})


WITHOUT_MIDDLEWARE = {"BENCH_BARE": "1"}


def http_peers(env: Mapping[str, str] | None = None) -> list[Peer]:
    env = env or {}
    return [
        peers.fullduplex(OURS, env=env),
        peers.uvicorn(DJANGO, "uvicorn, Django's handler", env=env),
        peers.uvicorn(OURS, "uvicorn, our handler", env=env),
        peers.gunicorn_threads(WSGI, env=env),
        peers.granian(WSGI, "granian (WSGI)", interface="wsgi", env=env),
    ]


def socket_peers() -> list[Peer]:
    in_memory = {"BENCH_CHANNEL_LAYER": "channels.layers.InMemoryChannelLayer"}
    return [
        peers.fullduplex(OURS, env={"BENCH_URLCONF": f"{PROJECT}.urls_sockets"}),
        peers.uvicorn(CHANNELS, "channels in-memory, uvicorn", env=in_memory),
        peers.daphne(CHANNELS, "channels in-memory, daphne", env=in_memory),
    ]

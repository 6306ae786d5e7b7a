"""How each server is started: one worker, no access log, and the fast options that its documentation names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.server import Peer

OURS = "fullduplex"
WSGI_THREADS = 8


def fullduplex(app: str, name: str = OURS, **more: Any) -> Peer:
    options = ["--no-access-log", "--log-level", "warning"]
    return Peer(name, lambda port: ["fullduplex", app, "--port", str(port), *options], ours=name == OURS, **more)


def uvicorn(app: str, name: str = "uvicorn", ws: str = "auto", **more: Any) -> Peer:
    """httptools, uvloop and websockets (sans-I/O) are what ``uvicorn[standard]`` chooses by itself."""
    options = ["--loop", "uvloop", "--http", "httptools", "--ws", ws, "--no-access-log", "--log-level", "warning"]
    return Peer(name, lambda port: ["uvicorn", app, "--port", str(port), *options], **more)


def uvicorn_http2(app: str, name: str = "uvicorn zttp", **more: Any) -> Peer:
    """HTTP/2 without TLS by prior knowledge, which it has with zttp alone."""
    options = ["--loop", "uvloop", "--http", "zttp", "--http2", "--no-access-log", "--log-level", "warning"]
    return Peer(name, lambda port: ["uvicorn", app, "--port", str(port), *options], **more)


def granian(app: str, name: str = "granian", interface: str = "asgi", connections: int = 1024, **more: Any) -> Peer:
    """One worker; its access log is off by default. Under WSGI with the threads of gunicorn's: faster than its 512."""
    options = ["--interface", interface, "--workers", "1", "--log-level", "warning"]
    options += ["--backlog", str(connections), "--backpressure", str(connections)]
    options += ["--loop", "uvloop"] if interface == "asgi" else ["--blocking-threads", str(WSGI_THREADS)]
    return Peer(name, lambda port: ["granian", app, "--port", str(port), *options], **more)


def hypercorn(app: str, name: str = "hypercorn", **more: Any) -> Peer:
    """Its access log is off by default."""
    options = ["--worker-class", "uvloop", "--workers", "1", "--log-level", "warning"]
    return Peer(name, lambda port: ["hypercorn", app, "--bind", f"127.0.0.1:{port}", *options], **more)


def daphne(app: str, name: str = "daphne", **more: Any) -> Peer:
    """Verbosity 0 turns its access log off."""
    return Peer(name, lambda port: ["daphne", app, "--port", str(port), "--verbosity", "0"], **more)


def gunicorn_threads(app: str, name: str = "gunicorn gthread (WSGI)", threads: int = WSGI_THREADS, **more: Any) -> Peer:
    options = ["--worker-class", "gthread", "--workers", "1", "--threads", str(threads), "--log-level", "warning"]
    return Peer(name, lambda port: ["gunicorn", app, "--bind", f"127.0.0.1:{port}", *options], **more)


def bolt(settings: str, name: str = "django-bolt", **more: Any) -> Peer:
    """One process; the admin, which it would serve by way of Django's handler, is left out."""
    options = ["--skip-checks", "--no-admin", "--processes", "1", "--host", "127.0.0.1"]
    command = ["django-admin", "runbolt", *options, "--settings", settings]
    return Peer(name, lambda port: [*command, "--port", str(port)], env={"BENCH_BOLT": "1", "BENCH_BARE": "1"}, **more)


def floor(kind: str, name: str, env: Mapping[str, str] | None = None) -> Peer:
    """A bare loop of bench/floor.py: no server, but what this machine and this load generator allow."""
    return Peer(name, lambda port: ["python", "-m", "bench.floor", kind, str(port)], env=env or {}, floor=True)

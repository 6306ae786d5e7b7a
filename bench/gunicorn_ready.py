"""Gunicorn's configuration: a worker says when it has loaded the application, which its log does not tell."""

from __future__ import annotations

from typing import Any


def post_worker_init(worker: Any) -> None:
    print(f"Worker {worker.pid} is ready", flush=True)

"""The settings of the Django project, with a layer on the broker of the run: ``BENCH_CHANNEL_LAYER`` names it."""

from __future__ import annotations

import os
from typing import Any

from bench.broker import URL_VARIABLE
from bench.django_project.settings import *  # noqa: F403 - the same settings but one

_backend, _url = os.environ["BENCH_CHANNEL_LAYER"], os.environ[URL_VARIABLE]
_config: Any = {"hosts": [_url]}
if _backend.startswith("channels_redis."):
    _config = {
        # What redis-py had before version 8, for which channels_redis was written. Version 8 waits 5 s for an answer,
        # as long as its BZPOPMIN, so that sockets end by chance (its #422), and opens no more than 100 connections.
        "hosts": [{"address": _url, "socket_timeout": None, "max_connections": 2**31}],
        "capacity": 10_000,  # messages; its default, 100, loses some in 100 rooms
    }
CHANNEL_LAYERS = {"default": {"BACKEND": _backend, "CONFIG": _config}}

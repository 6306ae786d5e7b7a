"""Settings of the project; ``FOLDER`` has its database, ``REDIS_PORT`` is that of a Redis, if any."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

OURS = os.environ["STACK"] == "fullduplex"
FOLDER = Path(os.environ["FOLDER"])
REDIS_PORT = int(os.environ.get("REDIS_PORT", "0"))
HAS_GRAPHENE = importlib.util.find_spec("channels_graphql_ws") is not None

SECRET_KEY = "unchanged"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "tests.channels.unchanged.urls"
ASGI_APPLICATION = "tests.channels.unchanged.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "static/"
USE_TZ = True
DEBUG = True  # serves the static files of reactpy_django

FULLDUPLEX: dict[str, Any] = {"CHANNELS_ALIAS": OURS}
INSTALLED_APPS = [
    "fullduplex" if OURS else "daphne",
    "channels",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "rest_framework",
    "chanx.channels",
    "django_eventstream",
    "reactpy_django",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [Path(__file__).parent / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": FOLDER / "project.sqlite3",
        "OPTIONS": {"timeout": 30, "transaction_mode": "IMMEDIATE", "init_command": "PRAGMA synchronous = OFF"},
    }
}
CHANNEL_LAYERS: dict[str, Any] = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
if REDIS_PORT:
    hosts = [f"redis://127.0.0.1:{REDIS_PORT}"]
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": hosts}}}
    EVENTSTREAM_REDIS = {"host": "127.0.0.1", "port": REDIS_PORT}
CHANX = {"SEND_AUTHENTICATION_MESSAGE": False}

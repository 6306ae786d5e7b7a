"""The settings of the example chat, on PostgreSQL with our engine; ``POSTGRESQL`` is the folder of the server."""

from __future__ import annotations

import os

from mysite.settings import *  # noqa: F403 - settings are a module of names

DATABASES = {
    "default": {
        "ENGINE": "fullduplex.db.postgresql",
        "HOST": os.environ["POSTGRESQL"],
        "NAME": os.environ.get("CHAT_NAME", "postgres"),
        "USER": "postgres",
        "CONN_MAX_AGE": 60,
        "OPTIONS": {"application_name": "chat"},
    }
}

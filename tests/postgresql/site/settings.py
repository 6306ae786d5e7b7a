"""Settings of the site; the test that starts it gives what differs as JSON in the variable ``SITE``."""

from __future__ import annotations

import json
import os
from typing import Any

_given: dict[str, Any] = json.loads(os.environ["SITE"])

SECRET_KEY = "x" * 50
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "tests.postgresql.site.urls"
INSTALLED_APPS = ["tests.postgresql.site"]
MIDDLEWARE: list[str] = _given["MIDDLEWARE"]
DATABASES: dict[str, dict[str, Any]] = {
    "default": {"ENGINE": "django.db.backends.postgresql", **_given["DATABASE"]},
}
FULLDUPLEX: dict[str, Any] = _given["FULLDUPLEX"]
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"django.request": {"handlers": ["console"], "level": "ERROR", "propagate": False}},
}

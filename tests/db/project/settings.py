"""Settings of the project."""

from __future__ import annotations

import os
from typing import Any

SECRET_KEY = "x" * 50
ALLOWED_HOSTS = ["127.0.0.1", "testserver"]
INSTALLED_APPS = [
    "fullduplex",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "tests.db.project",
]
ROOT_URLCONF = "tests.db.project.urls"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]
DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        "ENGINE": "fullduplex.db.postgresql",
        "HOST": os.environ["POSTGRESQL"],
        "NAME": "postgres",
        "USER": "postgres",
        "CONN_MAX_AGE": 60,
        "OPTIONS": {"application_name": "project"},
    }
}
FULLDUPLEX: dict[str, Any] = {"CONNECTIONS_MAX_COUNT": 20, "IDLE_THREAD_S": 0.0}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True

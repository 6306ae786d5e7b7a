"""Settings for Django's own tests, on PostgreSQL, with Django's engine or with ours."""

from __future__ import annotations

import os
from typing import Any

DATABASES: dict[str, dict[str, Any]] = {
    alias: {
        "ENGINE": os.environ["ENGINE"],
        "HOST": os.environ["POSTGRESQL"],
        "NAME": "postgres",
        "USER": "postgres",
        "TEST": {"NAME": f"test_{alias}_{os.environ['ENGINE'].rpartition('.')[0].replace('.', '_')}"},
    }
    for alias in ("default", "other")
}
SECRET_KEY = "django_tests_secret_key"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False

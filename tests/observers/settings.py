"""Settings of the site; the environment says who observes it: ``OBSERVER``, a module here, and ``FOLDER``."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

from tests import recipes

OBSERVER = os.environ["OBSERVER"]
FOLDER = Path(os.environ["FOLDER"])
observer = importlib.import_module(f"tests.observers.with_{OBSERVER}")

SECRET_KEY = "observers"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.observers.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # 50 users are made for each test
USE_TZ = True
STATIC_URL = "static/"
FULLDUPLEX = {"FAST": os.environ["FAST"] == "yes"}

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    *observer.APPS,
]
# As ``startproject`` orders it.
MIDDLEWARE = [
    *observer.MIDDLEWARE_BEFORE,
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    *observer.MIDDLEWARE_AFTER,
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [Path(__file__).parent / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES: dict[str, dict[str, object]] = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": FOLDER / "database",
        "OPTIONS": {
            "timeout": 30,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF",
        },
    }
}
globals().update(observer.SETTINGS)
if "RECIPE" in os.environ:
    for module in recipes.install(os.environ["RECIPE"], "mysite/observe.py", "mysite/settings.py"):
        FULLDUPLEX |= getattr(module, "FULLDUPLEX", {})
observer.start()

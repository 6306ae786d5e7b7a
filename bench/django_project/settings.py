"""The settings of ``startproject``, with DEBUG off. What differs between peers is nothing but the server."""

from __future__ import annotations

import os
from typing import Any

from bench.environment import STATE_DIR

SECRET_KEY = "django-insecure-benchmark-only-benchmark-only-benchmark-only"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
if os.environ.get("BENCH_BARE"):
    MIDDLEWARE = []
MIDDLEWARE += os.environ.get("BENCH_MIDDLEWARE", "").split()
ROOT_URLCONF = os.environ.get("BENCH_URLCONF", "bench.django_project.urls")
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [os.path.join(os.path.dirname(__file__), "templates")],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
DATABASES: dict[str, dict[str, Any]] = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(STATE_DIR / "bench.sqlite3")}
}
if os.environ.get("BENCH_DATABASE") == "postgresql":
    DATABASES["default"] = {
        "ENGINE": os.environ.get("BENCH_ENGINE", "django.db.backends.postgresql"),
        "NAME": "postgres",
        "USER": "postgres",
        "HOST": os.environ["BENCH_POSTGRES_HOST"],  # the directory of its socket
    }
if "async_backend" in DATABASES["default"]["ENGINE"]:
    INSTALLED_APPS.append("django_async_backend")
if os.environ.get("BENCH_TRANSACTION_MODE"):  # of SQLite
    DATABASES["default"]["OPTIONS"] = {"transaction_mode": os.environ["BENCH_TRANSACTION_MODE"]}
DATABASES["default"]["CONN_MAX_AGE"] = int(os.environ.get("BENCH_CONN_MAX_AGE", "0"))
if os.environ.get("BENCH_CHANNEL_LAYER"):
    CHANNEL_LAYERS = {"default": {"BACKEND": os.environ["BENCH_CHANNEL_LAYER"]}}

FULLDUPLEX: dict[str, Any] = {"THREADS_MAX_COUNT": int(os.environ.get("BENCH_THREADS_MAX_COUNT", "1000"))}
FULLDUPLEX |= {"THREADS_COUNT": min(FULLDUPLEX["THREADS_MAX_COUNT"], int(os.environ.get("BENCH_THREADS_COUNT", "16")))}
if os.environ.get("BENCH_HISTORY") == "fullduplex":
    INSTALLED_APPS.append("fullduplex.history")
    FULLDUPLEX |= {"HISTORY": {"bench.*": {"STORE": "database"}}}
elif os.environ.get("BENCH_HISTORY") == "eventstream":
    INSTALLED_APPS.append("django_eventstream")
    EVENTSTREAM_STORAGE_CLASS = "django_eventstream.storage.DjangoModelStorage"
elif os.environ.get("BENCH_HISTORY") == "resume":
    FULLDUPLEX |= {"HISTORY": {"resume.*": {}}}

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True
STATIC_URL = "static/"

if os.environ.get("BENCH_BOLT"):
    INSTALLED_APPS.append("django_bolt")
    BOLT_API = ["bench.django_project.bolt:api"]

if os.environ.get("BENCH_OBSERVER") == "sentry":
    from bench.django_project import sentry

    sentry.start()
elif os.environ.get("BENCH_OBSERVER") == "bystander":
    from bench.django_project import bystander

    bystander.start()

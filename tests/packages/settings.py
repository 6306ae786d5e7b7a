"""Settings of all the projects; the environment says which: ``PACKAGE``, ``FOLDER``, ``FAST``, ``POSTGRESQL``."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = os.environ["PACKAGE"]
FOLDER = Path(os.environ["FOLDER"])

SESSION = "django.contrib.sessions.middleware.SessionMiddleware"
AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"
THREADLOCALS = "threadlocals.middleware.ThreadLocalMiddleware"

# For each: its app with the notes, the apps it adds, and the middleware as its documentation orders them.
PACKAGES: dict[str, tuple[str, list[str], list[str]]] = {
    "threadlocals": ("with_threadlocals", [], [SESSION, AUTHENTICATION, THREADLOCALS]),
    "crum": ("with_crum", [], [SESSION, AUTHENTICATION, "crum.CurrentRequestUserMiddleware"]),
    "multidb": ("with_multidb", [], ["multidb.middleware.PinningRouterMiddleware"]),
    "auditlog": (
        "with_auditlog",
        ["auditlog"],
        [SESSION, AUTHENTICATION, "auditlog.middleware.AuditlogMiddleware"],
    ),
    "simple_history": (
        "with_simple_history",
        ["simple_history"],
        [SESSION, AUTHENTICATION, "simple_history.middleware.HistoryRequestMiddleware"],
    ),
    "tenants": ("tenant_notes", [], ["django_tenants.middleware.main.TenantMainMiddleware"]),
    "servestatic": (
        "with_threadlocals",
        [],
        ["servestatic.middleware.ServeStaticMiddleware", SESSION, AUTHENTICATION, THREADLOCALS],
    ),
    "whitenoise": (
        "with_threadlocals",
        [],
        ["whitenoise.middleware.WhiteNoiseMiddleware", SESSION, AUTHENTICATION, THREADLOCALS],
    ),
}
NOTES, ADDED, MIDDLEWARE = PACKAGES[PACKAGE]

SECRET_KEY = "packages"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.packages.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # 64 users are made for each test
STATIC_URL = "static/"
STATIC_ROOT = FOLDER / "static"
FULLDUPLEX = {"FAST": os.environ["FAST"] == "yes"}

SHARED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.staticfiles",
    *ADDED,
]
INSTALLED_APPS = [*SHARED_APPS, f"tests.packages.{NOTES}"]


def sqlite(name: str) -> dict[str, object]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": FOLDER / name,
        "OPTIONS": {
            "timeout": 30,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF",
        },
    }


DATABASES: dict[str, dict[str, object]] = {"default": sqlite("default")}

if PACKAGE == "multidb":
    DATABASES["replica"] = sqlite("replica")
    REPLICA_DATABASES = ["replica"]
    DATABASE_ROUTERS = ["multidb.PinningReplicaRouter"]

if PACKAGE == "tenants":
    SHARED_APPS = ["django_tenants", "tests.packages.with_tenants", *SHARED_APPS]
    TENANT_APPS = ["tests.packages.tenant_notes"]
    INSTALLED_APPS = [*SHARED_APPS, *TENANT_APPS]
    TENANT_MODEL = "with_tenants.Tenant"
    TENANT_DOMAIN_MODEL = "with_tenants.Domain"
    DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
    DATABASES["default"] = {
        "ENGINE": "django_tenants.postgresql_backend",
        "HOST": os.environ["POSTGRESQL"],
        "PORT": 5432,
        "USER": "postgres",
        "NAME": os.environ["DATABASE"],
    }

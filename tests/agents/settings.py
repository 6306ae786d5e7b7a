"""Settings of the project: what ``startproject`` writes, and what the agent's documentation adds."""

from __future__ import annotations

import os

from tests import recipes
from tests.agents.agent import agent

SECRET_KEY = "agents"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.agents.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
AUTHENTICATION_BACKENDS = ["tests.agents.people.Backend"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
FULLDUPLEX = {"FAST": os.environ["FAST"] == "yes"}
# What fails on purpose need not be read.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"nowhere": {"class": "logging.NullHandler"}},
    "loggers": {"django": {"handlers": ["nowhere"], "propagate": False}},
}

INSTALLED_APPS = [
    *agent.APPS,
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
]
MIDDLEWARE = [
    *agent.FIRST,
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "tests.agents.middleware.plain",
    "tests.agents.middleware.Early",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    *agent.LAST,
]

globals().update(agent.SETTINGS)

if "RECIPE" in os.environ:
    for module in recipes.install(os.environ["RECIPE"], "mysite/observe.py", "mysite/settings.py"):
        FULLDUPLEX |= getattr(module, "FULLDUPLEX", {})

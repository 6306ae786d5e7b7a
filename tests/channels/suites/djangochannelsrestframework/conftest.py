"""What the sdist of djangochannelsrestframework leaves out of its tests: the project in which they run."""

import os

from django.conf import settings

ALIAS = bool(os.environ["CHANNELS_ALIAS"])


def pytest_configure() -> None:
    settings.configure(
        SECRET_KEY="tests",
        USE_TZ=True,
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "TEST": {"NAME": "test_db.sqlite3"}}},
        CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
        FULLDUPLEX={"CHANNELS_ALIAS": ALIAS},
        INSTALLED_APPS=[
            *(["fullduplex"] if ALIAS else []),
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "django.contrib.admin",
            "channels",
            "rest_framework",
            "djangochannelsrestframework",
            "tests",
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
    )

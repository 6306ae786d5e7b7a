"""Settings of the chat: those of ``startproject``, with "fullduplex" first among the apps."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

# For the demo on this machine only. A public site has a secret of its own and DEBUG off.
SECRET_KEY = "django-insecure-the-demo-has-no-secrets"
DEBUG = True
# With DEBUG this is what an empty list means, and the address by which other devices of the network reach this machine.
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]", os.environ.get("CHAT_HOST", "localhost")]

INSTALLED_APPS = [
    "fullduplex",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "chat",
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

ROOT_URLCONF = "mysite.urls"
ASGI_APPLICATION = "mysite.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
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

# A page that was away for a while gets what it missed, see chat/static/chat/room.js.
FULLDUPLEX = {"HISTORY": {"chat.room.*": {"COUNT": 1_000, "AGE_S": 86_400}}}

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("CHAT_DATABASE", BASE_DIR / "db.sqlite3"),
        # Readers and a writer at the same time; a writer waits for its turn in the place of failing.
        "OPTIONS": {
            "init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;",
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# A name may have a password, see chat/forms.py; whoever gives one gives a good one.
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "name"
LOGIN_REDIRECT_URL = "lobby"
LOGOUT_REDIRECT_URL = "lobby"

USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "static/"

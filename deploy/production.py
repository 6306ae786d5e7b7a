"""Settings in production: what is different from ``settings.py``. Goes beside it, as ``mysite/production.py``."""

import os

from mysite.settings import *  # noqa: F403 - everything else stays as it is
from mysite.settings import BASE_DIR, DATABASES

DEBUG = False
SECRET_KEY = os.environ["SECRET_KEY"]
ALLOWED_HOSTS = ["chat.example.org"]
STATIC_ROOT = BASE_DIR / "static"
DATABASES["default"]["NAME"] = BASE_DIR / "data" / "db.sqlite3"  # or another database
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True

# Groups reach all workers of one machine without this. Several machines, or containers, need a broker.
if "REDIS_URL" in os.environ:
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "fullduplex.layers.redis.RedisLayer",
            "CONFIG": {"hosts": [os.environ["REDIS_URL"]]},
        }
    }

# Without it errors of requests are in the server's log; what else Django has to say goes by mail alone, and nowhere
# without ADMINS. Standard error is what systemd, Docker and Kubernetes keep; lines of the server are there already.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "fullduplex.server.logs.TextFormatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
}

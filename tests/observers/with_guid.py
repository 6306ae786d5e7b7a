"""django-guid: a context variable of each request, in each record of the log and in the answer."""

from __future__ import annotations

import logging
from typing import Any

from tests.observers import journal

APPS = ["django_guid"]
MIDDLEWARE_BEFORE = ["django_guid.middleware.guid_middleware"]
MIDDLEWARE_AFTER: list[str] = []
SETTINGS: dict[str, Any] = {
    "DJANGO_GUID": {"GUID_HEADER_NAME": "X-Request-ID", "VALIDATE_GUID": False},
    "LOGGING": {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"guid": {"()": "django_guid.log_filters.CorrelationId"}},
        "handlers": {"journal": {"()": "tests.observers.with_guid.JournalHandler", "filters": ["guid"]}},
        "loggers": {
            "django": {"handlers": ["journal"], "level": "INFO"},
            "django_guid": {"handlers": ["journal"], "level": "DEBUG"},
            "site": {"handlers": ["journal"], "level": "INFO"},
        },
    },
}
URLS: list[tuple[str, str]] = []


class JournalHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        journal.write(
            {
                "logger": record.name,
                "level": record.levelname,
                "message": record.getMessage(),
                "id": getattr(record, "correlation_id", "no filter"),
                "error": repr(record.exc_info[1]) if record.exc_info else "",
            }
        )


def start() -> None:
    pass


def mark(who: str) -> None:
    logging.getLogger("site").info("%s is marked", who)


def report() -> list[Any]:
    return []

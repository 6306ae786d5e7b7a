"""django-zeal: queries that a request makes again and again, counted in a context of its own."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.agents.agent import Record

DATABASE = Path(os.environ["FOLDER"]) / "zeal.sqlite3"
SETTINGS: dict[str, object] = {
    "ZEAL_RAISE": "RECIPE" in os.environ,
    "ZEAL_NPLUSONE_THRESHOLD": 2,
    "DATABASES": {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": DATABASE}},
}
APPS = ["zeal"]
FIRST = ["zeal.middleware.zeal_middleware"]
LAST: list[str] = []

_records: list[Record] = []
_lock = threading.Lock()


def install() -> None:
    """Make the tables that are asked; what zeal does to the ORM is done by its app."""
    columns = (
        "password, last_login, is_superuser, username, first_name, last_name, email, is_staff, is_active, date_joined"
    )
    with sqlite3.connect(DATABASE) as connection:
        connection.execute(f"CREATE TABLE auth_user (id INTEGER PRIMARY KEY, {columns})")
        connection.execute("INSERT INTO auth_user (id, username) VALUES (1, 'somebody')")
        connection.execute("CREATE TABLE django_content_type (id INTEGER PRIMARY KEY, app_label TEXT, model TEXT)")
        connection.execute("INSERT INTO django_content_type VALUES (1, 'agents', 'thing')")
    connection.close()


@contextmanager
def span(name: str) -> Iterator[None]:
    """Ask for the same thing twice, where that may be done, and tell how often zeal has seen that."""
    yield
    if not name.startswith("work of"):
        return
    from django.contrib.contenttypes.models import ContentType
    from zeal.listeners import _nplusone_context
    from zeal.signals import nplusone_detected

    alerts: list[str] = []
    here = threading.get_ident()

    def alert(exception: Exception, **kwargs: object) -> None:
        if threading.get_ident() == here:
            alerts.append(str(exception).partition(" at ")[0])

    nplusone_detected.connect(alert)
    try:
        for _ in range(2):
            ContentType.objects.get(pk=1)
    finally:
        nplusone_detected.disconnect(alert)
    counts = [len(calls) for calls in _nplusone_context.get().calls.values()]
    with _lock:
        _records.append({"name": name, "counts": counts, "alerts": alerts})


def take_records() -> list[Record]:
    with _lock:
        records = list(_records)
        _records.clear()
    return records

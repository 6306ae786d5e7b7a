"""Whether a project has chosen our engine."""

from __future__ import annotations

from django.conf import settings

ENGINE = "fullduplex.db.postgresql"


def uses_engine() -> bool:
    """Whether all databases have it: code that uses one of them may use another."""
    databases = settings.DATABASES.values()
    return bool(databases) and all(database.get("ENGINE") == ENGINE for database in databases)

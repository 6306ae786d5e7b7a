from __future__ import annotations

from django.apps import AppConfig
from django.core import checks


class HistoryConfig(AppConfig):
    name = "fullduplex.history"
    label = "fullduplex_history"  # "history" is a name that projects give their own apps
    verbose_name = "Fullduplex: history and outbox"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from fullduplex.history.checks import check_migrated, check_transaction_mode

        checks.register(check_migrated, checks.Tags.database)
        checks.register(check_transaction_mode, "fullduplex")

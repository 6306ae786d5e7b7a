"""``manage.py clearhistory``: what the database keeps of groups, and should keep no more."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import router

from fullduplex.layers.history import Keep
from fullduplex.realtime.keeping import rule_of


class Command(BaseCommand):
    help = "Deletes messages of groups from the database that are too old. To be run now and then, as clearsessions."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--new-epochs",
            action="store_true",
            help="Delete nothing, and let all groups begin another epoch: after an older state of the database was "
            "put back, so that all who come back are told that they may have missed something.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not apps.is_installed("fullduplex.history"):
            raise CommandError("'fullduplex.history' is not in INSTALLED_APPS: the database keeps nothing of groups.")
        from fullduplex.history.clearing import clear
        from fullduplex.history.models import KeptGroup
        from fullduplex.history.store import DatabaseHistory

        if options["new_epochs"]:
            DatabaseHistory().begin_epochs()
            self.stdout.write("All groups of the database have begun another epoch.")
            return
        message_count, group_count = clear(router.db_for_write(KeptGroup), _keep_of)
        self.stdout.write(f"Deleted {message_count} messages, and forgot {group_count} groups.")


def _keep_of(group: str) -> Keep | None:
    found = rule_of(group)
    return found[1] if found is not None and found[0].store == "database" else None

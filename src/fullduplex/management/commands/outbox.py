"""``manage.py outbox``: sends what was written to the outbox, when it has committed."""

from __future__ import annotations

import logging
import random
import signal
import threading
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error, connections, router

from fullduplex.exceptions import ConfigurationError, LayerUnavailable
from fullduplex.layers import get_layer

logger = logging.getLogger("fullduplex.outbox")

PAUSE_S = 0.5  # after a failure; doubled with each that follows
PAUSE_MAX_S = 30.0


class Command(BaseCommand):
    help = "Sends the messages of Group.send_in_transaction() whose transaction has committed, until it is stopped."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--database", help="Alias of the database; by default that of the app's models.")
        parser.add_argument("--once", action="store_true", help="Send what is there, and end.")
        parser.add_argument(
            "--interval-s", type=float, default=0.5, help="Look at least so often. Default: %(default)s seconds."
        )
        parser.add_argument(
            "--batch-count", type=int, default=200, help="Messages of one transaction, at most. Default: %(default)s."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not apps.is_installed("fullduplex.history"):
            raise CommandError("Put 'fullduplex.history' into INSTALLED_APPS, and migrate: there is no outbox.")
        from fullduplex.history.models import OutboxMessage
        from fullduplex.realtime.relay import Relay

        try:
            get_layer()
        except ConfigurationError as error:
            raise CommandError(str(error)) from error
        alias = options["database"] or router.db_for_write(OutboxMessage)
        stopped = threading.Event()
        relay = Relay(alias, stopped.is_set, options["batch_count"])
        if options["once"]:
            while relay.run_once():
                pass
            relay.close()
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopped.set())
        self.stdout.write(f"Sending from the outbox of the database {alias!r}.")
        self._run(relay, alias, stopped, options["interval_s"])
        self.stdout.write("Stopped: what is left in the outbox is sent later.")

    def _run(self, relay: Any, alias: str, stopped: threading.Event, interval_s: float) -> None:
        from fullduplex.history.waking import Waking

        pause_s = PAUSE_S
        with Waking(alias, stopped) as waking:
            while not stopped.is_set():
                try:
                    sent_count = relay.run_once()
                except (Error, LayerUnavailable) as error:
                    logger.warning("Nothing can be sent from the outbox, trying again in %.1f s: %s", pause_s, error)
                    connections[alias].close_if_unusable_or_obsolete()
                    stopped.wait(random.uniform(pause_s / 2, pause_s))
                    pause_s = min(2 * pause_s, PAUSE_MAX_S)
                else:
                    pause_s = PAUSE_S
                    if not sent_count:
                        waking.wait(interval_s)
        try:
            relay.close()
        except Error as error:
            logger.debug("The leases were not given up: %s", error)
        connections.close_all()

"""``manage.py runworker``: consumers for what is sent to channels by name."""

from __future__ import annotations

import logging
from typing import Any

from django.core.management import BaseCommand, CommandError, CommandParser

from fullduplex.channels import DEFAULT_CHANNEL_LAYER
from fullduplex.channels.layers import get_channel_layer
from fullduplex.channels.routing import get_default_application
from fullduplex.channels.worker import Worker

logger = logging.getLogger("django.channels.worker")


class Command(BaseCommand):
    help = "Runs the consumers of ASGI_APPLICATION for messages that are sent to the named channels of a layer."
    leave_locale_alone = True
    worker_class = Worker

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--layer", default=DEFAULT_CHANNEL_LAYER, help="Alias of the layer in CHANNEL_LAYERS; default: %(default)s."
        )
        parser.add_argument("channels", nargs="+", help="Channels to listen on.")

    def handle(self, *args: Any, **options: Any) -> None:
        layer = get_channel_layer(options["layer"])
        if layer is None:
            raise CommandError("You do not have any CHANNEL_LAYERS configured.")
        if getattr(layer, "in_process", False):
            raise CommandError(
                "CHANNEL_LAYERS names the in-process layer, through which nothing reaches another process: set a "
                "BACKEND that connects processes."
            )
        logger.info("Running worker for channels %s", options["channels"])
        worker = self.worker_class(
            application=get_default_application(), channels=options["channels"], channel_layer=layer
        )
        worker.run()  # type: ignore[no-untyped-call]

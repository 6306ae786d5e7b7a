"""``manage.py serve``: the production server, without naming the application."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from fullduplex.exceptions import ConfigurationError
from fullduplex.management.application import PATH, get_internal_asgi_application
from fullduplex.server.cli import add_options, check, load_options, serve
from fullduplex.server.logs import configure_logging
from fullduplex.server.platform import check_platform


class Command(BaseCommand):
    help = "Serves the project for production: HTTP and WebSocket, with the options of the `fullduplex` command."

    def add_arguments(self, parser: CommandParser) -> None:
        add_options(parser, without=frozenset({"--app-dir", "--interface", "--wsgi-threads"}))

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEBUG and not settings.ALLOWED_HOSTS:
            raise CommandError("You must set settings.ALLOWED_HOSTS if DEBUG is False.")
        if settings.DEBUG:
            self.stderr.write(
                self.style.WARNING(
                    "WARNING: DEBUG is True: errors show source and settings to every visitor, and memory grows "
                    "with each query. Set DEBUG = False, and see what `manage.py check --deploy` says."
                )
            )
        try:
            loaded = load_options(argparse.Namespace(**options))
            configure_logging(loaded.config)
            supervised = loaded.config.workers > 1 or loaded.config.reload
            if supervised:
                check_platform(loaded.config.workers)
        except ConfigurationError as error:
            raise CommandError(str(error)) from None
        if options["check_config"]:
            sys.exit(check(loaded, get_internal_asgi_application()))
        if supervised:
            from fullduplex.server.taking_over import take_over  # what a single worker must not need

            take_over(dataclasses.replace(loaded.config, app=PATH))
        sys.exit(serve(loaded.config, get_internal_asgi_application()))

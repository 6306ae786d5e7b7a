"""``manage.py runserver``: Django's command, serving ASGI."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from typing import Any, cast

from django.apps import apps
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.management.base import CommandError, CommandParser
from django.core.management.commands.runserver import Command as DjangoCommand
from django.utils.version import get_docs_version

from fullduplex._version import __version__
from fullduplex.conf import get_settings
from fullduplex.exceptions import ConfigurationError
from fullduplex.layers import allow_in_process
from fullduplex.management.application import SETTING, get_internal_asgi_application
from fullduplex.management.development import PATIENCE_S, DevelopmentServer
from fullduplex.net.tls_config import TLSConfig


class Command(DjangoCommand):
    help = "Starts a development server that speaks HTTP and WebSocket, and serves static files."

    server_cls = DevelopmentServer  # type: ignore[assignment]
    addr: str
    _raw_ipv6: bool

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--cert",
            metavar="FILE",
            help="A certificate in PEM: serves https, over which browsers speak HTTP/2.",
        )
        parser.add_argument("--key", metavar="FILE", help="Its private key, where it is not in the same file.")
        if not apps.is_installed("django.contrib.staticfiles"):
            return
        parser.add_argument(
            "--nostatic",
            action="store_false",
            dest="use_static_handler",
            help="Tells Django to NOT automatically serve static files at STATIC_URL.",
        )
        parser.add_argument(
            "--insecure",
            action="store_true",
            dest="insecure_serving",
            help="Allows serving static files even if DEBUG is False.",
        )

    def run(self, **options: Any) -> None:
        """Run the server, and tell its clients before the process ends, also when the reloader ends it."""
        exit_code = 0
        try:
            super().run(**options)
        except SystemExit as leaving:
            exit_code = leaving.code if isinstance(leaving.code, int) else 1
            raise
        finally:
            server = DevelopmentServer.running
            if server is not None:
                server.stop(exit_code)

    def inner_run(self, *args: Any, **options: Any) -> None:
        self._use_threading = options["use_threading"]
        if options["key"] and not options["cert"]:
            raise CommandError("--key needs --cert, the certificate that belongs to the key.")
        DevelopmentServer.tls = TLSConfig(certfile=options["cert"], keyfile=options["key"])
        self.protocol = "https" if options["cert"] else "http"
        allow_in_process("runserver")
        outlast_debuggers()
        try:
            super().inner_run(*args, **options)
        except ConfigurationError as error:
            raise CommandError(str(error)) from None

    def get_handler(self, *args: Any, **options: Any) -> Any:
        """Return the ASGI application, behind the handler of static files where that is wanted."""
        application = get_internal_asgi_application()
        if type(application) is ASGIHandler:
            self.stderr.write(
                self.style.WARNING(
                    f"{SETTING} names Django's own handler, which refuses WebSockets. "
                    "Write `from fullduplex import get_asgi_application` in its module."
                )
            )
        if options.get("use_static_handler") and (settings.DEBUG or options.get("insecure_serving")):
            from fullduplex.handler.static import StaticFilesHandler

            return StaticFilesHandler(application)  # type: ignore[arg-type]  # the stubs have no ASGI applications
        return application

    def on_bind(self, server_port: int) -> None:
        quit_command = "CTRL-BREAK" if sys.platform == "win32" else "CONTROL-C"
        print(
            f"{datetime.now():%B %d, %Y - %X}\n"
            f"Django version {self.get_version()}, using settings {settings.SETTINGS_MODULE!r}\n"
            f"Starting ASGI/fullduplex {__version__} development server at "
            f"{self.protocol}://{self._shown_host()}:{server_port}/\n"
            f"Protocols: {DevelopmentServer.http2}HTTP/1.1 and WebSocket\n"
            f"Quit the server with {quit_command}.",
            file=cast(Any, self.stdout),
        )
        if not self._use_threading:
            self.stdout.write("--nothreading changes nothing: one thread runs all asynchronous views already.")
        if os.environ.get("DJANGO_RUNSERVER_HIDE_WARNING") != "true":
            self.stdout.write(
                self.style.WARNING(
                    "WARNING: This is a development server. In production use `manage.py serve` or the "
                    "`fullduplex` command.\nFor more information see: "
                    f"https://docs.djangoproject.com/en/{get_docs_version()}/howto/deployment/"
                )
            )
        self.stdout.flush()

    def _shown_host(self) -> str:
        if self._raw_ipv6:
            return f"[{self.addr}]"
        return "0.0.0.0" if self.addr == "0" else self.addr


def outlast_debuggers() -> None:
    """Let a handshake wait while somebody steps through its view, unless the project sets a time."""
    given = getattr(settings, "FULLDUPLEX", {})
    if isinstance(given, dict):
        settings.FULLDUPLEX = {"HANDSHAKE_TIMEOUT_S": PATIENCE_S, **given}
        get_settings.cache_clear()

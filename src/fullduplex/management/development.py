"""The development server: our worker in the place where Django's runserver expects a WSGI server.

``runserver`` makes a server from an address, gives it the application and calls ``serve_forever``. With
this class in its ``server_cls``, everything around that (checks, migrations, autoreload, messages about
busy ports) stays Django's own code.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import sys
import threading
from typing import Any, ClassVar, TypeVar

from fullduplex.asgi import Application
from fullduplex.management.access_log import DjangoServerAccessLog
from fullduplex.net.tls_config import TLSConfig
from fullduplex.server.config import ServerConfig
from fullduplex.server.http2 import find_http2, http2_in_words
from fullduplex.server.sources import load
from fullduplex.server.worker import Worker

# Longer than anybody sits at a debugger's prompt: while one holds the loop, deadlines go on.
PATIENCE_S = 86_400.0

# subprocess.run, which is how Django's reloader waits, kills its child 0.25 s after Ctrl-C; by then the
# sockets have been told, and views have had a moment to take leave.
GRACEFUL_TIMEOUT_S = 0.15

# From being told to stop to the end of the process, whatever a view or a debugger is doing.
EXIT_TIMEOUT_S = 1.0

_PLAIN = TLSConfig()


class DevelopmentServer:
    """What ``django.core.servers.basehttp.run`` needs of a server class.

    Args:
        server_address: host and port to listen on; port 0 takes a free one.
        handler_class: not used; it parses HTTP in Django's server.
        ipv6: which family a host name is resolved to.

    Raises:
        ConfigurationError: the environment or the configuration file has a wrong setting.
        OSError: the address cannot be listened on.
    """

    running: ClassVar[DevelopmentServer | None] = None
    tls: ClassVar[TLSConfig] = _PLAIN  # set by the command: Django makes the server
    http2: ClassVar[str] = ""  # for the line that names protocols
    daemon_threads = True  # set by Django for its threading server

    def __init__(self, server_address: tuple[str, int], handler_class: Any = None, *, ipv6: bool = False) -> None:
        self._config = dataclasses.replace(load({}).config, tls=self.tls)
        DevelopmentServer.http2 = http2_in_words(self._config, find_http2(self._config))
        family = socket.AF_INET6 if ipv6 else socket.AF_INET
        self._socket = socket.create_server(server_address, family=family)
        self._worker: DevelopmentWorker | None = None
        self._finished = threading.Event()
        self.server_port: int = self._socket.getsockname()[1]

    def set_app(self, app: Application) -> None:
        self._app = app

    def serve_forever(self) -> None:
        """Serve until :meth:`stop`, or SIGINT or SIGTERM on the main thread.

        Raises:
            KeyboardInterrupt: it was stopped, as Django's server ends.
            SystemExit: the application did not start; the log says why.
        """
        config = development_config(self._config, self._socket.detach(), self.tls)
        self._worker = DevelopmentWorker(config, self._app, DjangoServerAccessLog())
        DevelopmentServer.running = self
        try:
            status = self._worker.run()
        finally:
            DevelopmentServer.running = None
            self._finished.set()
        if status:
            sys.exit(status)
        raise KeyboardInterrupt

    def stop(self, exit_code: int) -> None:
        """Tell the open sockets and wait until they are closed, from a thread that will end the process."""
        assert self._worker is not None
        self._worker.exit_code = exit_code
        self._worker.stop()
        self._finished.wait()


class DevelopmentWorker(Worker):
    """A worker whose process ends soon once it is told to stop.

    A view that sleeps in a thread, or a debugger that waits for input, would else keep the old process
    from ending, and the reloader from starting the new one.
    """

    exit_code = 0
    reloads = False  # whoever closes the terminal is done

    def stop(self) -> None:
        guard = threading.Timer(EXIT_TIMEOUT_S, self._exit)
        guard.daemon = True
        guard.start()
        super().stop()

    def _exit(self) -> None:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(self.exit_code)


def development_config(base: ServerConfig, fd: int, tls: TLSConfig = _PLAIN) -> ServerConfig:
    """The configuration for a listening socket: ``base``'s protocols and limits, no deadline but that of stopping."""
    groups = [field.name for field in dataclasses.fields(base) if field.metadata.get("nested") and field.name != "tls"]
    limits = {name: _patient(getattr(base, name)) for name in groups}
    limits |= {name: getattr(base, name) for name in ("speak_http2", "h2c", "h2c_upgrade", "http2_library")}
    return ServerConfig(
        fd=fd, startup_timeout_s=PATIENCE_S, graceful_timeout_s=GRACEFUL_TIMEOUT_S, drain_grace_s=0.0, tls=tls, **limits
    )


Config = TypeVar("Config", bound=Any)


def _patient(config: Config) -> Config:
    names = [field.name for field in dataclasses.fields(config) if field.name.endswith("_timeout_s")]
    return dataclasses.replace(config, **dict.fromkeys(names, PATIENCE_S))

"""A real server for the tests of a class, in this process: browsers and real clients see the test's database."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import Any, ClassVar
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.test import TransactionTestCase, modify_settings

from fullduplex.handler.static import StaticFilesHandler
from fullduplex.management.application import get_internal_asgi_application
from fullduplex.server.config import ServerConfig
from fullduplex.server.worker import Worker
from fullduplex.threads.context import get_pool

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0


class LiveServer:
    """A worker in a thread of its own.

    Args:
        application: what it serves.
        host: where it listens, on a free port.
    """

    def __init__(self, application: Any, host: str = "localhost") -> None:
        self.port = 0
        self._started = threading.Event()
        self._error: BaseException | None = None
        config = ServerConfig(app="", host=host, port=0, access_log=False)
        self._worker = Worker(dataclasses.replace(config, graceful_timeout_s=1.0, drain_grace_s=0.0), application)
        self._worker.on_started = self._note_start
        self._thread = threading.Thread(target=self._run, name="fullduplex-live", daemon=True)

    def start(self) -> None:
        """Start it, and return when it listens.

        Raises:
            ImproperlyConfigured: it does not start.
        """
        self._thread.start()
        if not self._started.wait(START_TIMEOUT_S) or not self.port:
            raise ImproperlyConfigured("The live server does not start.") from self._error

    def stop(self) -> None:
        """Stop it; database connections of its threads are closed, so that the test database can go."""
        self._worker.stop()
        self._thread.join(STOP_TIMEOUT_S)
        get_pool().close()

    def _note_start(self, urls: list[str]) -> None:
        self.port = urlsplit(urls[0]).port or 0
        self._started.set()

    def _run(self) -> None:
        try:
            self._worker.run()
        except BaseException as error:
            self._error = error
        finally:
            self._started.set()


class ChannelsLiveServerTestCase(TransactionTestCase):
    """Serves the project while the tests of the class run.

    In Channels the server is a process of its own, with a database file of its own making; here it is a thread,
    and an in-memory database does as well.

    Attributes:
        host: where it listens, on a free port.
        serve_static: serve what ``collectstatic`` would gather.
        static_wrapper: how.
    """

    host: ClassVar[str] = "localhost"
    serve_static: ClassVar[bool] = True
    static_wrapper: ClassVar[Callable[[Any], Any]] = StaticFilesHandler
    server_class: ClassVar[type[LiveServer]] = LiveServer
    _server: ClassVar[LiveServer]

    @property
    def live_server_url(self) -> str:
        return f"http://{self.host}:{self._server.port}"

    @property
    def live_server_ws_url(self) -> str:
        return f"ws://{self.host}:{self._server.port}"

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        allowed = modify_settings(ALLOWED_HOSTS={"append": cls.host})
        allowed.enable()
        cls.addClassCleanup(allowed.disable)
        application: Any = get_internal_asgi_application()
        if cls.serve_static:
            application = cls.static_wrapper(application)
        cls._server = cls.server_class(application, cls.host)
        cls.addClassCleanup(cls._server.stop)
        cls._server.start()

"""One worker: a loop, an application, the listening sockets, and the connections it accepts."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from fullduplex._version import __version__
from fullduplex.asgi import Application
from fullduplex.exceptions import ConfigurationError
from fullduplex.gateway.access_log import AccessLog
from fullduplex.gateway.forwarded import TrustedPeers
from fullduplex.gateway.gateway import Gateway
from fullduplex.gateway.health import CheckedGateway, checked_paths
from fullduplex.gateway.lifespan import Lifespan, LifespanFailed, Support
from fullduplex.gateway.wsgi import WSGIAdapter
from fullduplex.log_lines import Spate, enable_loggers
from fullduplex.net import listeners
from fullduplex.net.acceptor import Acceptor
from fullduplex.net.connection import Connection
from fullduplex.net.listeners import Listener, ListenOptions
from fullduplex.net.negotiate import Negotiation
from fullduplex.net.proxied import ProxyHeaders
from fullduplex.net.seats import Seats
from fullduplex.net.stream import ClientConnection
from fullduplex.net.tls import TLS, files_of, make_context
from fullduplex.server.addresses import addresses_of
from fullduplex.server.allocator import settle_allocator, settle_tls_buffers
from fullduplex.server.amending import make_amend
from fullduplex.server.config import ServerConfig
from fullduplex.server.connections import Connections
from fullduplex.server.drain import Drain
from fullduplex.server.figures import Family
from fullduplex.server.http2 import find_http2, http2_in_words
from fullduplex.server.loading import load_application, load_callable, load_wsgi_application
from fullduplex.server.logs import make_access_log, tell_failed_start
from fullduplex.server.notify import Notifier
from fullduplex.server.overview import State
from fullduplex.server.telemetry import OwnPort, Telemetry
from fullduplex.watched import watched
from fullduplex.wire.http1 import HTTP1Codec
from fullduplex.wire.http2_library import lazy_codec_class

logger = logging.getLogger("fullduplex.server")

SWEEP_INTERVAL_S = 0.5  # deadlines are whole seconds; half of one is close enough, and costs next to nothing


class Worker:
    """Serves one application in one process.

    Args:
        config: what to listen on, and the limits.
        app: the application itself, instead of ``config.app``.
        access_log: told about every request, instead of the logger ``fullduplex.access``.

    Attributes:
        on_started: called with the URLs, on the loop, when the worker listens.
        on_stopped: called with the status, on the loop, when all is done but what the application left behind.
        reloads: SIGHUP renews TLS, and does not end the process.
        is_supervised: one of several, whose sockets a supervisor holds.
    """

    reloads = True
    is_supervised = False

    def __init__(
        self, config: ServerConfig, app: Application | None = None, access_log: AccessLog | None = None
    ) -> None:
        if config.workers != 1 and not self.is_supervised:
            raise ConfigurationError(f"--workers {config.workers}: one process is one worker; use a supervisor.")
        self.config = config
        self.on_started: Callable[[list[str]], None] | None = None
        self.on_stopped: Callable[[int], None] | None = None
        self._app = app
        self._access_log = access_log or make_access_log(config)
        self._connections = Connections()
        self._telemetry: Telemetry | None = None
        if config.metrics_port is not None:
            self._telemetry = Telemetry(self._access_log, self._tell_figures)
            self._access_log = self._telemetry.access_log
        self._own_port: OwnPort | None = None  # of a worker that is a service by itself
        self._negotiation: Negotiation | None = None
        self._acceptors: list[Acceptor] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._http2_library: str | None = None
        self._tls: TLS | None = None
        self._notifier: Notifier | None = None  # of a worker that is a service by itself
        self._hurry = False
        self._stays = True  # in a drain, it goes on accepting for the grace
        self._has_process = False

    def run(self) -> int:
        """Serve until :meth:`stop`, or SIGINT or SIGTERM when this is the main thread.

        Returns:
            0 after a clean stop, 1 when the application failed to start.

        Raises:
            ConfigurationError: the application cannot be loaded or the address cannot be listened on.
        """
        self._has_process = threading.current_thread() is threading.main_thread()
        if self._has_process:
            settle_allocator()
            settle_tls_buffers()
        with asyncio.Runner(loop_factory=loop_factory(self.config.loop)) as runner:
            return runner.run(self.serve())

    async def serve(self) -> int:
        """The same inside a running loop."""
        if self._telemetry is not None and not self.is_supervised:
            self._own_port = OwnPort(self.config)
        try:
            return await self._serve_application()
        finally:
            if self._own_port is not None:
                self._own_port.close()

    async def _serve_application(self) -> int:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        app = self._app or self.load()
        enable_loggers()  # it may have configured logging; and again when it starts
        self.find_http2()
        self._tls = self._make_tls()
        opened = self._listen()
        status = 1
        try:
            lifespan = await self._start_application(app)
            enable_loggers()
            if lifespan is not None:
                self._freeze_heap()
                with self._signals():
                    await self._serve(app, lifespan, opened)
                status = 0
        finally:
            _close_all(opened)
            if self.on_stopped is not None:
                self.on_stopped(status)
        return status

    def check(self) -> None:
        """Load what the configuration names, without listening.

        Raises:
            ConfigurationError: something cannot be loaded, or makes no sense.
        """
        if self._app is None:
            self.load()
        loop_factory(self.config.loop)
        make_amend(self.config)
        checked_paths(self.config.health_paths)
        self.find_http2()
        self._make_tls()

    def find_http2(self) -> None:
        """Look which library frames HTTP/2; where it is sure to be of use, import it.

        Raises:
            ConfigurationError: it is not installed.
        """
        self._http2_library = find_http2(self.config)

    def stop(self) -> None:
        """Stop gracefully; a second call drops what is still open. May be called from any thread."""
        self._call_soon(self._ask_to_stop)

    # Inside ----------------------------------------------------------------------------------

    def _call_soon(self, callback: Callable[[], None]) -> None:
        """Call it on the loop; from any thread, and from signal handlers."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: stopped already
                self._loop.call_soon_threadsafe(callback)

    def _freeze_heap(self) -> None:
        """Let garbage collection pass over what start-up has made, where the process is ours: it stays to the end.

        With Django loaded, a full collection would stop the loop for 50 ms every few thousand requests.
        """
        if self._has_process:
            gc.collect()
            gc.freeze()

    async def _serve(self, app: Application, lifespan: Lifespan, opened: list[Listener]) -> None:
        assert self._loop is not None
        assert self._stop is not None
        config = self.config
        gateway = self._make_gateway(app)
        gateway.state = lifespan.state
        gateway.amend = make_amend(self.config)
        gateway.set_clock(time.time())
        self._negotiation = self._make_negotiation(gateway)
        gateway.connections = self._connections
        sweep = self._loop.create_task(watched("The sweep", lambda: self._sweep(gateway), logger))
        self._gateway = gateway
        self._seats = Seats(config.load.max_connections_count)
        self._acceptors = [self._acceptor(listener.sock) for listener in opened]
        telling = self._telemetry.begin(gateway, self._seats) if self._telemetry is not None else None
        self._announce(lifespan, opened)
        try:
            await self._stop.wait()
            gateway.is_leaving = self._stays  # else others of the service go on
            if self._own_port is not None:
                self._own_port.is_now(State.DRAINING)
            logger.info("Stopping: %d connections open", len(self._connections))
            if self._notifier is not None:
                self._notifier.stopping()
            await self._drain(gateway)
        finally:
            sweep.cancel()
            if telling is not None and self._telemetry is not None:
                telling.cancel()
                self._telemetry.tell()
            await lifespan.shutdown(self.config.graceful_timeout_s)
            logger.info("Stopped")

    def _make_gateway(self, app: Application) -> Gateway:
        config = self.config
        make, paths = Gateway, checked_paths(config.health_paths)
        if paths:
            make = CheckedGateway
        gateway = make(app, self._access_log, config.websocket, config.connection, config.load, config.server_header)
        gateway.checked_paths = paths
        return gateway

    async def _drain(self, gateway: Gateway) -> None:
        config = self.config
        drain = Drain(
            self._connections,
            gateway.tasks,
            timeout_s=config.graceful_timeout_s,
            grace_s=config.drain_grace_s,
            hurry=lambda: self._hurry,
            is_checked=bool(config.health_paths),
        )
        await drain.run(self._acceptors, stay=self._stays)

    def load(self) -> Application:
        """Import the application.

        Raises:
            ConfigurationError: it cannot be found.
        """
        config = self.config
        if config.interface == "asgi":
            return load_application(config.app, config.app_dir)
        app = load_wsgi_application(config.app, config.app_dir)
        return WSGIAdapter(app, config.wsgi_threads_count, multiprocess=config.workers > 1)

    def _acceptor(self, listener: socket.socket, **options: Any) -> Acceptor:
        proxy = self.config.proxy
        peers = TrustedPeers(proxy.trusted)
        gateway = self._gateway
        return Acceptor(
            listener,
            self._seats,
            lambda: self._connection(gateway),
            gateway.refusal,
            context=self._tls.context if self._tls else None,
            handshake_timeout_s=self.config.tls.handshake_timeout_s,
            proxies=ProxyHeaders(peers.trusts, proxy.protocol_timeout_s, proxy.protocol_tls_ports)
            if proxy.protocol
            else None,
            **options,
        )

    def _connection(self, gateway: Gateway) -> Connection:
        assert self._loop is not None
        codec = HTTP1Codec(self.config.http1, now_s=self._loop.time(), defaults=gateway.default_fields)
        negotiation = self._negotiation
        front = gateway if negotiation is None else negotiation.http1_gateway
        connection = Connection(front, self.config.connection, codec, self._connections, self._loop)
        if negotiation is not None:
            connection.switch = negotiation.take_over
        return connection

    def _make_negotiation(self, gateway: Gateway) -> Negotiation | None:
        config = self.config
        if self._http2_library is None:
            return None
        return Negotiation(
            gateway,
            lazy_codec_class(self._http2_library),
            config.http2,
            config.connection,
            self._connections,
            gateway.default_fields,
            config.h2c,
            config.h2c_upgrade,
        )

    async def _sweep(self, gateway: Gateway) -> None:
        """Renew the date and enforce the deadlines of every connection, twice a second.

        What fails in it keeps nothing else from being done, and is tried again in the next one.
        """
        assert self._loop is not None
        failures = Spate(logger.error, "%d more steps of the sweep failed", self._loop.time)
        steps: list[Callable[[], None]] = [lambda: gateway.set_clock(time.time())]
        if self._tls is not None:
            steps.append(self._tls.reload_if_changed)
        steps.append(lambda: gateway.weigh(self._connections))
        steps += [self._tick, self._tick_acceptors, failures.sum_up]
        if self._notifier is not None:
            steps.append(self._notifier.alive)
        while True:
            await asyncio.sleep(SWEEP_INTERVAL_S)
            for step in steps:
                try:
                    step()
                except Exception as error:
                    failures.tell("A step of the sweep failed; the others go on", exc_info=error)

    def _tick_acceptors(self) -> None:
        for acceptor in self._acceptors:
            acceptor.tick()

    def _tick(self) -> None:
        assert self._loop is not None
        now_s = self._loop.time()
        for connection in [*self._connections]:
            try:
                connection.tick(now_s)
            except Exception:
                logger.exception("A connection failed in its deadline; it is dropped")
                self._drop(connection)

    def _drop(self, connection: ClientConnection) -> None:
        try:
            connection.abort()
        except Exception:
            self._connections.discard(connection)  # or it would fail in each sweep
            logger.exception("A connection could not be dropped")

    async def _start_application(self, app: Application) -> Lifespan | None:
        state: dict[str, Any] = {"fullduplex.worker_count": self.config.workers}
        if self._telemetry is not None:
            self._telemetry.prepare(state)
        lifespan = Lifespan(app, state)
        if self.config.lifespan == "off":
            lifespan.support = Support.OFF
            return lifespan
        try:
            await lifespan.startup(self.config.startup_timeout_s)
        except LifespanFailed as error:
            tell_failed_start("The application did not start: %s", error)
            return None
        if self.config.lifespan == "on" and lifespan.support is not Support.ON:
            tell_failed_start("The application does not support lifespan, which --lifespan on asks for.")
            return None
        return lifespan

    def _make_tls(self) -> TLS | None:
        config = self.config.tls
        if not config.enabled:
            return None

        def make() -> ssl.SSLContext:
            if config.context is None:
                return make_context(config, ("h2", "http/1.1") if self._http2_library else ("http/1.1",))
            context = load_callable(config.context, self.config.app_dir, "a context factory")()
            if not isinstance(context, ssl.SSLContext):
                raise ConfigurationError(f"--ssl-context {config.context} returned no ssl.SSLContext.")
            return context

        return TLS(make, files_of(config))

    def _listen(self) -> list[Listener]:
        """Open everything that is asked for, or nothing."""
        config = self.config
        options = ListenOptions(
            port=config.port,
            mode=config.uds_mode,
            backlog_count=config.backlog_count,
            reuse_port=config.reuse_port,
        )
        opened: list[Listener] = []
        try:
            for address in addresses_of(config):
                opened += listeners.open_listeners(address, options)
        except BaseException:
            _close_all(opened)
            raise
        return opened

    def _announce(self, lifespan: Lifespan, opened: list[Listener]) -> None:
        urls = [listener.url("https" if self._tls else "http") for listener in opened]
        logger.info("fullduplex %s, process %d, %s", __version__, os.getpid(), type(self._loop).__module__)
        logger.info("%s", self._description(lifespan))
        for url in urls:
            logger.info("Listening on %s (CTRL+C stops)", url)
        self._notifier = Notifier(os.environ)
        self._notifier.ready(f"Listening on {', '.join(urls)}")
        if self._own_port is not None:
            self._own_port.is_now(State.READY)
        if self.on_started is not None:
            self.on_started(urls)

    def _tell_figures(self, families: list[Family]) -> None:
        if self._own_port is not None:
            self._own_port.publish(families)

    def _description(self, lifespan: Lifespan) -> str:
        lifespan_text = "on" if lifespan.support is Support.ON else "not supported by the application"
        return "Protocols: {}{}HTTP/1.1, WebSocket (permessage-deflate {}); lifespan: {}".format(
            "TLS, " if self._tls else "",
            http2_in_words(self.config, self._http2_library),
            "on" if self.config.websocket.deflate else "off",
            "off" if self.config.lifespan == "off" else lifespan_text,
        )

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Stop on SIGINT and SIGTERM, reload on SIGHUP; other threads than the main one cannot listen to signals."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handled = [signal.SIGINT, signal.SIGTERM]
        if sys.platform == "win32":
            handled.append(signal.SIGBREAK)
        before = {number: signal.signal(number, lambda *_: self.stop()) for number in handled}
        if self.reloads and hasattr(signal, "SIGHUP"):
            before[signal.SIGHUP] = signal.signal(signal.SIGHUP, lambda *_: self._call_soon(self._reload))
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _reload(self) -> None:
        if self._tls is not None:
            self._tls.reload()
        else:
            logger.info("SIGHUP renews certificates; without TLS there is nothing to do")

    def _ask_to_stop(self) -> None:
        assert self._stop is not None
        if self._stop.is_set():
            self._hurry = True
        self._stop.set()


def _close_all(opened: list[Listener]) -> None:
    for listener in opened:
        listener.close()


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """The maker of event loops called ``name``: ``auto``, ``asyncio`` or ``uvloop``.

    Raises:
        ConfigurationError: uvloop is asked for and not installed.
    """
    if name != "asyncio":
        try:
            import uvloop
        except ImportError:
            if name == "uvloop":
                raise ConfigurationError("--loop uvloop: uvloop is not installed here.") from None
        else:
            return uvloop.new_event_loop
    return asyncio.new_event_loop

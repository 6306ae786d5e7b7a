"""A worker that a supervisor started: it says when it is ready, and accepts where it is told to.

::

    supervisor ── accept, listener, drain, hurry ──> worker
               <── ready, beat, leaving, recycle, figures ───
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator

from fullduplex.asgi import Application
from fullduplex.exceptions import ConfigurationError
from fullduplex.gateway.lifespan import Lifespan
from fullduplex.net.acceptor import Acceptor
from fullduplex.net.listeners import Listener, address_url
from fullduplex.server.addresses import addresses_of
from fullduplex.server.channel import Channel, Message
from fullduplex.server.config import ServerConfig
from fullduplex.server.figures import Family, to_json
from fullduplex.server.logs import configure_logging, tell_failed_start
from fullduplex.server.orders import BEAT_INTERVAL_S, unpack
from fullduplex.server.process import run_to_the_end
from fullduplex.server.recycling import Recycling
from fullduplex.server.watchdog import Watchdog
from fullduplex.server.worker import Worker

logger = logging.getLogger("fullduplex.server")

RECYCLING_BEATS_COUNT = 5

Places = dict[int, list[socket.socket]]


class SupervisedWorker(Worker):
    """One of several workers of a service.

    Args:
        config: of the service.
        channel: the line to the supervisor.
        own: the listening sockets of each slot; this worker accepts from those that it is told to.
        shared: those that every worker accepts from.
        app: where it is imported already.
    """

    is_supervised = True

    def __init__(
        self,
        config: ServerConfig,
        channel: Channel,
        own: Places,
        shared: list[socket.socket],
        app: Application | None = None,
    ) -> None:
        super().__init__(config, app)
        self._channel = channel
        self._own = own
        self._shared = shared
        self._accepting: dict[int, list[Acceptor]] = {}  # by slot; of the shared sockets under -1
        self._stays = False
        self._watchdog: Watchdog | None = None

    # What others do with sockets of their own ------------------------------------------------

    def _listen(self) -> list[Listener]:
        return []

    def _announce(self, lifespan: Lifespan, opened: list[Listener]) -> None:
        assert self._loop is not None
        description = f"{type(self._loop).__module__}; {self._description(lifespan)}"
        self._channel.send({"kind": "ready", "description": description, "pid": os.getpid()})
        self._loop.add_reader(self._channel.fileno(), self._listen_to_supervisor)
        if self.config.watchdog_warn_s:
            config = self.config
            self._watchdog = Watchdog(
                self._loop, config.watchdog_warn_s, config.watchdog_timeout_s, self._channel.is_hung_up
            )
        self._recycling = Recycling(self.config.recycle, self._loop.time())
        self._beating = self._loop.create_task(self._beat())

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM ends this worker alone."""
        signal.signal(signal.SIGTERM, lambda *_: self.stop())
        yield

    def _ask_to_stop(self) -> None:
        if self._stop is not None and not self._stop.is_set():
            self._channel.send({"kind": "leaving"})
        super()._ask_to_stop()

    # The line --------------------------------------------------------------------------------

    async def _beat(self) -> None:
        """Show that the loop runs, and now and then ask to be replaced, when it is time."""
        assert self._loop is not None
        for number in itertools.count(1):
            if self._watchdog is not None:
                self._watchdog.beat()
            if not self._channel.is_behind:
                self._channel.send({"kind": "beat"})
            else:
                self._channel.flush()
            if number % RECYCLING_BEATS_COUNT == 0:
                reason = self._recycling.reason(self._gateway.taken_count, self._loop.time())
                if reason is not None:
                    self._channel.send({"kind": "recycle", "reason": reason})
            await asyncio.sleep(BEAT_INTERVAL_S)

    def _tell_figures(self, families: list[Family]) -> None:
        if not self._channel.is_behind:  # a supervisor that is busy gets the next ones
            self._channel.send({"kind": "figures", "figures": to_json(families)})

    def _listen_to_supervisor(self) -> None:
        for message in self._channel.receive():
            self._obey(message)
        if self._channel.is_closed:  # the supervisor is gone, and whoever comes next has workers of its own
            assert self._loop is not None
            self._loop.remove_reader(self._channel.fileno())
            logger.warning("The supervisor is gone; this worker stops, too")
            self._stays = True
            self.stop()

    def _obey(self, message: Message) -> None:
        kind = message["kind"]
        if kind == "accept":
            self._accept_from({-1, *message["slots"]})
        elif kind == "listener":
            self._own[message["slot"]] = [socket.socket(fileno=fd) for fd in message["descriptors"]]
        elif kind == "drain":
            self._stays = message["stay"]
            if self._stop is not None and not self._stop.is_set():
                self._ask_to_stop()
        elif kind == "hurry":
            self._hurry = True

    def _accept_from(self, slots: set[int]) -> None:
        """Accept from the sockets of these slots and of no others; those who wait there are not touched."""
        if self._stop is not None and self._stop.is_set():
            return
        for slot in self._accepting.keys() - slots:
            for acceptor in self._accepting.pop(slot):
                acceptor.stop(last=False)
                self._acceptors.remove(acceptor)
        for slot in slots - self._accepting.keys():
            if slot == -1:
                # From a socket of many, one connection per turn of the loop, or one worker would take a burst alone.
                acceptors = [
                    self._acceptor(sock, keeps_listener=True, batch_count=1, is_of_service=self._is_of_service(sock))
                    for sock in self._shared
                ]
            else:
                acceptors = [
                    self._acceptor(sock, keeps_listener=True, is_of_service=True) for sock in self._own.get(slot, [])
                ]
            self._accepting[slot] = acceptors
            self._acceptors += acceptors

    def _is_of_service(self, sock: socket.socket) -> bool:
        """Whether the supervisor has bound it; what it was lent by systemd, or by ``--fd``, outlives the service."""
        return address_url(sock) in addresses_of(self.config)


def main(fd: int) -> None:
    """Be a worker; what to do comes first on the line at this descriptor."""
    channel, config, own, shared = begin(fd)
    finish(SupervisedWorker(config, channel, own, shared))


def begin(fd: int) -> tuple[Channel, ServerConfig, Places, list[socket.socket]]:
    """Take orders, in a fresh interpreter.

    Returns:
        The line at this descriptor; the configuration; the listening sockets of each slot; those of all.
    """
    leave_signals_to_supervisor()
    channel = Channel(socket.socket(fileno=fd))
    order = _first(channel)
    config = unpack(order["config"])
    sys.argv[:] = order["argv"]
    configure_logging(config)
    own = {int(slot): [_adopt(one) for one in fds] for slot, fds in order["own"].items()}
    return channel, config, own, [_adopt(one) for one in order["shared"]]


def finish(worker: SupervisedWorker) -> None:
    """Serve, and end the process."""
    try:
        status = run_to_the_end(worker)
    except ConfigurationError as error:
        tell_failed_start("%s", error)
        status = 1
    sys.exit(status)


def leave_signals_to_supervisor() -> None:
    """What a terminal sends to the whole group is not for workers.

    Functions, not SIG_IGN, which programs started by the application would inherit.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)


def _first(channel: Channel) -> Message:
    """Wait for the first message, and leave those behind it: a slot may be opened while this process starts."""
    import select

    while True:
        select.select([channel], [], [])
        for message in channel.receive(1):
            return message
        if channel.is_closed:
            os._exit(1)


def _adopt(fd: int) -> socket.socket:
    os.set_inheritable(fd, False)
    sock = socket.socket(fileno=fd)
    sock.setblocking(False)
    return sock

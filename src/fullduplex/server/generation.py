"""The workers of one version of the code, and where they come from: a template, or fresh interpreters."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable

from fullduplex.server.channel import Message
from fullduplex.server.config import ServerConfig
from fullduplex.server.leftovers import can_fork
from fullduplex.server.slots import Slots
from fullduplex.server.spawn import Forked, Spawned

logger = logging.getLogger("fullduplex.server")


class Generation:
    """Starts workers.

    Args:
        number: 1, and one more with each reload.
        config: of the service.
        order: makes what a process is told first.
        sockets: of the service.

    Attributes:
        template: the process that has imported the application; None where workers import it themselves.
        is_ready: workers can be started.
        started_s: when the template began to import.
        due_s: when a template that has died may be started again.
    """

    def __init__(self, number: int, config: ServerConfig, order: Callable[[], Message], sockets: Slots) -> None:
        self.number = number
        self._order = order
        self._sockets = sockets
        self._is_fresh = not config.preload or not can_fork()
        self._ids = itertools.count()
        self._forks: dict[int, Forked] = {}
        self.template: Spawned | None = None
        self.is_ready = self._is_fresh
        self._has_ended = False
        self.started_s = 0.0
        self.due_s = 0.0

    @property
    def lacks_template(self) -> bool:
        return not self._is_fresh and not self._has_ended and self.template is None

    def start_template(self) -> Spawned | None:
        """Start the process that imports the application; None where workers do that themselves."""
        if not self._is_fresh:
            self.started_s = time.monotonic()
            self.template = Spawned(self._order(), self._sockets.descriptors, "template")
        return self.template

    def start(self) -> Spawned | Forked | None:
        """Start a worker; None while the template is not ready, and when no more are wanted."""
        if self._has_ended:
            return None
        if self._is_fresh:
            return Spawned(self._order(), self._sockets.descriptors)
        if not self.is_ready or self.template is None:
            return None
        number = next(self._ids)
        fork = Forked(self.template, number)
        self._forks[number] = fork
        return fork

    def take(self, message: Message) -> None:
        """What the template says."""
        kind = message["kind"]
        if kind == "template":
            self.is_ready = True
            if message["unsafe"] is not None:
                logger.info(
                    "Workers are started with fresh interpreters: importing the application leaves %s",
                    message["unsafe"],
                )
                self._is_fresh = True
            else:
                logger.info("The application is imported once for all workers, in %.1f s", message["seconds"])
        elif kind == "forked":
            self._forks[message["id"]].named(message["pid"])
        elif kind == "ended":
            for number, fork in [*self._forks.items()]:
                if fork.pid == message["pid"]:
                    fork.ended(message["status"])
                    del self._forks[number]

    def lose_template(self) -> bool:
        """The template has ended; return whether that was to be expected."""
        self.template = None
        self.is_ready = self._is_fresh
        return self._is_fresh or self._has_ended

    def add_listener(self, slot: int) -> None:
        """A slot is new."""
        if self.template is not None and not self._is_fresh:
            fds = [listener.sock.fileno() for listener in self._sockets.own[slot]]
            self.template.channel.send({"kind": "listener", "slot": slot}, fds)

    def end(self) -> None:
        """No more workers are wanted. Those that the template has forked go on."""
        self._has_ended = True
        if self.template is not None:
            self.template.kill()

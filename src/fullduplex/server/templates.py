"""The templates of all generations that have one: heard, watched, started again when they die."""

from __future__ import annotations

import logging
import selectors
import time
from collections.abc import Callable

from fullduplex.server.channel import Message
from fullduplex.server.config import ServerConfig
from fullduplex.server.generation import Generation
from fullduplex.server.slots import Slots
from fullduplex.server.spawn import Spawned, how_it_ended

logger = logging.getLogger("fullduplex.server")

NO_PROCESS = "no process can be started ({})"
RETRY_S = 30.0  # after a template that could not import what its predecessor could


class Templates:
    """Makes generations and looks after their templates.

    Args:
        config: of the service.
        order: makes what a process is told first.
        sockets: of the service.
        selector: of the supervisor.
        failed: told of a generation that cannot serve, and why.
    """

    def __init__(
        self,
        config: ServerConfig,
        order: Callable[[], Message],
        sockets: Slots,
        selector: selectors.BaseSelector,
        failed: Callable[[Generation, str], None],
    ) -> None:
        self._config = config
        self._order = order
        self._sockets = sockets
        self._selector = selector
        self._failed = failed
        self._followed: dict[Spawned, Generation] = {}

    @property
    def processes(self) -> list[Spawned]:
        return [*self._followed]

    def begin(self, number: int) -> Generation:
        """Begin a generation; its template starts to import.

        Raises:
            OSError: the system lets nobody start.
        """
        generation = Generation(number, self._config, self._order, self._sockets)
        self._start(generation)
        return generation

    def add_listener(self, slot: int) -> None:
        """A slot is new."""
        for generation in self._followed.values():
            generation.add_listener(slot)

    def end_all(self) -> None:
        for generation in self._followed.values():
            generation.end()

    def tick(self) -> None:
        """See who has ended, who takes too long, and who is to be started again."""
        now_s = time.monotonic()
        for template, generation in [*self._followed.items()]:
            status = template.status()
            if status is not None:
                self._bury(template, generation, how_it_ended(status))
            elif not generation.is_ready and now_s > generation.started_s + self._config.worker_startup_timeout_s:
                logger.error("Importing the application takes more than %g s", self._config.worker_startup_timeout_s)
                generation.started_s = now_s
                template.kill()

    def renew(self, generation: Generation) -> None:
        """Start a template again that has died, when it is time."""
        if generation.lacks_template and time.monotonic() >= generation.due_s:
            try:
                self._start(generation)
            except OSError as error:
                generation.due_s = time.monotonic() + RETRY_S
                self._failed(generation, NO_PROCESS.format(error))

    def _start(self, generation: Generation) -> None:
        template = generation.start_template()
        if template is not None:
            self._followed[template] = generation
            self._selector.register(template.channel, selectors.EVENT_READ, lambda: self._hear(template))

    def _hear(self, template: Spawned) -> None:
        for message in template.channel.receive():
            self._followed[template].take(message)
        if template.channel.is_closed:
            self._selector.unregister(template.channel)

    def _bury(self, template: Spawned, generation: Generation, how: str) -> None:
        if not template.channel.is_closed:
            self._hear(template)  # its last words
        if not template.channel.is_closed:
            self._selector.unregister(template.channel)
        template.channel.close()
        del self._followed[template]
        was_ready = generation.is_ready
        if generation.lose_template():
            return
        if was_ready:
            logger.error("The process that workers are forked from %s; they go on, and another one starts", how)
        else:
            generation.due_s = time.monotonic() + RETRY_S
            self._failed(generation, f"the process that imports the application {how}")

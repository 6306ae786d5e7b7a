"""Many workers: started, watched and replaced by a process that binds once and never imports the application.

::

    Supervisor ── Slot 0 ── Child (current) ── Child (next: it gets ready, then takes over)
               ├─ Slot 1 ── ...
               └─ draining: children that answer what they have begun
"""

from __future__ import annotations

import logging
import os
import random
import selectors
import signal
import time
from typing import TYPE_CHECKING, Any

from fullduplex._version import __version__
from fullduplex.server.addresses import addresses_of
from fullduplex.server.books import Books
from fullduplex.server.channel import Message
from fullduplex.server.children import Child, Slot, share_out
from fullduplex.server.config import ServerConfig
from fullduplex.server.generation import Generation
from fullduplex.server.notify import Notifier
from fullduplex.server.orders import BEAT_INTERVAL_S, DUMP_SIGNAL, pack
from fullduplex.server.overview import Overview, State
from fullduplex.server.platform import check_platform
from fullduplex.server.slots import Slots
from fullduplex.server.spawn import Forked, Spawned, become_reaper, how_it_ended, reap_others
from fullduplex.server.templates import NO_PROCESS, Templates
from fullduplex.server.waking import Signals

if TYPE_CHECKING:
    from fullduplex.server.edits import Edits
    from fullduplex.server.metrics_port import MetricsPort

logger = logging.getLogger("fullduplex.server")

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCHLD)

TICK_S = 0.1
SILENCE_S = 2 * BEAT_INTERVAL_S  # a loop that does not beat for so long is blocked: another accepts in its place
KILL_MARGIN_S = 15.0  # beyond the graceful time: cancelled tasks, lifespan, threads
DUMP_S = 0.5  # for a blocked worker to write its stacks
HEALTHY_S = 10.0  # who was ready for so long is replaced at once
BACKOFF_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
SERVED_BACKOFF_S = 1.0  # after one that was ready: a request that ends workers must not keep others waiting for long


class Supervisor:
    """Serves an application with ``config.workers`` processes.

    Args:
        config: where to listen, what to serve.

    Raises:
        ConfigurationError: the platform cannot do it.
    """

    def __init__(self, config: ServerConfig) -> None:
        check_platform(config.workers)
        self.config = config
        self._clock = time.monotonic
        self._selector = selectors.DefaultSelector()
        self._slots: dict[int, Slot] = {}
        self._draining: list[Child] = []
        self._blocked: set[Child] = set()  # their loops do not run
        self._incoming: Generation | None = None  # of a reload
        self._reload_again = False
        self._last_number = 1
        self._was_ready = False
        self._all_ready = False
        self._was_told = False  # systemd: that it is ready
        self._stopping = False
        self._status = 0
        self._books = Books()
        self._metrics: MetricsPort | None = None
        self._edits: Edits | None = None
        self._overview = self._look()

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT.

        Returns:
            The exit status: 0 after a clean stop, 1 when no worker could start.

        Raises:
            ConfigurationError: the address cannot be listened on.
        """
        self._sockets = Slots(self.config, addresses_of(self.config))
        if self.config.metrics_port is not None:
            from fullduplex.server.metrics_port import MetricsPort  # has an event loop, which costs memory

            self._metrics = MetricsPort(self.config, lambda: self._overview)
        logger.info("fullduplex %s, supervisor %d, %d workers", __version__, os.getpid(), self.config.workers)
        self._templates = Templates(self.config, self._order, self._sockets, self._selector, self._generation_failed)
        self._notifier = Notifier(os.environ)
        signals = Signals(SIGNALS)
        self._selector.register(signals, selectors.EVENT_READ, lambda: [*map(self._obey, signals.take())])
        try:
            for number in range(self.config.workers):
                self._sockets.open(number)
                self._slots[number] = Slot(number)
            become_reaper()
            if self.config.reload:
                self._watch_edits()
            if self._metrics is not None:
                self._metrics.start()
            self._generation = self._templates.begin(1)
            while not self._is_over():
                for key, _ in self._selector.select(TICK_S):
                    key.data()
                self._tick()
        finally:
            for process in self._processes():
                process.kill()
            self._sockets.close()
            if self._metrics is not None:
                self._metrics.close()
            if self._edits is not None:
                self._edits.close()
            signals.close()
            self._selector.close()
        logger.info("Stopped")
        return self._status

    # Children --------------------------------------------------------------------------------

    def _processes(self) -> list[Spawned | Forked]:
        return [*self._templates.processes, *(child.process for child in self._children())]

    def _children(self) -> list[Child]:
        return [child for slot in self._slots.values() for child in slot.children] + self._draining

    def _order(self) -> Message:
        """What a process is told first."""
        return {
            "config": pack(self.config),
            "own": {n: [one.sock.fileno() for one in own] for n, own in self._sockets.own.items()},
            "shared": [one.sock.fileno() for one in self._sockets.shared],
        }

    def _start(self, slot: Slot, generation: Generation) -> Child | None:
        """Start a worker for a slot; None while its template is not ready, and where the system lets nobody start."""
        try:
            process = generation.start()
        except OSError as error:
            self._cannot_start(slot, generation, error)
            return None
        if process is None:
            return None
        child = Child(process, slot.number, generation.number, self._clock())
        self._selector.register(process.channel, selectors.EVENT_READ, lambda: self._hear(child))
        return child

    def _cannot_start(self, slot: Slot, generation: Generation, error: OSError) -> None:
        """No descriptors, no memory, no interpreter (an upgrade has taken it away): those who serve go on."""
        if generation is self._incoming:
            self._give_up_reload(NO_PROCESS.format(error))
            return
        slot.failures_count += 1
        delay_s = BACKOFF_S[min(slot.failures_count, len(BACKOFF_S)) - 1]
        slot.due_s = self._clock() + delay_s
        logger.error("Worker %d: %s; tried again in %.1f s", slot.number + 1, NO_PROCESS.format(error), delay_s)
        self._fail_unless_served()

    def _hear(self, child: Child) -> None:
        for message in child.process.channel.receive():
            self._take(child, message)
        if child.process.channel.is_closed:
            self._selector.unregister(child.process.channel)
            child.is_silent = True

    def _take(self, child: Child, message: dict[str, Any]) -> None:
        kind = message["kind"]
        child.beat_s = self._clock()
        if kind == "ready":
            child.process.named(message["pid"])  # also where it is to end: a template that was killed never named it
            if child.state is State.STARTING:
                self._ready(child, message["description"])
        elif kind == "leaving" and child.state is State.READY:
            self._left(child)
        elif kind == "recycle":
            self._recycle(child, message["reason"])
        elif kind == "figures":
            self._books.take(child, message["figures"], self._clock())

    def _ready(self, child: Child, description: str) -> None:
        child.state = State.READY
        child.ready_s = self._clock()
        logger.info("Worker %s is ready after %.1f s", child, child.ready_s - child.started_s)
        if not self._was_ready:
            self._was_ready = True
            logger.info("%s", description)
            for url in self._sockets.urls("https" if self.config.tls.enabled else "http"):
                logger.info("Listening on %s (CTRL+C stops)", url)
        self._settle()

    def _settle(self) -> None:
        """Let those that are ready take over, and say who accepts where."""
        if self._incoming is not None:
            if all(slot.next is not None and slot.next.state is State.READY for slot in self._slots.values()):
                self._generation.end()
                self._generation, self._incoming = self._incoming, None
                self._was_told = False
                for slot in self._slots.values():
                    self._take_over(slot)
                logger.info("Reloaded: generation %d serves", self._generation.number)
                self._books.reloaded("done")
                if self._reload_again:
                    self._reload()
        else:
            for slot in self._slots.values():
                if slot.next is not None and slot.next.state is State.READY:
                    self._take_over(slot)
        if not self._all_ready and all(slot.is_ready for slot in self._slots.values()):
            self._all_ready = True
            logger.info("All %d workers are ready", len(self._slots))
        self._tell_systemd()
        self._share_out()

    def _tell_systemd(self) -> None:
        """The service is ready when each slot has a worker, or has tried; one that fails stops nobody."""
        slots = self._slots.values()
        tried = self._was_ready and all(slot.is_ready or slot.failures_count for slot in slots)
        if tried and self._incoming is None and not self._was_told:
            self._was_told = True
            ready_count = sum(slot.is_ready for slot in slots)
            self._notifier.ready(f"{ready_count} of {len(slots)} workers, generation {self._generation.number}")

    def _take_over(self, slot: Slot) -> None:
        before, slot.current, slot.next = slot.current, slot.next, None
        self._share_out()  # before the other one stops to accept
        if before is not None:
            self._dismiss(before)

    def _dismiss(self, child: Child, *, stay: bool = False) -> None:
        """Have a worker answer what it has begun, and end."""
        if child.state is State.READY:
            child.process.channel.send({"kind": "drain", "stay": stay})
        elif child.state is State.STARTING:
            child.process.kill(signal.SIGTERM)
        child.state = State.DRAINING
        child.until_s = self._clock() + self.config.graceful_timeout_s + KILL_MARGIN_S
        if child not in self._draining:
            self._draining.append(child)

    def _recycle(self, child: Child, reason: str) -> None:
        """Start a replacement, one at a time; the worker asks again as long as nothing happens."""
        slot = self._slots.get(child.slot)
        if self._stopping or slot is None or slot.current is not child or self._clock() < slot.due_s:
            return
        if self._incoming is None and all(one.next is None for one in self._slots.values()):
            logger.info("Worker %s %s; a fresh one gets ready", child, reason)
            slot.next = self._start(slot, self._generation)
            if slot.next is not None:
                self._books.restarted(slot.number, "recycled")

    def _left(self, child: Child) -> None:
        """A worker goes by itself: somebody has signalled it."""
        logger.info("Worker %s stops by itself; another one takes its place", child)
        self._books.restarted(child.slot, "left")
        slot = self._slots.get(child.slot)
        self._dismiss(child)
        if slot is not None and slot.current is child:
            slot.current = None
            slot.due_s = self._clock()
        self._share_out()

    # Deaths ----------------------------------------------------------------------------------

    def _bury(self, child: Child, status: int) -> None:
        """A worker has ended."""
        if not child.is_silent:
            self._hear(child)  # its last words
        if not child.is_silent:
            self._selector.unregister(child.process.channel)
        child.process.channel.close()
        self._books.bury(child)
        if self._metrics is not None:
            self._metrics.forget(child.process.pid)
        if child in self._draining:
            self._draining.remove(child)
            if status and child.ready_s is not None:
                logger.warning("Worker %s %s while it stopped", child, how_it_ended(status))
            return
        slot = self._slots[child.slot]
        was_next = slot.next is child
        how = how_it_ended(status)
        now_s = self._clock()
        if self._incoming is not None and was_next:
            slot.next = None
            self._give_up_reload(f"worker {child} {how}")
            return
        if was_next:
            slot.next = None
        else:
            slot.current = None
        delay_s = self._delay(slot, child, now_s)
        slot.due_s = now_s + delay_s
        before = "" if child.state is State.READY else " before it was ready"
        when = f"in {delay_s:.1f} s" if delay_s else "at once"
        if not self._stopping:
            logger.error("Worker %s %s%s; another one starts %s", child, how, before, when)
            self._books.restarted(child.slot, "blocked" if child.is_dumping else "died")
        self._share_out()
        self._tell_systemd()
        self._fail_unless_served()

    def _generation_failed(self, generation: Generation, why: str) -> None:
        """The application cannot be imported."""
        if self._stopping:
            return
        if generation is self._incoming:
            self._give_up_reload(why)
        elif not self._was_ready:
            self._fail()
        elif generation is self._generation:
            logger.error("Workers cannot be replaced: %s", why)

    def _fail_unless_served(self) -> None:
        if not self._was_ready and all(one.failures_count and one.current is None for one in self._slots.values()):
            self._fail()

    def _fail(self) -> None:
        if self._edits is not None:
            logger.error("No worker could start; the next edit tries again")
            self._generation.end()
            return
        logger.error("No worker could start")
        self._status = 1
        self._stopping = True
        self._generation.end()

    def _delay(self, slot: Slot, child: Child, now_s: float) -> float:
        """How long to wait with the next one: the longer, the more have failed in a row."""
        if child.ready_s is not None and now_s - child.ready_s > HEALTHY_S:
            slot.failures_count = 0
        slot.failures_count += 1
        if child.ready_s is not None and slot.failures_count == 1:
            return 0.0
        delay_s = BACKOFF_S[min(slot.failures_count, len(BACKOFF_S)) - 1]
        if child.ready_s is not None:
            delay_s = min(delay_s, SERVED_BACKOFF_S)
        return delay_s * random.uniform(0.8, 1.2)

    # Time ------------------------------------------------------------------------------------

    def _tick(self) -> None:
        now_s = self._clock()
        if self._metrics is not None:
            self._overview = self._look()
        self._templates.tick()
        reap_others({process.pid for process in self._processes()})
        for child in self._children():
            status = child.process.status()
            if status is not None:
                self._bury(child, status)
            elif child.process.channel.is_behind:
                child.process.channel.flush()
            if child.until_s is not None and now_s > child.until_s and status is None:
                logger.error("Worker %s does not end; it is killed", child)
                child.until_s = None
                child.process.kill()
        if self._stopping:
            self._notifier.alive()
            return
        self._templates.renew(self._generation)
        for slot in self._slots.values():
            if slot.current is None and slot.next is None and now_s >= slot.due_s:
                slot.current = self._start(slot, self._generation)
            if slot.next is None and self._incoming is not None:
                slot.next = self._start(slot, self._incoming)
            for child in slot.children:
                if child.state is State.STARTING and now_s > child.started_s + self.config.worker_startup_timeout_s:
                    logger.error(
                        "Worker %s is not ready within %g s; it is killed", child, self.config.worker_startup_timeout_s
                    )
                    child.started_s = now_s
                    child.process.kill()
        blocked = {child for child in self._serving() if now_s > child.beat_s + SILENCE_S}
        for child in blocked:
            self._watch(child, now_s)
        if len(blocked) < len(self._slots):
            self._notifier.alive()
        if blocked != self._blocked:
            self._blocked = blocked
            self._share_out()

    def _watch(self, child: Child, now_s: float) -> None:
        """End a worker whose loop has not run for too long; the interpreter writes its stacks before."""
        blocked_s, limit_s = now_s - child.beat_s, self.config.watchdog_timeout_s
        if not limit_s or blocked_s < limit_s:
            return
        if not child.is_dumping:
            child.is_dumping = True
            logger.error("Worker %s has been blocked for %.1f s; it is replaced", child, blocked_s)
            child.process.kill(DUMP_SIGNAL)
        elif blocked_s > limit_s + DUMP_S:
            child.process.kill()

    def _look(self) -> Overview:
        """What the port for health checks and metrics may know; it reads that in a thread of its own."""
        return self._books.overview(self._children(), self._stopping, self._clock())

    def _is_over(self) -> bool:
        return self._stopping and not self._processes()

    # Accepting -------------------------------------------------------------------------------

    def _serving(self) -> list[Child]:
        return [slot.current for slot in self._slots.values() if slot.is_ready and slot.current is not None]

    def _share_out(self) -> None:
        """Tell each worker where to accept."""
        if self._stopping:
            return
        for child, slots in share_out(self._sockets.own, self._serving(), self._blocked).items():
            if child.accepting != slots:
                child.accepting = slots
                child.process.channel.send({"kind": "accept", "slots": sorted(slots)})

    # Signals ---------------------------------------------------------------------------------

    def _obey(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._stop()
        elif number == signal.SIGHUP and not self._stopping:
            self._reload()
        elif number == signal.SIGTTIN and not self._stopping:
            self._add_slot()
        elif number == signal.SIGTTOU and not self._stopping:
            self._remove_slot()

    def _stop(self) -> None:
        if self._stopping:
            for child in self._children():
                child.process.channel.send({"kind": "hurry"})
            return
        self._stopping = True
        self._overview = self._look()  # whoever asks hears of it from now on
        self._notifier.stopping()
        logger.info("Stopping: %d workers", len(self._children()))
        for child in self._children():
            self._dismiss(child, stay=True)
        for slot in self._slots.values():
            slot.current = slot.next = None
        self._templates.end_all()

    def _reload(self) -> None:
        """Start a generation of workers beside the one that serves."""
        if self._incoming is not None:
            self._reload_again = True
            return
        self._reload_again = False
        self._last_number += 1
        logger.info("Reloading: generation %d starts", self._last_number)
        self._notifier.reloading()
        for slot in self._slots.values():
            if slot.next is not None:
                self._dismiss(slot.next)
                slot.next = None
        try:
            self._incoming = self._templates.begin(self._last_number)
        except OSError as error:
            self._give_up_reload(NO_PROCESS.format(error))

    def _give_up_reload(self, why: str) -> None:
        goes_on = "The workers from before go on serving" if self._was_ready else "No worker serves"
        logger.error("The reload failed: %s. %s", why, goes_on)
        self._books.reloaded("failed")
        self._abandon_reload()
        self._tell_systemd()
        if self._reload_again:
            self._reload()

    def _abandon_reload(self) -> None:
        if self._incoming is not None:
            self._incoming.end()
        self._incoming = None
        self._was_told = False
        for slot in self._slots.values():
            if slot.next is not None:
                self._dismiss(slot.next)
                slot.next = None

    def _watch_edits(self) -> None:
        from fullduplex.server.edits import Edits, in_words  # needs a package that only development has

        def edited() -> None:
            paths = edits.take()
            if paths and not self._stopping:
                logger.info("Changed: %s", in_words(paths))
                self._abandon_reload()  # of code that is out of date already
                self._reload()

        self._edits = edits = Edits(self.config)
        self._selector.register(edits, selectors.EVENT_READ, edited)

    def _add_slot(self) -> None:
        number = next(n for n in range(len(self._slots) + 1) if n not in self._slots)
        is_new = number not in self._sockets.own
        own = self._sockets.open(number)
        if is_new:
            self._templates.add_listener(number)
            for child in self._children():
                if child.state is not State.DRAINING:  # one that starts hears of it before it is to accept
                    fds = [listener.sock.fileno() for listener in own]
                    child.process.channel.send({"kind": "listener", "slot": number}, fds)
        self._slots[number] = Slot(number)
        logger.info("One worker more: %d", len(self._slots))
        self._all_ready = False

    def _remove_slot(self) -> None:
        if len(self._slots) == 1:
            logger.warning("One worker is left, and stays")
            return
        slot = self._slots.pop(max(self._slots))
        logger.info("One worker less: %d", len(self._slots))
        self._settle()  # a reload may have waited for this one alone
        for child in slot.children:
            self._dismiss(child)

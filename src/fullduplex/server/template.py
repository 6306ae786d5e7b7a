"""A process that has imported the application and serves nothing: workers are forked from it.

A fork shares what is imported: it takes milliseconds, and memory only for what a worker changes. So the heap is frozen
before, for the garbage collector would write to every object. Each generation of code has a template of its own.

::

    supervisor ── fork (with the line of the new worker), listener ──> template ── fork ──> worker
               <── template, forked, ended ──────────────────────────
"""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import socket
import sys
import time
import warnings
from typing import Any

from fullduplex.exceptions import ConfigurationError
from fullduplex.server.allocator import settle_allocator
from fullduplex.server.channel import Channel, Message
from fullduplex.server.child import Places, SupervisedWorker, begin, finish
from fullduplex.server.leftovers import Leftovers
from fullduplex.server.logs import tell_failed_start
from fullduplex.server.waking import Signals
from fullduplex.server.worker import loop_factory

logger = logging.getLogger("fullduplex.server")


class Template:
    """Serves forks until its line ends.

    Args:
        channel: to the supervisor.
        own, shared: the listening sockets, for those that are forked.
    """

    def __init__(self, channel: Channel, own: Places, shared: list[socket.socket]) -> None:
        self._channel = channel
        self._own = own
        self._shared = shared

    def run(self) -> Channel | None:
        """Fork as asked.

        Returns:
            In a fork the line of its own; in the template None, when it is over.
        """
        self._signals = Signals({signal.SIGCHLD})
        while not self._channel.is_closed:
            select.select([self._channel.fileno(), self._signals.fileno()], [], [])
            if self._signals.take():
                self._reap()
            for message in self._channel.receive():
                line = self._obey(message)
                if line is not None:
                    return line
        return None

    def _obey(self, message: Message) -> Channel | None:
        if message["kind"] == "listener":
            self._own[message["slot"]] = [socket.socket(fileno=fd) for fd in message["descriptors"]]
            return None
        (fd,) = message["descriptors"]
        pid = _fork()
        if pid == 0:
            self._signals.close()
            self._channel.close()
            return Channel(socket.socket(fileno=fd))
        os.close(fd)
        self._channel.send({"kind": "forked", "id": message["id"], "pid": pid})
        return None

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._channel.send({"kind": "ended", "pid": pid, "status": os.waitstatus_to_exitcode(status)})


def main(fd: int) -> None:
    """Be a template, or one of its workers; what to do comes first on the line at this descriptor."""
    began_s = time.monotonic()
    channel, config, own, shared = begin(fd)
    worker = SupervisedWorker(config, channel, own, shared)
    settle_allocator()
    try:
        loop_factory(config.loop)  # imports uvloop, for all
        worker.find_http2()
        before = Leftovers()
        app = worker.load()
        preload(app)
    except ConfigurationError as error:
        tell_failed_start("%s", error)
        sys.exit(1)
    gc.collect()
    unsafe = before.look()
    channel.send({"kind": "template", "unsafe": unsafe, "seconds": time.monotonic() - began_s})
    if unsafe is not None:
        return
    gc.disable()
    gc.freeze()
    line = Template(channel, own, shared).run()
    if line is not None:
        gc.enable()
        finish(SupervisedWorker(config, line, own, shared, app))


def preload(app: Any) -> None:
    """Call an application's own ``preload()``, if it has one: it may import and prepare what all its workers need."""
    own = getattr(app, "preload", None)
    if callable(own):
        own()


def _fork() -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        # Python 3.12 warns of threads, and there are none: Leftovers has looked, also for those of libraries.
        warnings.simplefilter("ignore")
        return os.fork()

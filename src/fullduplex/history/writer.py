"""One thread of a process appends what all others want to, many messages in one transaction.

What a transaction costs is waiting: for the database to write it down, and for others who append to the same group. So
what comes in the meantime is collected, and is the next transaction. The thread has a connection of its own; it ends,
and closes it, when there is nothing to do.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future

from django.db import InterfaceError, OperationalError, connections

from fullduplex.exceptions import ChannelFull
from fullduplex.history.appending import Message, append
from fullduplex.history.errors import LockTimeout, UnknownOutcome, as_layer_error
from fullduplex.history.publishing import publish
from fullduplex.layers.history import Kept

BATCH_COUNT = 500
BATCH_BYTES = 4_194_304  # of data; one message may be longer
PENDING_BYTES = 16_777_216  # as the in-process layer
TIMEOUT_S = 10.0  # from the call to its error
IDLE_S = 1.0  # then the thread ends; CONN_MAX_AGE is 0 by default, so connections are not kept for nothing
WAIT_S = 0.05  # for a group that another transaction has; others must not wait behind it
PAUSE_S = 0.1  # at most, after an error that may pass


class WriterFull(ChannelFull):
    """Too much waits to be appended."""


class Append:
    """One that waits: a message, and what becomes of it."""

    __slots__ = ("deadline_s", "error", "future", "message", "size_bytes")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.size_bytes = message.size_bytes
        self.deadline_s = time.monotonic() + TIMEOUT_S
        self.future: Future[Kept] = Future()
        self.error: Exception | None = None

    def is_wanted(self) -> bool:
        """Whether somebody still waits for it; who has waited too long is told so."""
        if not self.future.running() and not self.future.set_running_or_notify_cancel():
            return False
        if time.monotonic() < self.deadline_s:
            return True
        if self.error is not None:
            self.future.set_exception(as_layer_error("", self.error))
        else:
            self.future.set_exception(
                ChannelFull(
                    f"The group {self.message.group!r} was locked for {TIMEOUT_S:g} s by another transaction, which "
                    f"has appended to it and is not over."
                )
            )
        return False


class Writer:
    """The thread of one database.

    Args:
        alias: of the database.
    """

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._changed = threading.Condition()
        self._pending: deque[Append] = deque()
        self._pending_bytes = 0
        self._thread: threading.Thread | None = None
        self._is_closing = False

    def put(self, message: Message) -> Future[Kept]:
        """Have it appended. The future gets what is kept, or the error.

        Raises:
            WriterFull: too much waits already; try again.
        """
        appending = Append(message)
        with self._changed:
            if self._pending and self._pending_bytes + appending.size_bytes > PENDING_BYTES:
                raise WriterFull(f"{self._pending_bytes} bytes wait to be appended to the database {self._alias!r}.")
            self._pending.append(appending)
            self._pending_bytes += appending.size_bytes
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"fullduplex-history-{self._alias}", daemon=True)
                self._thread.start()
            self._changed.notify()
        return appending.future

    def close(self) -> None:
        """Wait until the thread has ended; it may begin again."""
        with self._changed:
            thread = self._thread
            self._is_closing = True
            self._changed.notify()
        if thread is not None:
            thread.join()
        self._is_closing = False

    # In the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        waits = False
        try:
            while batch := self._take():
                waits = self._append(batch, waits)
        except BaseException:
            with self._changed:
                self._thread = None  # the next message starts another one
            raise
        finally:
            connections[self._alias].close()

    def _take(self) -> list[Append]:
        """Return the next ones; none: nothing has come for a while, and this thread is no longer the writer's."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._is_closing, IDLE_S)
            if not self._pending:
                self._thread = None
                return []
            batch: list[Append] = []
            size_bytes = 0
            while self._pending and len(batch) < BATCH_COUNT and size_bytes < BATCH_BYTES:
                one = self._pending.popleft()
                self._pending_bytes -= one.size_bytes
                if one.is_wanted():
                    batch.append(one)
                    size_bytes += one.size_bytes
            return batch or self._take()

    def _put_back(self, batch: Sequence[Append]) -> None:
        """Before all that came later, so that the order within a group stays."""
        with self._changed:
            self._pending.extendleft(reversed(batch))
            self._pending_bytes += sum(one.size_bytes for one in batch)

    def _append(self, batch: list[Append], waits: bool) -> bool:
        """Append what is free of a batch; what others have locked is put back.

        Args:
            waits: for the group of the first message, and append to no other.

        Returns:
            Whether nothing is free.
        """
        chosen = [one for one in batch if one.message.group == batch[0].message.group] if waits else batch
        try:
            connections[self._alias].close_if_unusable_or_obsolete()
            kept = append(self._alias, [one.message for one in chosen], wait_s=WAIT_S if waits else 0.0)
        except Exception as error:
            again = self._fail(chosen, error)
            self._put_back([one for one in batch if one in again or one not in chosen])
            return False
        publish([(chosen[index].message.group, appended.kept) for index, appended in kept.items() if appended.is_new])
        for index, appended in kept.items():  # now, so that what its sender publishes next comes behind it
            chosen[index].future.set_result(appended.kept)
        done = {id(chosen[index]) for index in kept}
        self._put_back([one for one in batch if id(one) not in done])
        return not kept and not waits

    def _fail(self, batch: list[Append], error: Exception) -> list[Append]:
        """Tell those of a failed transaction; return those that can be tried once more."""
        if isinstance(error, LockTimeout):
            return batch
        if not isinstance(error, (OperationalError, InterfaceError)):
            for one in batch:
                one.future.set_exception(as_layer_error(self._alias, error))
            return []
        again = []
        for one in batch:
            one.error = error
            if isinstance(error, UnknownOutcome) and not one.message.key:
                one.future.set_exception(as_layer_error(self._alias, error))
            else:
                again.append(one)
        time.sleep(random.uniform(0, PAUSE_S))
        return again

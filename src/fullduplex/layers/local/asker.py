"""The connection over which threads ask the sequencer: one for all of a process, for one request at a time."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Callable

from fullduplex.exceptions import ChannelFull, LayerUnavailable
from fullduplex.layers.local.place import Place
from fullduplex.layers.local.starting import connect
from fullduplex.sequencer.frames import ANSWER, PLACE, Frame, Frames, number_of

READ_BYTES = 65_536


class Asker:
    """Asks and waits. It starts the sequencer where there is none: what is to be kept needs one.

    Args:
        place: where the sequencer is.
        timeout_s: how long a request may take.
    """

    def __init__(self, place: Place, timeout_s: float) -> None:
        self._place = place
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._sock: socket.socket | None = None
        self._frames = Frames()
        self._is_sent = False  # all of the request, over a connection on which something has been answered
        self._has_answered = False
        self._numbers = itertools.count(1)

    def ask(self, make: Callable[[int], bytes], *, may_repeat: bool) -> Frame:
        """Send the frame that ``make(number)`` returns, and wait for the one that answers.

        Args:
            may_repeat: asking twice is asking once, so that it can be asked again on another connection.

        Raises:
            ChannelFull: it was not taken in time.
            LayerUnavailable: it is not known whether it was done.
            ConfigurationError: the directory cannot be used.
        """
        end_s = time.monotonic() + self._timeout_s
        if not self._lock.acquire(timeout=self._timeout_s):
            raise self._full()
        try:
            number = next(self._numbers)
            frame = make(number)
            while True:
                try:
                    return self._ask(frame, number, end_s)
                except TimeoutError:
                    self._drop()
                    raise LayerUnavailable(
                        f"the sequencer of the local layer has not answered in {self._timeout_s:g} s"
                    ) from None
                except OSError as error:
                    self._drop()
                    if (self._is_sent and not may_repeat) or time.monotonic() > end_s:
                        raise LayerUnavailable(
                            f"the sequencer of the local layer is gone, perhaps before it kept a message: {error}"
                        ) from None
        except BaseException:
            self._drop()  # what still comes would answer somebody else
            raise
        finally:
            self._lock.release()

    def close(self) -> None:
        """Give back the connection; the next request opens another."""
        with self._lock:
            self._drop()

    def forget(self) -> None:
        """In a fork: the connection is the parent's."""
        self._drop()
        self._lock = threading.Lock()

    # Inside, with the lock held --------------------------------------------------------------

    def _ask(self, frame: bytes, number: int, end_s: float) -> Frame:
        if self._sock is None:
            self._sock = connect(self._place, max(0.0, end_s - time.monotonic()))
            self._frames, self._has_answered = Frames(), False
        sock = self._sock
        sock.settimeout(max(0.001, end_s - time.monotonic()))
        self._is_sent = False
        sock.sendall(frame)
        self._is_sent = self._has_answered
        while True:
            answer = self._frames.next()
            if answer is None:
                sock.settimeout(max(0.001, end_s - time.monotonic()))
                data = sock.recv(READ_BYTES)
                if not data:
                    raise ConnectionResetError("it has closed the connection")
                self._has_answered = self._is_sent = True
                self._frames.feed(data)
            elif answer.kind in (PLACE, ANSWER) and number_of(answer.payload) == number:
                return answer

    def _drop(self) -> None:
        if self._sock is not None:
            with contextlib.suppress(OSError):
                self._sock.close()
            self._sock = None

    def _full(self) -> ChannelFull:
        return ChannelFull(f"other threads have asked the local layer for {self._timeout_s:g} s without a break")

"""What one event loop holds: the connection over which the sequencer hands it messages, and its subscriptions. What is
asked of histories goes over it, too.

A connection that is lost is opened again, by starting another sequencer where it must be, and everything subscribed
anew; who subscribed is then told of the gap, behind the confirmation, so that what is published from then on arrives.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import socket
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from fullduplex.exceptions import ChannelFull, ConfigurationError, LayerError, LayerUnavailable
from fullduplex.layers.base import Deliver, Gap
from fullduplex.layers.local.messages import message_of
from fullduplex.layers.local.place import Place
from fullduplex.layers.local.starting import connect
from fullduplex.sequencer.frames import (
    ANSWER,
    BINARY,
    DONE,
    END,
    KEPT,
    NOTICE,
    PLACE,
    SUBSCRIBE,
    TEXT,
    UNSUBSCRIBE,
    Frame,
    Frames,
    encode,
    encode_number,
    number_of,
)
from fullduplex.watched import watched

logger = logging.getLogger("fullduplex.layers")

READ_BYTES = 32_768  # small, so that a slow loop is seen to take something
FAREWELL_S = 2.0  # for which who ends waits until what is kept is saved
RECONNECT_S = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0)  # before an attempt, the more have failed in a row


class Subscription:
    """One group.

    Attributes:
        number: by which the sequencer confirms it; what comes before that belongs to an earlier subscription.
        confirmed: it has.
        lost: it was confirmed once, and then the connection was lost.
    """

    __slots__ = ("confirmed", "deliver", "lost", "name", "number", "on_gap", "waiter")

    def __init__(self, name: bytes, deliver: Deliver, on_gap: Gap | None, waiter: asyncio.Future[None]) -> None:
        self.name = name
        self.deliver = deliver
        self.on_gap = on_gap
        self.waiter = waiter
        self.number = 0
        self.confirmed = False
        self.lost = False

    def confirm(self) -> None:
        self.confirmed = True
        if not self.waiter.done():
            self.waiter.set_result(None)
        if self.lost:
            self.lost = False
            if self.on_gap is not None:
                try:
                    self.on_gap()
                except Exception:
                    logger.exception("A subscriber failed to take note of a gap")

    def lose(self) -> None:
        self.lost = self.lost or self.confirmed
        self.confirmed = False

    def refuse(self, error: Exception) -> None:
        if not self.waiter.done():
            self.waiter.set_exception(error)


class Request:
    """Something that the sequencer answers.

    Attributes:
        may_repeat: asking twice is asking once.
    """

    __slots__ = ("answer", "frame", "may_repeat")

    def __init__(self, frame: bytes, may_repeat: bool, answer: asyncio.Future[Frame]) -> None:
        self.frame = frame
        self.may_repeat = may_repeat
        self.answer = answer


class Line:
    """The subscriptions of the running loop.

    Args:
        place: where the sequencer is.
        timeout_s: how long a subscription waits for it.
        slice_s: messages are handed out for so long before the loop's other work has a turn.
    """

    def __init__(self, place: Place, timeout_s: float, slice_s: float) -> None:
        self._place = place
        self._timeout_s = timeout_s
        self._slice_s = slice_s
        self._loop = asyncio.get_running_loop()
        self._subscriptions: dict[bytes, Subscription] = {}
        self._asked: dict[int, Subscription] = {}
        self._numbers = itertools.count(1)
        self._keeper: asyncio.Task[None] | None = None
        self._connected = asyncio.Event()
        self._sock: socket.socket | None = None
        self._unsent: deque[bytes] = deque()  # each of somebody who waits
        self._rest = memoryview(b"")  # of a frame that has begun
        self._requests: dict[int, Request] = {}
        self._lost: asyncio.Future[None] | None = None
        self._received = False
        self._error: LayerError | ConfigurationError | None = None

    async def open(self) -> None:
        """
        Raises:
            LayerUnavailable: there is no sequencer, and none could be started.
            ConfigurationError: the directory cannot be used.
        """
        self._keep()
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._connected.wait()
        except TimeoutError:
            raise self._failure() from None

    async def subscribe(self, name: bytes, deliver: Deliver, on_gap: Gap | None) -> None:
        """
        Raises:
            LayerUnavailable, ConfigurationError: see :meth:`open`.
        """
        self._forget(name)
        waiter: asyncio.Future[None] = self._loop.create_future()
        subscription = self._subscriptions[name] = Subscription(name, deliver, on_gap, waiter)
        self._keep()
        if self._sock is not None:
            self._ask(subscription)
        try:
            async with asyncio.timeout(self._timeout_s):
                await waiter
        except BaseException as error:
            if self._subscriptions.get(name) is subscription:
                self.unsubscribe(name)
            if isinstance(error, TimeoutError):
                raise self._failure() from None
            raise

    def unsubscribe(self, name: bytes) -> None:
        if self._forget(name) and self._sock is not None:
            self._say(encode(UNSUBSCRIBE, name))

    async def ask(self, make: Callable[[int], bytes], timeout_s: float, *, may_repeat: bool) -> Frame:
        """Send the frame that ``make(number)`` returns, and wait for the one that answers.

        Args:
            may_repeat: asking twice is asking once, so that it can be asked again on another connection.

        Raises:
            ChannelFull: it was not taken in time.
            LayerUnavailable: it is not known whether it was done.
            ConfigurationError: the directory cannot be used.
        """
        number = next(self._numbers)
        request = self._requests[number] = Request(make(number), may_repeat, self._loop.create_future())
        self._keep()
        if self._sock is not None:
            self._say(request.frame)
        try:
            async with asyncio.timeout(timeout_s):
                return await request.answer
        except TimeoutError:
            if self._sock is None or request.frame not in self._unsent:
                raise self._failure() from None
            raise ChannelFull(
                f"the local layer has not taken a message in {timeout_s:g} s: a process that is to have it does not "
                f"read, or the machine is overloaded"
            ) from None
        finally:
            del self._requests[number]
            with contextlib.suppress(ValueError):
                self._unsent.remove(request.frame)

    async def close(self) -> None:
        for name in [*self._subscriptions]:
            self._forget(name)
        if self._sock is not None:
            with contextlib.suppress(LayerError):
                await self.ask(lambda number: encode_number(END, b"", number), FAREWELL_S, may_repeat=False)
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})

    def abandon(self) -> None:
        """The loop is closed, or is the parent's: nothing can be done on it."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    # The connection --------------------------------------------------------------------------

    def _forget(self, name: bytes) -> bool:
        subscription = self._subscriptions.pop(name, None)
        if subscription is not None:
            self._asked.pop(subscription.number, None)
            subscription.refuse(LayerUnavailable("the subscription was ended before it was confirmed"))
        return subscription is not None

    def _failure(self) -> LayerError | ConfigurationError:
        return self._error or LayerUnavailable(
            f"the sequencer of the local layer has not answered in {self._timeout_s:g} s"
        )

    def _keep(self) -> None:
        if self._keeper is None or self._keeper.done():
            self._keeper = self._loop.create_task(watched("Listening to the local layer", self._listen, logger))

    async def _listen(self) -> None:
        attempt = 0
        while True:
            self._received = False
            try:
                sock = await self._connect()
            except (LayerUnavailable, ConfigurationError) as error:
                self._refuse(error)
            else:
                await self._use(sock)
            attempt = 0 if self._received else attempt + 1
            await asyncio.sleep(RECONNECT_S[min(attempt, len(RECONNECT_S) - 1)])

    async def _connect(self) -> socket.socket:
        sock = self._place.connect()
        if sock is not None:
            return sock
        thread = ThreadPoolExecutor(1, "fullduplex local layer")
        connecting = thread.submit(connect, self._place, self._timeout_s)
        thread.shutdown(wait=False)
        try:
            return await asyncio.shield(asyncio.wrap_future(connecting))
        except asyncio.CancelledError:
            connecting.add_done_callback(_close_result)
            raise

    def _refuse(self, error: LayerUnavailable | ConfigurationError) -> None:
        """Tell those who wait; what was subscribed once goes on trying."""
        if self._error is None and any(subscription.lost for subscription in self._subscriptions.values()):
            logger.error("Groups of other processes cannot be reached: %s", error)
        self._error = error
        for subscription in [*self._subscriptions.values()]:
            if not subscription.lost:
                del self._subscriptions[subscription.name]
                subscription.refuse(error)
        for request in self._requests.values():
            if not request.answer.done():
                request.answer.set_exception(error)

    async def _use(self, sock: socket.socket) -> None:
        """Subscribe to everything, and hand out what comes, until the connection is lost."""
        self._sock, self._lost, self._frames = sock, self._loop.create_future(), Frames()
        self._loop.add_reader(sock.fileno(), self._read)
        try:
            self._tell_return()
            for subscription in [*self._subscriptions.values()]:
                self._ask(subscription)
            for request in self._requests.values():
                self._say(request.frame)
            self._connected.set()
            self._error = None
            await self._lost
        finally:
            self._connected.clear()
            if not self._loop.is_closed():
                self._loop.remove_reader(sock.fileno())
                self._loop.remove_writer(sock.fileno())
            sock.close()
            self._sock = None
            self._fail_requests()
            self._unsent.clear()
            self._rest = memoryview(b"")
            self._asked.clear()
            for subscription in self._subscriptions.values():
                subscription.lose()
            self._tell_loss()

    def _fail_requests(self) -> None:
        """The connection is lost: nobody knows what became of what was sent over it, unless nothing was ever heard."""
        unsent = {id(frame) for frame in self._unsent}
        if self._rest:
            unsent.add(id(self._rest.obj))  # not all of it
        for request in self._requests.values():
            is_lost = self._received and not request.may_repeat and id(request.frame) not in unsent
            if is_lost and not request.answer.done():
                text = "the sequencer of the local layer is gone, perhaps before it kept a message"
                request.answer.set_exception(LayerUnavailable(text))

    def _tell_loss(self) -> None:
        lost_count = sum(subscription.lost for subscription in self._subscriptions.values())
        if lost_count:
            logger.warning("The local layer has lost its sequencer. Messages to %d groups are missed.", lost_count)

    def _tell_return(self) -> None:
        lost_count = sum(subscription.lost for subscription in self._subscriptions.values())
        if lost_count:
            logger.warning("The local layer has a sequencer again: subscribing to %d groups anew.", lost_count)

    def _lose(self) -> None:
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(None)

    # What is said ----------------------------------------------------------------------------

    def _ask(self, subscription: Subscription) -> None:
        subscription.number = next(self._numbers)
        self._asked[subscription.number] = subscription
        self._say(encode_number(SUBSCRIBE, subscription.name, subscription.number))

    def _say(self, frame: bytes) -> None:
        was_behind = bool(self._unsent or self._rest)
        self._unsent.append(frame)
        if not was_behind:
            self._flush()

    def _flush(self) -> None:
        assert self._sock is not None
        try:
            while self._unsent or self._rest:
                if not self._rest:
                    self._rest = memoryview(self._unsent.popleft())
                self._rest = self._rest[self._sock.send(self._rest) :]
        except BlockingIOError:
            self._loop.add_writer(self._sock.fileno(), self._flush)
            return
        except OSError:
            self._lose()
        self._loop.remove_writer(self._sock.fileno())

    # What comes ------------------------------------------------------------------------------

    def _read(self) -> None:
        assert self._sock is not None
        try:
            data = self._sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose()
            return
        self._received = True
        self._frames.feed(data)
        if not self._hand_out():
            self._loop.remove_reader(self._sock.fileno())
            self._loop.call_soon(self._go_on, self._sock)

    def _go_on(self, sock: socket.socket) -> None:
        """Hand out what is left, and then read on."""
        if sock is not self._sock:
            return
        if self._hand_out():
            self._loop.add_reader(sock.fileno(), self._read)
        else:
            self._loop.call_soon(self._go_on, sock)

    def _hand_out(self) -> bool:
        """Hand out what has come, for one slice of time; whether that was all."""
        end_s = self._loop.time() + self._slice_s
        try:
            while (frame := self._frames.next()) is not None:
                self._take(frame)
                if self._loop.time() >= end_s:
                    return False
        except ValueError as error:
            logger.error("The sequencer of the local layer speaks something else: %s", error)
            self._lose()
        return True

    def _take(self, frame: Frame) -> None:
        if frame.kind in (TEXT, BINARY, KEPT):
            subscription = self._subscriptions.get(frame.group)
            if subscription is not None and subscription.confirmed:
                try:
                    subscription.deliver(message_of(frame))
                except Exception:
                    logger.exception("A subscriber failed to take a message")
        elif frame.kind in (DONE, PLACE, ANSWER):
            number = number_of(frame.payload)
            asked = self._asked.pop(number, None)
            request = self._requests.get(number)
            if asked is not None:
                asked.confirm()
            elif request is not None and not request.answer.done():
                request.answer.set_result(frame)
        elif frame.kind == NOTICE:
            logger.warning("%s", frame.payload.decode(errors="replace"))


def _close_result(connecting: Future[socket.socket]) -> None:
    """Nobody waits any more for this connection."""
    with contextlib.suppress(BaseException):
        connecting.result().close()

"""Accepting connections: from the listening socket to a connection that is made.

We accept ourselves. The servers of the event loops do not say of what they have accepted whose TLS handshake is still
going on, or has failed; and without file descriptors libuv closes every new connection without a word, while asyncio
writes thousands of tracebacks. Here accepting pauses until there are some again, and who connects meanwhile waits in
the kernel.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
from collections.abc import Callable

from fullduplex.exceptions import RemoteProtocolError
from fullduplex.log_lines import Spate, address
from fullduplex.net.connection import Connection, address_of
from fullduplex.net.proxied import ProxyHeaders, UntrustedPeer
from fullduplex.net.seats import Seats
from fullduplex.net.tls import Handshake, current_handshake, explain_handshake
from fullduplex.watched import watched

logger = logging.getLogger("fullduplex.server")

RETRY_S = 0.1  # out of descriptors: how soon to look whether there are some again
BATCH_COUNT = 64  # accepted before others have the loop
LAST_COUNT = 4_096  # accepted when accepting ends: closing a listener resets those that wait

_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)  # accept(2): of this process, of the machine


class Acceptor:
    """Accepts from one listening socket, and begins each connection in a task of its own.

    Args:
        listener: closed when accepting ends, unless ``keeps_listener``.
        seats: of the worker.
        connect: makes a connection whose transport is to come.
        refusal: what a client hears for which there is no seat.
        context: for TLS.
        handshake_timeout_s: of TLS, from the accept or the PROXY header on.
        proxies: whose headers stand before everything else, if there are any.
        batch_count: accepted before others have the loop; 1 where other workers accept from the same socket.
        keeps_listener: leave the socket open when accepting ends, for it belongs to somebody else.
        is_of_service: the socket was opened for this service, whose processes all have it, and ends with it.
    """

    def __init__(
        self,
        listener: socket.socket,
        seats: Seats,
        connect: Callable[[], Connection],
        refusal: Callable[[], bytes],
        *,
        context: ssl.SSLContext | None = None,
        handshake_timeout_s: float | None = None,
        proxies: ProxyHeaders | None = None,
        batch_count: int = BATCH_COUNT,
        keeps_listener: bool = False,
        is_of_service: bool = False,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._seats = seats
        self._connect = connect
        self._refusal = refusal
        self._context = context
        self._handshake_timeout_s = handshake_timeout_s
        self._proxies = proxies
        self._batch_count = batch_count
        self._keeps_listener = keeps_listener
        self._is_of_service = is_of_service
        self._failing_since_s: float | None = None
        clock = self._loop.time
        self._failures = Spate(logger.error, "%d more attempts to accept failed", clock)
        self._refusals = Spate(logger.warning, "%d more connections were refused", clock)
        self._troubles = Spate(logger.info, "%d more connections did not begin", clock, most_count=10)
        self._beginning: set[asyncio.Task[None]] = set()
        self._stopped = False
        self._retry: asyncio.TimerHandle | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._begin_accepting()

    @property
    def beginning_count(self) -> int:
        """Connections that are accepted and not made yet: TLS handshakes, headers of proxies."""
        return len(self._beginning)

    def stop(self, *, last: bool = True, is_end: bool = False) -> None:
        """Accept no more.

        Args:
            last: take those that wait already; not where another worker will.
            is_end: of the service: who comes now is refused, and not left waiting for the end of its last process.
        """
        if self._stopped:
            return
        self._stopped = True
        if self._accepting is not None:
            self._accepting.cancel()
            return
        if self._retry is not None:
            self._retry.cancel()
        else:
            self._loop.remove_reader(self._listener)
            if last:
                with contextlib.suppress(OSError):
                    self._accept_waiting(LAST_COUNT)
        if is_end and self._is_of_service:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)  # Linux: it listens no more, whoever has it
        self._let_go()

    def close(self) -> None:
        """Accept no more, and drop the connections that are not made yet."""
        self.stop(last=False)
        for task in self._beginning:
            task.cancel()

    def tick(self) -> None:
        """Tell what was only counted. Called by the worker's sweep."""
        self._failures.sum_up()
        self._refusals.sum_up()
        self._troubles.sum_up()

    # Accepting -------------------------------------------------------------------------------

    def _begin_accepting(self) -> None:
        """Be called when somebody waits: who is accepted is taken at once, and not lost when accepting ends."""
        self._retry = None
        try:
            self._loop.add_reader(self._listener, self._readable)
        except NotImplementedError:  # the loop of Windows
            self._accepting = self._loop.create_task(watched("Accepting connections", self._accept, logger))
            # Not before the loop has let go of it.
            self._accepting.add_done_callback(lambda _: self._let_go())

    def _readable(self) -> None:
        try:
            self._accept_waiting(self._batch_count)
        except OSError as error:
            self._loop.remove_reader(self._listener)
            if self._is_of_service and error.errno == errno.EINVAL:  # another process has ended the listening of all
                self._stopped = True
                return
            self._failed(error)
            self._retry = self._loop.call_later(RETRY_S, self._begin_accepting)
        except Exception:
            logger.exception("Accepting connections failed; it goes on")

    async def _accept(self) -> None:
        while True:
            try:
                sock, peer = await self._loop.sock_accept(self._listener)
                self._take(sock, peer)
                if not self._accept_waiting(self._batch_count):
                    await asyncio.sleep(0)
            except ConnectionError:
                continue  # it was gone before it was accepted
            except OSError as error:
                self._failed(error)
                await asyncio.sleep(RETRY_S)

    def _accept_waiting(self, most_count: int) -> bool:
        """Accept those that wait; return whether these were all."""
        for _ in range(most_count):
            try:
                sock, peer = self._listener.accept()
            except BlockingIOError:
                self._recovered()
                return True
            except ConnectionError:
                continue  # it was gone before it was accepted
            sock.setblocking(False)
            self._take(sock, peer)
        return False

    def _let_go(self) -> None:
        if not self._keeps_listener:
            self._listener.close()

    def _failed(self, error: OSError) -> None:
        if self._failing_since_s is None:
            self._failing_since_s = self._loop.time()
        if error.errno in _NO_DESCRIPTORS:
            self._failures.tell("No connection is accepted: %s. It goes on as soon as some are closed", error.strerror)
        else:
            self._failures.tell("No connection is accepted: %s", error.strerror or error)

    def _recovered(self) -> None:
        if self._failing_since_s is not None:
            seconds, self._failing_since_s = self._loop.time() - self._failing_since_s, None
            logger.warning("Connections are accepted again, after %.1f s", seconds)

    def _take(self, sock: socket.socket, peer: object) -> None:
        served = self._seats.take()
        if not served:
            self._refusals.tell(
                "%d connections are open (--limit-connections): a new one is refused with 503", self._seats.most_count
            )
        if served is None:
            self._turn_away(sock)
            return
        task = self._loop.create_task(self._begin(sock, peer, served))
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)

    def _turn_away(self, sock: socket.socket) -> None:
        """Say so where one write does it, and close at once."""
        with sock:
            if self._context is None and self._proxies is None:
                try:
                    sock.send(self._refusal())
                    sock.recv(65_536)  # closing with unread input would destroy what was sent (RFC 9112 section 9.6)
                except OSError:
                    pass

    # One connection --------------------------------------------------------------------------

    async def _begin(self, sock: socket.socket, peer: object, served: bool) -> None:
        """See it through to its transport; else close it, give its seat up, and say why."""
        connection = self._connect()
        connection.refused = not served
        connection.leave = self._seats.leave if served else self._seats.leave_refused
        try:
            if self._proxies is not None:
                connection.proxied = await self._proxies.read(sock)
            if self._context is None:
                await self._loop.connect_accepted_socket(lambda: connection, sock)
            else:
                await self._shake_hands(connection, sock, peer)
        except UntrustedPeer:
            self._troubles.tell("Dropped a connection of %s: not a trusted proxy", address(address_of(peer)))
        except RemoteProtocolError as error:
            self._troubles.tell("Dropped a connection of the proxy %s: %s", address(address_of(peer)), error)
        except OSError:  # the client has left; a TimeoutError is one, too
            pass
        except Exception:
            logger.exception("A connection could not begin; it is dropped")
        finally:
            if not connection.is_made:
                connection.leave_seat()
                sock.close()

    async def _shake_hands(self, connection: Connection, sock: socket.socket, peer: object) -> None:
        handshake = Handshake(sock)
        current_handshake.set(handshake)
        try:
            await self._loop.connect_accepted_socket(
                lambda: connection, sock, ssl=self._context, ssl_handshake_timeout=self._handshake_timeout_s
            )
            if not connection.is_made:
                raise ConnectionResetError
        except OSError as error:
            reason = explain_handshake(error, handshake)
            if reason is not None:
                client = connection.proxied and connection.proxied.client
                name = address(client or address_of(peer))
                self._troubles.tell("The TLS handshake with %s failed: %s", name, reason)

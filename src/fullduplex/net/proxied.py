"""Listening behind a proxy that begins each connection with a PROXY protocol header.

The header stands before everything else, TLS included, so it is read from the socket before there is a
transport; asyncio's own servers have no place for that.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable

from fullduplex.exceptions import RemoteProtocolError
from fullduplex.net.connection import address_of
from fullduplex.wire.proxy_protocol import ProxyHeader, ProxyProtocolReader

logger = logging.getLogger("fullduplex.server")

ACCEPT_RETRY_S = 1.0  # after running out of file descriptors; asyncio: 1

SocketAddress = tuple[str, int | None] | None


class ProxiedServer:
    """Accepts connections, reads their headers and hands them on.

    Args:
        listener: a listening socket; closed with the server.
        trusts: whether a peer, given its address and ours, may say who is behind it. Others are dropped.
        timeout_s: from connecting to the end of the header.
        start: takes over a connection and what its proxy said.
    """

    def __init__(
        self,
        listener: socket.socket,
        trusts: Callable[[SocketAddress, SocketAddress], bool],
        timeout_s: float,
        start: Callable[[socket.socket, ProxyHeader], Awaitable[object]],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._trusts = trusts
        self._timeout_s = timeout_s
        self._start = start
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepting = self._loop.create_task(self._accept())
        # Not before the loop has let go of it.
        self._accepting.add_done_callback(lambda _: listener.close())

    def close(self) -> None:
        """Accept no more, and drop the connections whose header is not complete."""
        self._accepting.cancel()
        for task in self._tasks:
            task.cancel()

    async def _accept(self) -> None:
        while True:
            try:
                sock, _ = await self._loop.sock_accept(self._listener)
            except ConnectionError:
                continue  # it was gone before it was accepted
            except OSError as error:
                logger.error("Cannot accept connections: %s", error.strerror or error)
                await asyncio.sleep(ACCEPT_RETRY_S)
                continue
            task = self._loop.create_task(self._begin(sock))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _begin(self, sock: socket.socket) -> None:
        """Read the header, then give the socket away; close it on every other path."""
        try:
            peer = address_of(sock.getpeername())
            if not self._trusts(peer, address_of(sock.getsockname())):
                logger.info("Dropped a connection of %s: not a trusted proxy", peer)
                sock.close()
                return
            if sock.family != getattr(socket, "AF_UNIX", None):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(self._timeout_s):
                header = await self._read_header(sock)
            await self._start(sock, header)
        except RemoteProtocolError as error:
            logger.info("Dropped a connection of a proxy: %s", error)
            sock.close()
        except OSError:  # a TimeoutError and a failed TLS handshake are OSErrors, too
            sock.close()
        except BaseException:
            sock.close()
            raise

    async def _read_header(self, sock: socket.socket) -> ProxyHeader:
        reader = ProxyProtocolReader()
        while True:
            data = await self._loop.sock_recv(sock, reader.wanted_bytes)
            if not data:
                raise ConnectionResetError
            header = reader.receive_data(data)
            if header is not None:
                return header

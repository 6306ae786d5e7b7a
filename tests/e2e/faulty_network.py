"""A network between a browser and a server, that fails as networks do: it cuts, it stalls, it blocks sockets."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

_CHUNK_BYTES = 65_536
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST


class FaultyNetwork:
    """A proxy on a port of loopback before that of a server; two threads for each connection.

    Attributes:
        connection_count: how many were let through so far.
        blocks_sockets: handshakes of WebSockets are refused with 403, as some companies' proxies do.
    """

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.connection_count = 0
        self.blocks_sockets = False
        self._lock = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._is_down = False
        self._flows = threading.Event()
        self._flows.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def open_count(self) -> int:
        with self._lock:
            return len(self._pairs)

    def cut(self) -> None:
        """Reset every connection, once; new ones pass."""
        with self._lock:
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            for sock in pair:
                _reset(sock)

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Inside, every connection is reset, old and new."""
        self._is_down = True
        self.cut()
        try:
            yield
        finally:
            self._is_down = False

    @contextlib.contextmanager
    def stalled(self) -> Iterator[None]:
        """Inside, nothing comes through and nobody is told. What stood before is dead for good, as behind a NAT."""
        self._flows.clear()
        with self._lock:
            dead = set(self._pairs)
        try:
            yield
        finally:
            with self._lock:
                self._pairs -= dead
            self._flows.set()
            for pair in dead:
                for sock in pair:
                    _reset(sock)

    def close(self) -> None:
        # A listener that another thread waits on is woken by shutdown, not by close.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._flows.set()
        self.cut()
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        if self._is_down:
            _reset(client)
            return
        try:
            head = client.recv(_CHUNK_BYTES)
            if self.blocks_sockets and b"upgrade: websocket" in head.lower():
                client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                client.close()
                return
            server = socket.create_connection(("127.0.0.1", self.upstream))
        except OSError:
            _reset(client)
            return
        pair = (client, server)
        with self._lock:
            self._pairs.add(pair)
            self.connection_count += 1
        threading.Thread(target=self._pump, args=(server, client, b"", pair), daemon=True).start()
        self._pump(client, server, head, pair)

    def _pump(self, source: socket.socket, sink: socket.socket, data: bytes, pair: tuple[socket.socket, ...]) -> None:
        try:
            while True:
                if data:
                    self._flows.wait()
                    sink.sendall(data)
                data = source.recv(_CHUNK_BYTES)
                if not data:
                    break
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            with self._lock:
                self._pairs.discard(pair)  # type: ignore[arg-type]
            for sock in pair:
                _reset(sock)


def _reset(sock: socket.socket) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    sock.close()

"""Pages of a project with an admin, asked for by people who come and go: connections of some requests each."""

from __future__ import annotations

import http.client
import itertools
import selectors
import socket
import threading
import time
from collections.abc import Collection

from bench.django_project.seed import SESSION_KEY
from bench.scenario import Failed

PAGES = ("/admin/login/", "/admin/", "/admin/auth/user/", "/admin/auth/user/1/change/", "/template/", "/sync/")
REQUESTS_PER_CONNECTION = 20
TIMEOUT_S = 60.0
POLL_S = 0.005
POLLED_COUNT = 4  # connections in each poll
_FIELDS = {"Cookie": f"sessionid={SESSION_KEY}"}


def ask_for_pages(port: int, count: int, clients_count: int) -> None:
    """Ask for so many pages, in turn.

    Raises:
        Failed: an answer was not what it should be.
    """
    numbers = itertools.count()
    failures: list[str] = []
    clients = [threading.Thread(target=_client, args=(port, numbers, count, failures)) for _ in range(clients_count)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    if failures:
        raise Failed(failures[0])


def _client(port: int, numbers: itertools.count[int], count: int, failures: list[str]) -> None:
    try:
        while not failures:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
            for _ in range(REQUESTS_PER_CONNECTION):
                number = next(numbers)
                if number >= count:
                    connection.close()
                    return
                page = PAGES[number % len(PAGES)]
                connection.request("GET", page, headers={} if "login" in page else _FIELDS)
                response = connection.getresponse()
                response.read()
                if response.status != 200:
                    raise Failed(f"status {response.status} for {page}")
                if response.will_close:
                    break
            connection.close()
    except Exception as error:
        failures.append(repr(error))


def seconds_until_another(port: int, known: Collection[int], timeout_s: float) -> float:
    """How long it takes until a process answers that is none of these: ``/process/`` is asked, again and again.

    Raises:
        Failed: none does.
    """
    began_s = time.perf_counter()
    selector = selectors.DefaultSelector()
    asked = b"GET /process/ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    due_s = began_s
    try:
        while (now_s := time.perf_counter()) < began_s + timeout_s:
            if now_s >= due_s:
                due_s = now_s + POLL_S
                for _ in range(POLLED_COUNT):
                    sock = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
                    sock.sendall(asked)
                    sock.setblocking(False)
                    selector.register(sock, selectors.EVENT_READ, bytearray())
            for key, _ in selector.select(max(0.0, due_s - now_s)):
                answer: bytearray = key.data
                if _read(key.fileobj, answer):
                    continue
                selector.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]  # a socket
                if answer.startswith(b"HTTP/1.1 200 ") and int(answer.rpartition(b"\r\n\r\n")[2]) not in known:
                    return time.perf_counter() - began_s
    finally:
        for key in [*selector.get_map().values()]:
            key.fileobj.close()  # type: ignore[union-attr]  # a socket
        selector.close()
    raise Failed(f"no other process has answered within {timeout_s:g} s")


def _read(sock: object, into: bytearray) -> bool:
    """Whether there is more to come; who was in the killed process is reset."""
    assert isinstance(sock, socket.socket)
    try:
        data = sock.recv(65_536)
    except OSError:
        return False
    into += data
    return bool(data)


def processes(port: int, count: int) -> set[int]:
    """Ask until so many processes have answered; return them."""
    found: set[int] = set()
    deadline_s = time.monotonic() + TIMEOUT_S
    while len(found) < count and time.monotonic() < deadline_s:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
        connection.request("GET", "/process/")
        found.add(int(connection.getresponse().read()))
        connection.close()
    return found

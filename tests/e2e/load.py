"""Outside clients under load, that count what fails: GET and POST, keep-alive and not."""

from __future__ import annotations

import http.client
import itertools
import threading
from dataclasses import dataclass
from types import TracebackType

TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Failure:
    """A request without a good answer.

    Attributes:
        pid: who had answered on its connection before; None for the first request of one.
    """

    kind: str
    error: str
    pid: str | None


class Load:
    """Clients in threads, each with one request after the other, until the context ends.

    A kept connection is used again unless its last response said that it closes: a request that is lost on it counts.

    Args:
        port: of loopback.
        clients_count: a quarter of them for each pair of method and persistence.

    Attributes:
        failures: requests without a good answer.
    """

    def __init__(self, port: int, clients_count: int = 8) -> None:
        self._port = port
        self._over = threading.Event()
        self._answered = threading.Condition()
        self.answers_count = 0
        self.pids: set[str] = set()
        self.failures: list[Failure] = []
        kinds = itertools.cycle(itertools.product(("GET", "POST"), (True, False)))
        self._threads = [
            threading.Thread(target=self._run, args=next(kinds), daemon=True) for _ in range(clients_count)
        ]

    def __enter__(self) -> Load:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each client have the answer it waits for."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def tell(self, what: str) -> None:
        """Print what came of it; ``pytest -rP`` shows it."""
        print(f"{what}: {self.answers_count} answers by {len(self.pids)} processes, {len(self.failures)} failures")

    def go_on(self, count: int) -> None:
        """Wait for so many more answers."""
        with self._answered:
            until = self.answers_count + count + len(self.failures)
            assert self._answered.wait_for(lambda: self.answers_count + len(self.failures) >= until, TIMEOUT_S)

    def wait_for_pid(self, count: int) -> None:
        """Wait until so many processes have answered."""
        with self._answered:
            assert self._answered.wait_for(lambda: len(self.pids) >= count, TIMEOUT_S), self.pids

    def _run(self, method: str, keep: bool) -> None:
        client: http.client.HTTPConnection | None = None
        pid: str | None = None
        for number in itertools.count():
            if self._over.is_set():
                break
            if client is None:
                client = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_S)
                pid = None
            body = b"%d" % number * 100 if method == "POST" else None
            try:
                client.request(method, "/echo", body, {} if keep else {"Connection": "close"})
                response = client.getresponse()
                content = response.read()
                assert (response.status, content) == (200, body or b""), (response.status, content[:100])
                pid = response.headers["x-pid"]
            except (OSError, http.client.HTTPException, AssertionError) as error:
                with self._answered:
                    self.failures.append(Failure(f"{method} {'kept' if keep else 'single'}", repr(error), pid))
                    self._answered.notify_all()
                client.close()
                client = None
                continue
            if response.will_close or client.sock is None:
                client.close()
                client = None
            with self._answered:
                self.answers_count += 1
                self.pids.add(pid)
                self._answered.notify_all()
        if client is not None:
            client.close()

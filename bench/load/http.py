"""HTTP load: ``wrk`` where it is installed, otherwise our own generator on uvloop Protocols.

Before any load one request is sent and its response read whole. Its status and content must be the
expected ones. Its size is the size of all others: ``wrk`` counts requests and bytes, and the two must
fit together, so a response with other content of another length does not pass. Our own generator
compares size and status of each response.
"""

from __future__ import annotations

import asyncio
import json
import re
import resource
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from bench.figures import percentile
from bench.scenario import Failed

TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Request:
    """A request that is sent over and over."""

    path: str = "/"
    method: str = "GET"
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def encode(self, port: int) -> bytes:
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: 127.0.0.1:{port}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.body:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode() + self.body


@dataclass(frozen=True)
class Response:
    status: int
    body: bytes
    size_bytes: int


@dataclass(frozen=True)
class Load:
    """What came of it; latencies and the generator's own processor time in seconds."""

    requests: int
    seconds: float
    errors: int
    p50_s: float
    p99_s: float
    cpu_s: float
    explanation: str = ""


def exchange(port: int, request: Request) -> Response:
    """Send one request, return the response.

    Raises:
        Failed: no complete response comes.
    """
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as connection:
            connection.sendall(request.encode(port))
            received = b""
            while (end := _end_of_response(received)) is None:
                data = connection.recv(65536)
                if not data:
                    raise Failed(f"the connection ended after {received[:200]!r}")
                received += data
    except OSError as error:
        raise Failed(f"no response: {error}") from error
    head, _, body = received.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head.lower():
        body = b"".join(_chunks(body))
    return Response(int(head.split(b" ", 2)[1]), body, end)


def run(port: int, request: Request, size_bytes: int, connections: int, seconds: float) -> Load:
    """Send the request over and over on so many connections; each waits for its response before the next."""
    if shutil.which("wrk"):
        return _run_wrk(port, request, size_bytes, connections, seconds)
    return _run_own(port, request, size_bytes, connections, seconds)


def generator_name() -> str:
    if not shutil.which("wrk"):
        return "bench/load/http.py (wrk is not installed)"
    words = subprocess.run(["wrk", "-v"], capture_output=True, text=True).stdout.split()
    return " ".join(words[:2])


# wrk -----------------------------------------------------------------------------------------------

# No `request` or `response` function: wrk then sends bytes that it has formatted once, and never enters Lua.
_SCRIPT = """
wrk.method = {method}
wrk.headers = {{ {headers} }}
wrk.body = {body}
function done(summary, latency, requests)
  local e = summary.errors
  io.write('RESULT ', string.format(
    '{{"requests": %d, "us": %d, "bytes": %d, "p50_us": %d, "p99_us": %d, ',
    summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99)
  ), string.format('"status": %d, "socket": %d}}\\n', e.status, e.connect + e.read + e.write + e.timeout))
end
"""


def _run_wrk(port: int, request: Request, size_bytes: int, connections: int, seconds: float) -> Load:
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory, "request.lua")
        script.write_bytes(_script(request, Path(directory, "body")))
        options = ["--threads", "1", "--connections", str(connections), "--duration", f"{max(1, round(seconds))}s"]
        options += ["--timeout", f"{TIMEOUT_S:.0f}s", "--script", str(script)]
        command = ["wrk", *options, f"http://127.0.0.1:{port}{request.path}"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)  # children that have ended: not the server
        output = subprocess.run(command, capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = re.search(r"^RESULT (.*)$", output.stdout, re.MULTILINE)
    if found is None:
        raise Failed(f"wrk: {output.stderr.strip() or output.stdout.strip()}")
    result = json.loads(found.group(1))
    if not result["requests"]:
        raise Failed("no responses in time")
    # What wrk has read of responses that were under way at the end is in `bytes`, not in `requests`.
    surplus_bytes = result["bytes"] - result["requests"] * size_bytes
    wrong_sizes = 0 if 0 <= surplus_bytes <= connections * size_bytes else 1
    reasons = [f"{result[key]} {key} errors" for key in ("status", "socket") if result[key]]
    if wrong_sizes:
        reasons.append(f"{result['requests']} responses of {size_bytes} bytes do not make {result['bytes']} bytes")
    return Load(
        requests=result["requests"],
        seconds=result["us"] / 1e6,
        errors=result["status"] + result["socket"] + wrong_sizes,
        p50_s=result["p50_us"] / 1e6,
        p99_s=result["p99_us"] / 1e6,
        cpu_s=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        explanation=", ".join(reasons),
    )


def _script(request: Request, body_file: Path) -> bytes:
    body = "nil"
    if request.body:
        body_file.write_bytes(request.body)
        body = f'assert(io.open("{body_file}", "rb")):read("*a")'
    headers = ", ".join(f"[{_lua(name)}] = {_lua(value)}" for name, value in request.headers.items())
    return _SCRIPT.format(method=_lua(request.method), headers=headers, body=body).encode()


def _lua(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


# Our own ---------------------------------------------------------------------------------------------


class _Client(asyncio.Protocol):
    """One connection: request, response, request ..."""

    def __init__(self, request: bytes, size_bytes: int) -> None:
        self._request = request
        self._size_bytes = size_bytes
        self._missing_bytes = size_bytes
        self._sent_s = 0.0
        self._transport: asyncio.Transport
        self.latencies_s: list[float] = []
        self.errors = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._next()

    def _next(self) -> None:
        self._missing_bytes = self._size_bytes
        self._sent_s = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self._missing_bytes == self._size_bytes and not data.startswith(b"HTTP/1.1 2"):
            self.errors += 1
        self._missing_bytes -= len(data)
        if self._missing_bytes > 0:
            return
        if self._missing_bytes < 0:
            self.errors += 1
        self.latencies_s.append(time.perf_counter() - self._sent_s)
        self._next()

    def stop(self) -> None:
        self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._transport.is_closing():
            self.errors += 1


def _run_own(port: int, request: Request, size_bytes: int, connections: int, seconds: float) -> Load:
    import uvloop

    async def load() -> list[_Client]:
        loop = asyncio.get_running_loop()
        encoded = request.encode(port)
        clients = []
        for _ in range(connections):
            _, client = await loop.create_connection(lambda: _Client(encoded, size_bytes), "127.0.0.1", port)
            clients.append(client)
        await asyncio.sleep(seconds)
        for client in clients:
            client.stop()
        return clients

    started_s, cpu_s = time.perf_counter(), time.process_time()
    clients = uvloop.run(load())
    elapsed_s, cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_s
    latencies_s = [latency_s for client in clients for latency_s in client.latencies_s]
    if not latencies_s:
        raise Failed("no responses")
    errors = sum(client.errors for client in clients)
    return Load(
        requests=len(latencies_s),
        seconds=elapsed_s,
        errors=errors,
        p50_s=percentile(latencies_s, 50),
        p99_s=percentile(latencies_s, 99),
        cpu_s=cpu_s,
        explanation=f"{errors} wrong responses" if errors else "",
    )


# Reading one response ----------------------------------------------------------------------------------


def _end_of_response(received: bytes) -> int | None:
    """The length of the first response, as soon as it is complete."""
    head, separator, _ = received.partition(b"\r\n\r\n")
    if not separator:
        return None
    length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    body_start = len(head) + 4
    if length is not None:
        end = body_start + int(length.group(1))
        return end if len(received) >= end else None
    if b"transfer-encoding: chunked" in head.lower():
        end = received.find(b"0\r\n\r\n", body_start)
        return end + 5 if end >= 0 else None
    return body_start


def _chunks(body: bytes) -> list[bytes]:
    chunks = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        chunks.append(rest[:length])
        body = rest[length + 2 :] if length else b""
    return chunks

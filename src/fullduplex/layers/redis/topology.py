"""Which server serves a name. Sans I/O: whoever asks servers drives the generators below.

A step of discovery yields ``(host, command)`` and is sent the reply, or has the error thrown in that
asking met; so coroutines and threads share it.
"""

from __future__ import annotations

import binascii
from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from typing import Any, TypeVar

from redis.crc import key_slot
from redis.exceptions import RedisError

from fullduplex.exceptions import LayerUnavailable
from fullduplex.layers.redis.hosts import Address, Host

T = TypeVar("T")

#: Yields what to ask whom; returns what was found out.
Steps = Generator[tuple[Host, tuple[str, ...]], Any, T]

#: What asking may meet: redis-py's errors, those of sockets, and deadlines.
FAILURES = (RedisError, OSError, TimeoutError, EOFError)


class Topology(ABC):
    """Where names live. Shared by all threads and loops of a layer.

    Attributes:
        publish, subscribe, unsubscribe: the commands that servers of this kind take.
    """

    publish = "PUBLISH"
    subscribe = "SUBSCRIBE"
    unsubscribe = "UNSUBSCRIBE"

    @abstractmethod
    def host_for(self, name: bytes) -> Host | None:
        """The server of ``name``; None until :meth:`refresh` has been run."""

    @abstractmethod
    def servers(self) -> list[Host]:
        """All that are known."""

    def refresh(self) -> Steps[None]:
        """Ask the servers anew who serves what.

        Raises:
            LayerUnavailable: none of them tells.
        """
        return
        yield


class Hosts(Topology):
    """Independent servers; a name lives on one of them, by its CRC, as in channels_redis."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self._hosts = tuple(hosts)

    def host_for(self, name: bytes) -> Host:
        return self._hosts[consistent_hash(name, len(self._hosts))]

    def servers(self) -> list[Host]:
        return list(self._hosts)


class Cluster(Topology):
    """Redis Cluster with sharded pub/sub, which takes Redis 7 or Valkey.

    Source: Redis Cluster specification; SSUBSCRIBE, SPUBLISH, CLUSTER SLOTS.
    """

    publish = "SPUBLISH"
    subscribe = "SSUBSCRIBE"
    unsubscribe = "SUNSUBSCRIBE"

    def __init__(self, seeds: Sequence[Host]) -> None:
        self._seeds = tuple(seeds)
        self._nodes: dict[Address, Host] = {}
        self._slots: list[Host | None] = []

    def host_for(self, name: bytes) -> Host | None:
        return self._slots[key_slot(name)] if self._slots else None

    def servers(self) -> list[Host]:
        return list(self._nodes.values())

    def refresh(self) -> Steps[None]:
        errors: list[BaseException] = []
        for host in (*self._seeds, *self._nodes.values()):
            try:
                self._take(host, (yield host, ("CLUSTER", "SLOTS")))
                return
            except FAILURES as error:
                errors.append(error)
        raise LayerUnavailable(f"No node of the cluster tells its slots: {errors[-1]}") from errors[-1]

    def _take(self, asked: Host, reply: Any) -> None:
        """Read CLUSTER SLOTS: [first, last, [host of the master, port, ...], replicas ...] for each range."""
        slots: list[Host | None] = [None] * 16_384
        for first, last, (name, port, *_), *_ in reply:
            node = self._node(asked, (name or b"").decode(), port)
            slots[first : last + 1] = [node] * (last - first + 1)
        used = set(slots)
        self._nodes = {address: node for address, node in self._nodes.items() if node in used}
        self._slots = slots

    def _node(self, asked: Host, name: str, port: int) -> Host:
        if not name:  # "the same host that answered": it does not know its own address
            name = asked.label.rpartition(":")[0]
        node = self._nodes.get((name, port))
        if node is None:
            node = self._nodes[name, port] = self._seeds[0].at((name, port))
        return node


def find_master(host: Host) -> Steps[Host]:
    """Ask the sentinels of ``host`` for the address of the master.

    Raises:
        LayerUnavailable: none of them knows it.

    Source: "Guidelines for Redis clients with support for Redis Sentinel", steps 1 and 2.
    """
    problem = "it does not know that name"
    for sentinel in host.sentinels:
        try:
            reply = yield sentinel, ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", host.master_name)
        except FAILURES as error:
            problem = str(error)
            continue
        if reply:
            return host.at((reply[0].decode(), int(reply[1])))
    raise LayerUnavailable(f"No sentinel tells the address of {host.label}: {problem}")


def consistent_hash(value: str | bytes, ring_size: int) -> int:
    """Map a name to one of ``ring_size`` hosts, as channels_redis does, so that both find the same one."""
    if ring_size == 1:
        return 0
    data = value.encode() if isinstance(value, str) else value
    return int((binascii.crc32(data) & 0xFFF) / (4096 / ring_size))

"""What ``hosts`` says, in the forms that channels_redis knows, and redis-py's connections made from it.

::

    "redis://user:password@host:6379/0"      rediss:// for TLS, unix:///path?db=0; valkey:// and valkeys://, too
    ("host", 6379)
    {"address": "rediss://host", "ssl_ca_certs": "ca.pem"}
    {"host": "host", "port": 6379, "db": 1, "password": "...", "ssl": True}
    {"sentinels": [("host", 26379), ...], "master_name": "main", "sentinel_kwargs": {...}, "db": 0}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from redis import asyncio as aioredis
from redis import connection as sync_connections
from redis.asyncio import connection as async_connections
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from fullduplex.exceptions import ConfigurationError
from fullduplex.limits import shown, without_secrets

#: host and port
Address = tuple[str, int]

AsyncConnection = aioredis.Connection | aioredis.SSLConnection | aioredis.UnixDomainSocketConnection


class SyncConnection(Protocol):
    """What we use of redis-py's connections for threads, which have no types of their own."""

    def connect(self) -> None: ...
    def disconnect(self) -> None: ...
    def can_read(self, timeout: float) -> bool: ...
    def send_packed_command(self, command: list[bytes], check_health: bool) -> None: ...
    def send_command(self, *args: Any, check_health: bool) -> None: ...
    def read_response(self) -> Any: ...


DEFAULT_HOSTS = ("redis://localhost:6379",)

_CLASSES: dict[str, tuple[Any, Any]] = {
    "tcp": (sync_connections.Connection, async_connections.Connection),
    "tls": (sync_connections.SSLConnection, async_connections.SSLConnection),
    "unix": (sync_connections.UnixDomainSocketConnection, async_connections.UnixDomainSocketConnection),
}
_parse_url: Callable[[str], dict[str, Any]] = sync_connections.parse_url

# What redis-py's clients and pools understand, and connections do not; or what is ours to decide.
_IGNORED = frozenset({"max_connections", "timeout", "decode_responses", "health_check_interval", "protocol", "retry"})


class Host:
    """One entry of ``hosts``, or one server that a cluster or Sentinel named. Compared by identity.

    Attributes:
        label: for messages and logs, without secrets.
        sentinels: who knows the master's address; empty when this is the address itself.
        master_name: as Sentinel knows it.
    """

    __slots__ = ("_kind", "_options", "label", "master_name", "sentinels")

    def __init__(
        self, kind: str, options: Mapping[str, Any], sentinels: Sequence[Host] = (), master_name: str = ""
    ) -> None:
        self._kind = kind
        self._options = {name: value for name, value in options.items() if name not in _IGNORED}
        self.sentinels = tuple(sentinels)
        self.master_name = master_name
        self.label: str = _label(kind, options)
        if sentinels:
            self.label = f"{master_name} of {', '.join(sentinel.label for sentinel in sentinels)}"

    def at(self, address: Address) -> Host:
        """The same credentials and TLS, at another address."""
        kind = "tcp" if self._kind == "unix" else self._kind
        options = {name: value for name, value in self._options.items() if name != "path"}
        return Host(kind, {**options, "host": address[0], "port": address[1]})

    def connection(self, timeout_s: float, io_timeout_s: float) -> SyncConnection:
        """A connection for a thread, not yet open."""
        made: SyncConnection = _CLASSES[self._kind][0](
            **self._given(timeout_s), socket_timeout=io_timeout_s, retry=Retry(NoBackoff(), 0)
        )
        return made

    def async_connection(self, timeout_s: float) -> AsyncConnection:
        """A connection for the running loop, not yet open. Reads have no deadline of their own."""
        made: AsyncConnection = _CLASSES[self._kind][1](
            **self._given(timeout_s), socket_timeout=None, retry=AsyncRetry(NoBackoff(), 0)
        )
        return made

    def pool(self) -> aioredis.ConnectionPool:
        """A pool of redis-py's, for what a project keeps on this server beside the layer. It belongs to one loop."""
        if not self.sentinels:
            return aioredis.ConnectionPool(connection_class=_CLASSES[self._kind][1], **self._options)
        asked = {**self.sentinels[0]._options, "ssl": self.sentinels[0]._kind == "tls"}
        del asked["host"], asked["port"]
        addresses = [(sentinel._options["host"], sentinel._options["port"]) for sentinel in self.sentinels]
        sentinel = aioredis.Sentinel(addresses, sentinel_kwargs=asked)  # type: ignore[no-untyped-call]  # redis-py
        options = {**self._options, "ssl": self._kind == "tls"}
        return _SentinelPool(self.master_name, sentinel, **options)  # type: ignore[no-untyped-call]  # redis-py

    def _given(self, timeout_s: float) -> dict[str, Any]:
        options = {name: value for name, value in self._options.items() if name != "socket_timeout"}
        options.setdefault("socket_connect_timeout", timeout_s)
        return {**options, "decode_responses": False, "health_check_interval": 0, "protocol": 2}

    def __repr__(self) -> str:
        return f"<Host {self.label}>"


class _SentinelPool(aioredis.SentinelConnectionPool):
    """One that leaves no connection to the sentinels open."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        await super().disconnect(inuse_connections)
        for sentinel in self.sentinel_manager.sentinels:
            await sentinel.aclose()


def _label(kind: str, options: Mapping[str, Any]) -> str:
    if kind == "unix":
        return str(options.get("path"))
    return without_secrets(f"{options.get('host', 'localhost')}:{options.get('port', 6379)}")


def read_hosts(given: Any) -> list[Host]:
    """Read ``CONFIG["hosts"]``.

    Raises:
        ConfigurationError: it is no list, or an entry is none of the forms above.
    """
    if isinstance(given, (str, bytes, Mapping)):
        raise ConfigurationError(f"hosts is a list, even for a single one: [{shown(given)}].")
    return [_read_host(entry) for entry in (given or DEFAULT_HOSTS)]


def _read_host(entry: Any) -> Host:
    try:
        host = _make_host(entry)
        for one in (host, *host.sentinels):
            one.connection(1.0, 1.0)  # no I/O: it only looks at its arguments
            one.async_connection(1.0)
    except (TypeError, ValueError, KeyError, IndexError):
        # Not from that error: it may quote a part of a password which it took for a port.
        raise ConfigurationError(f"hosts: {shown(entry)} describes no Redis server: {_problem(entry)}") from None
    return host


def _problem(entry: Any) -> str:
    """What is wrong with an entry, found out without its secrets."""
    try:
        _make_host(_stripped(entry)).connection(1.0, 1.0)
    except (TypeError, ValueError, KeyError, IndexError) as error:
        return without_secrets(str(error))
    return "its user or password has characters that a URL must have percent-encoded"


def _stripped(entry: Any) -> Any:
    """An entry whose URL names neither user nor password."""
    if isinstance(entry, str):
        scheme, mark, rest = entry.partition("//")
        return scheme + mark + rest.rpartition("@")[2]
    if isinstance(entry, Mapping) and "address" in entry:
        return {**entry, "address": _stripped(entry["address"])}
    return entry


def _make_host(entry: Any) -> Host:
    if isinstance(entry, str):
        return _from_url(entry, {})
    if isinstance(entry, Mapping):
        return _from_dict(dict(entry))
    host, port = entry
    return Host("tcp", {"host": host, "port": int(port)})


def _from_dict(options: dict[str, Any]) -> Host:
    if "address" in options:
        address = options.pop("address")
        if isinstance(address, str):
            return _from_url(address, options)
        options["host"], options["port"] = address
    if "sentinels" in options:
        sentinel_options = options.pop("sentinel_kwargs", None) or {}
        sentinels = [
            _plain({**sentinel_options, "host": host, "port": port}) for host, port in options.pop("sentinels")
        ]
        if not sentinels:
            raise ValueError("sentinels is empty")
        master_name = options.pop("master_name")
        return Host(_kind(options), options, sentinels, master_name)
    return _plain(options)


def _plain(options: dict[str, Any]) -> Host:
    kind = _kind(options)
    if "unix_socket_path" in options:
        options["path"] = options.pop("unix_socket_path")
    return Host(kind, options)


def _kind(options: dict[str, Any]) -> str:
    """Which connection ``options`` ask for; takes out what only says that."""
    tls = bool(options.pop("ssl", False))
    cls = options.pop("connection_class", None)
    if cls is not None:
        return next(kind for kind in ("tls", "unix", "tcp") if issubclass(cls, _CLASSES[kind]))  # TLS is a TCP, too
    if "path" in options or "unix_socket_path" in options:
        return "unix"
    return "tls" if tls else "tcp"


def _from_url(url: str, options: dict[str, Any]) -> Host:
    if url.startswith("valkey"):
        url = "redis" + url.removeprefix("valkey")
    return _plain({**_parse_url(url), **options})

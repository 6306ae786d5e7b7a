"""What the configuration changes in every scope: the client behind trusted proxies, ids, the root path."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fullduplex.asgi import Scope
from fullduplex.exceptions import ConfigurationError
from fullduplex.gateway.forwarded import Forwarded, TrustedPeers
from fullduplex.gateway.request_id import RequestIds
from fullduplex.server.config import ServerConfig

Amend = Callable[[Scope], None]


def make_amend(config: ServerConfig) -> Amend | None:
    """Put together what must be done to each scope; None where there is nothing.

    Raises:
        ConfigurationError: the options make no sense together.
    """
    proxy = config.proxy
    peers = TrustedPeers(proxy.trusted)
    if proxy.protocol and not proxy.trusted:
        raise ConfigurationError("--proxy-protocol needs --forwarded-allow-ips: which proxies may use it.")
    forwarded = Forwarded(peers, proxy.fields)
    steps: list[Amend] = []
    if config.request_id:  # before the peer is replaced by the client
        steps.append(RequestIds(peers).apply)
    if proxy.headers and proxy.trusted:
        steps.append(forwarded.apply)
    if config.root_path.strip("/"):
        steps.append(_root_path(config.root_path.rstrip("/")))
    return _all(steps)


def _all(steps: Sequence[Amend]) -> Amend | None:
    if len(steps) < 2:
        return steps[0] if steps else None

    def amend(scope: Scope) -> None:
        for step in steps:
            step(scope)

    return amend


def _root_path(root_path: str) -> Amend:
    """ASGI: ``path`` and ``raw_path`` include ``root_path``."""
    if not root_path.isascii() or not root_path.startswith("/"):
        raise ConfigurationError(f"--root-path {root_path}: a path begins with a slash, and is ASCII.")
    raw_root_path = root_path.encode()

    def amend(scope: Scope) -> None:
        scope["root_path"] = root_path
        if scope["path"].startswith("/"):  # not the asterisk of OPTIONS
            scope["path"] = root_path + scope["path"]
            scope["raw_path"] = raw_root_path + scope["raw_path"]

    return amend

"""Where a service listens."""

from __future__ import annotations

import os

from fullduplex.net import listeners
from fullduplex.server.config import ServerConfig


def addresses_of(config: ServerConfig) -> list[str]:
    """Where to listen, each as ``open_listeners`` takes it; what systemd opened is taken over."""
    addresses = [f"fd://{fd}" for fd in listeners.systemd_descriptors(os.environ)]
    addresses += config.bind
    if config.uds is not None:
        addresses.append(f"unix:{config.uds}")
    if config.fd is not None:
        addresses.append(f"fd://{config.fd}")
    return addresses or [config.host]

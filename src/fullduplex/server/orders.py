"""What a supervisor and its processes agree on."""

from __future__ import annotations

import base64
import pickle
import signal

from fullduplex.server.config import ServerConfig

BEAT_INTERVAL_S = 0.2  # how often a worker shows that its loop runs

# Has a worker write the stacks of all threads to standard error. No application uses one from this range by chance.
DUMP_SIGNAL = signal.SIGRTMIN + 7 if hasattr(signal, "SIGRTMIN") else signal.SIGUSR1


def pack(config: ServerConfig) -> str:
    """A configuration for :func:`unpack`, in a child of this process."""
    return base64.b64encode(pickle.dumps(config)).decode()


def unpack(text: str) -> ServerConfig:
    config: ServerConfig = pickle.loads(base64.b64decode(text))
    return config

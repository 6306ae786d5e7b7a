"""Layers of which the tests say what becomes of a message."""

from __future__ import annotations

import json
import os
import threading
from typing import Any, ClassVar

from fullduplex.layers.base import BaseLayer, Deliver, Gap, Message
from fullduplex.layers.history import Kept


class Recording(BaseLayer):
    """Notes what is published.

    Attributes:
        published: group and data, in order.
        errors: by group, what publishing to it raises.
    """

    published: ClassVar[list[tuple[str, Message]]] = []
    errors: ClassVar[dict[str, Exception]] = {}
    _lock = threading.Lock()

    @classmethod
    def reset(cls) -> None:
        cls.published.clear()
        cls.errors.clear()

    def publish(self, group: str, message: Message) -> None:
        if group in self.errors:
            raise self.errors[group]
        with self._lock:
            self.published.append((group, message))

    async def apublish(self, group: str, message: Message) -> None:
        self.publish(group, message)

    def publish_kept(self, group: str, kept: Kept) -> None:
        """Nobody subscribes."""

    async def subscribe(self, group: str, deliver: Deliver, on_gap: Gap | None = None) -> None:
        raise NotImplementedError

    async def unsubscribe(self, group: str) -> None:
        raise NotImplementedError


class Filed(Recording):
    """Writes what is published to a file, which outlives the process: a line each, written as one.

    Args:
        path: of the file.
    """

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def publish(self, group: str, message: Message) -> None:
        os.write(self._file, json.dumps([group, message]).encode() + b"\n")


def read(path: Any) -> list[tuple[str, str]]:
    """What processes with :class:`Filed` have published."""
    try:
        with open(path) as file:
            return [tuple(json.loads(line)) for line in file]
    except FileNotFoundError:
        return []

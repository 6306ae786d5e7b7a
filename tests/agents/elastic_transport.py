"""In a module of its own: it may only be imported when Django's settings are there."""

from __future__ import annotations

from typing import Any

from elasticapm.transport.base import Transport

from tests.agents.with_elastic import keep


class Kept(Transport):
    """Sends nothing."""

    def start_thread(self, pid: int | None = None) -> None:
        pass

    def queue(self, event_type: str, data: dict[str, Any], flush: bool = False) -> None:
        keep(event_type, data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

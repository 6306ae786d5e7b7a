"""Is the load generator fast enough? Asked by itself, against a loop that does next to nothing."""

from __future__ import annotations

from typing import ClassVar

from bench import peers
from bench.scenarios.websocket import Echo
from bench.server import Peer


class EchoGenerator(Echo):
    name = "generator"
    title = "The WebSocket load generator itself"
    about = (
        "100 clients send 32 messages per write to a loop that answers with prepared frames; every echo is compared."
    )
    goals: ClassVar = {}
    batch = 32

    def peers(self) -> list[Peer]:
        return [peers.floor("canned", "floor: uvloop, prepared answers")]

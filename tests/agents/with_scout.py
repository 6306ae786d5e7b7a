"""scout-apm, without its core agent: what it would be told is kept."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from tests.agents.agent import Record

SETTINGS: dict[str, object] = {
    "SCOUT_MONITOR": True,
    "SCOUT_NAME": "site",
    "SCOUT_KEY": "0",
    "SCOUT_CORE_AGENT_LAUNCH": False,
    "SCOUT_CORE_AGENT_DOWNLOAD": False,
    "SCOUT_SHUTDOWN_TIMEOUT_SECONDS": 0.0,
    "SCOUT_ERRORS_ENABLED": True,
    "SCOUT_COLLECT_REMOTE_IP": False,
    "SCOUT_URI_REPORTING": "full_path",
}
APPS = ["scout_apm.django"]
FIRST: list[str] = []
LAST: list[str] = []

_told: list[Any] = []


def install() -> None:
    from scout_apm.core.agent.socket import CoreAgentSocketThread
    from scout_apm.core.error_service import ErrorServiceThread

    CoreAgentSocketThread.send = lambda command: _told.append(command)
    ErrorServiceThread.send = lambda error: _told.append(error)


def span(name: str) -> AbstractContextManager[object]:
    from scout_apm.api import instrument

    return instrument(name)


def take_records() -> list[Record]:
    told = [_told.pop(0) for _ in range(len(_told))]
    records = []
    names: dict[str, str] = {}
    for command in told:
        if not isinstance(command, dict) and type(command).__name__ == "BatchCommand":
            record = _request(command)
            names[record.pop("id")] = record["tags"].get("path", "?")
            records.append(record)
    for error in told:
        if isinstance(error, dict):
            kept = ("exception_class", "message", "request_uri", "request_params", "request_components")
            records.append(
                {"error": {key: error.get(key) for key in kept}, "of": names.get(error["request_id"], "nobody")}
            )
    return records


def _request(batch: Any) -> Record:
    """One request: its tags, and for each span those around it."""
    tags: dict[str, Any] = {}
    around: dict[Any, list[str]] = {None: []}
    for command in batch.commands:
        kind = type(command).__name__
        if kind == "StartRequest":
            of = command.request_id
        elif kind == "TagRequest" and command.tag not in ("mem_delta", "scout.job_queue_time_ns"):
            tags[command.tag] = command.value
    spans = [command for command in batch.commands if type(command).__name__ == "StartSpan"]
    left = list(spans)
    while left:
        ready = [span for span in left if span.parent in around]
        if not ready:
            around[None].append("a span without its parent")
            break
        for span in ready:
            around[span.span_id] = [*around[span.parent], span.operation]
            left.remove(span)
    return {"id": of, "tags": tags, "spans": sorted(around[span.span_id] for span in spans if span.span_id in around)}

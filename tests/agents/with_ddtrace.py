"""ddtrace, as ``ddtrace-run`` starts it; a filter takes the traces before they are written."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from typing import Any

from tests.agents.agent import Record

SETTINGS: dict[str, object] = {}
APPS: list[str] = []
FIRST: list[str] = []
LAST: list[str] = []

_traces: list[Any] = []
_lock = threading.Lock()


class Taken:
    """A filter of traces: what it returns is written, and it returns nothing."""

    def process_trace(self, trace: list[Any]) -> None:
        with _lock:
            _traces.append(trace)


def install() -> None:
    import ddtrace.auto  # noqa: F401
    from ddtrace.trace import tracer

    tracer.configure(trace_processors=[Taken()])  # type: ignore[list-item]


def span(name: str) -> AbstractContextManager[object]:
    from ddtrace.trace import tracer

    return tracer.trace(name)


def take_records() -> list[Record]:
    with _lock:
        spans = [span for trace in _traces for span in trace]
        _traces.clear()
    own = {span.trace_id for span in spans if not span.parent_id}  # nobody's but this process's
    names = {span.span_id: f"{span.name} {span.resource}" for span in spans}
    return [
        {
            "trace": None if span.trace_id in own else f"{span.trace_id:032x}",
            "parent": names.get(span.parent_id, f"{span.parent_id:016x}") if span.parent_id else None,
            "name": span.name,
            "resource": span.resource,
            "service": span.service,
            "type": span.span_type,
            "error": span.error,
            "meta": {key: value for key, value in sorted(span.get_tags().items()) if _is_kept(key)},
        }
        for span in spans
    ]


def _is_kept(key: str) -> bool:
    """Not what tells servers and tracebacks from each other."""
    return not key.startswith(("_dd.", "asgi.")) and key not in ("error.stack", "runtime-id", "language")

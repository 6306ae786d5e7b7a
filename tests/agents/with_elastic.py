"""elastic-apm, with a transport that keeps what it is given."""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager
from typing import Any

from tests.agents.agent import Record

SETTINGS: dict[str, object] = {
    "ELASTIC_APM": {
        "SERVICE_NAME": "site",
        "TRANSPORT_CLASS": "tests.agents.elastic_transport.Kept",
        "CENTRAL_CONFIG": False,
        "CLOUD_PROVIDER": "none",
        "METRICS_INTERVAL": "0s",
        "CAPTURE_BODY": "all",
        "DJANGO_TRANSACTION_NAME_FROM_ROUTE": True,
        "SERVER_URL": "http://127.0.0.1:9",
    },
}
APPS = ["elasticapm.contrib.django"]
FIRST: list[str] = []
LAST: list[str] = []

_events: list[tuple[str, dict[str, Any]]] = []
_lock = threading.Lock()


def keep(kind: str, data: dict[str, Any]) -> None:
    with _lock:
        _events.append((kind, data))


def install() -> None:
    """Send the signal as Django 4.2 did, where Django's own handler sends it.

    Since 5.0 that happens in a task of its own, and the transaction that a receiver begins there, in a context
    variable, is not found by the middleware: elastic-apm then records errors, and no transactions at all.
    """
    if os.environ["HANDLER"] == "fullduplex" and os.environ["FAST"] == "yes":
        return
    from asgiref.sync import sync_to_async
    from django.core.signals import request_started
    from django.dispatch import Signal

    async def asend(sender: object, **named: object) -> list[tuple[object, object]]:
        return await sync_to_async(Signal.send)(request_started, sender, **named)

    request_started.asend = asend  # type: ignore[method-assign]


def span(name: str) -> AbstractContextManager[object]:
    import elasticapm

    return elasticapm.capture_span(name)


def take_records() -> list[Record]:
    with _lock:
        events = list(_events)
        _events.clear()
    names = {data["id"]: f"{kind} {data.get('name')}" for kind, data in events if "id" in data}
    for kind, data in events:
        if kind == "transaction" and "request" in data["context"]:
            # Of a trace of its own: it looks for the caller's in WSGI's fields only.
            names[data["trace_id"]] = data["context"]["request"]["url"]["full"]
    return [
        {"event": kind, **{key: _named(key, value, names) for key, value in data.items() if key not in _IGNORED}}
        for kind, data in events
        if kind in ("transaction", "span", "error")
    ]


_OF_CONNECTION = ("meet", "sec-websocket-key")
_IGNORED = ("id", "timestamp", "duration", "stacktrace", "span_count", "start", "culprit", "sync")


def _named(key: str, value: Any, names: dict[str, str]) -> Any:
    if key in ("parent_id", "transaction_id", "trace_id"):
        return names.get(value, value)
    if key == "exception":
        return {"type": value["type"], "message": value["message"], "handled": value["handled"]}
    if key == "context" and "request" in value:
        asked = {part: what for part, what in value["request"].items() if part not in ("env", "socket")}
        asked["headers"] = {name: what for name, what in asked["headers"].items() if name not in _OF_CONNECTION}
        return {**value, "request": asked}
    return value

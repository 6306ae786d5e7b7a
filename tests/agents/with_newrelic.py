"""New Relic's agent in its developer mode, as its own tests run it: it answers itself in the place of the collector."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from typing import Any

from tests.agents.agent import Record

SETTINGS: dict[str, object] = {}
APPS: list[str] = []
FIRST: list[str] = []
LAST: list[str] = []

_transactions: list[Any] = []
_lock = threading.Lock()


def install() -> None:
    import newrelic.agent
    from newrelic.common import system_info
    from newrelic.core.stats_engine import StatsEngine

    newrelic.agent.initialize()
    system_info._nr_cached_ip_address = ["127.0.0.1"]  # else found with a socket that is connected to 1.1.1.1
    utilization = newrelic.agent.global_settings().utilization
    for name in vars(utilization):
        if name.startswith("detect_"):  # by asking the cloud that this might be: there is none, and no variable for it
            setattr(utilization, name, False)
    newrelic.agent.register_application(timeout=10.0)
    record = StatsEngine.record_transaction

    def record_transaction(engine: Any, transaction: Any) -> None:
        with _lock:
            _transactions.append(transaction)
        record(engine, transaction)

    StatsEngine.record_transaction = record_transaction


def span(name: str) -> AbstractContextManager[object]:
    from newrelic.agent import FunctionTrace

    return FunctionTrace(name)


# The page of an error is as long as the times that the agent writes into it.
_VARYING = ("response.headers.contentLength", "thread.concurrency")


def take_records() -> list[Record]:
    with _lock:
        transactions = list(_transactions)
        _transactions.clear()
    return [
        {
            "trace": transaction.trace_id,
            "parent": transaction.parent_span,
            "name": transaction.path,
            "uri": transaction.request_uri,
            "errors": [[error.type, error.message] for error in transaction.errors],
            "attributes": {
                attribute.name: attribute.value
                for attribute in [*transaction.agent_attributes, *transaction.user_attributes]
                if attribute.name not in _VARYING
            },
            "spans": _tree(transaction.root),
        }
        for transaction in transactions
        if transaction.request_uri != "/records/"
    ]


def _tree(node: Any) -> list[Any]:
    """The name of a node and those of its children, without what is about waiting for the loop."""
    children = [_tree(child) for child in node.children if type(child).__name__ != "LoopNode"]
    return [node.name, *children]

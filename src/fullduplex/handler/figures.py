"""Figures of this process for a server that collects them: ``fullduplex.metrics`` in the lifespan state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fullduplex.realtime.hub import get_hub
from fullduplex.realtime.outbox import totals
from fullduplex.threads.connections import connection_figures
from fullduplex.threads.stats import thread_stats

STATE = "fullduplex.metrics"


def offer_figures(state: dict[str, Any]) -> None:
    """Let a server that asks for figures have ours."""
    sources = state.get(STATE)
    if isinstance(sources, list) and figures not in sources:
        sources.append(figures)


def figures() -> Iterator[tuple[str, str, str, float]]:
    """Name, kind, text and value of each; on the loop that serves."""
    threads, hub, database = thread_stats(), get_hub(), connection_figures()
    groups = hub.groups
    for name, kind, text, value in (
        ("groups", "gauge", "Groups with members in this process.", len(groups)),
        ("group_members", "gauge", "Memberships of open sockets.", sum(map(hub.member_count, groups))),
        ("deliveries", "counter", "Messages of groups, for each member once.", totals.delivered),
        ("drops", "counter", "Messages of groups that a member did not get.", totals.dropped),
        ("slow_sockets_closed", "counter", "Sockets closed for being too slow, or after a gap.", totals.disconnected),
        ("gaps", "counter", "Memberships that may have missed messages.", totals.gaps),
        ("threads", "gauge", "Threads for sync code.", threads.thread_count),
        ("threads_busy", "gauge", "Threads that run sync code.", threads.busy_count),
        ("threads_resting", "gauge", "Threads that wait for their request's next call.", threads.resting_count),
        ("thread_waiting", "gauge", "Requests and sockets that wait for a thread.", threads.waiting_count),
        ("thread_waits", "counter", "Waits for a thread that are over.", threads.wait_count),
        ("thread_wait_seconds", "counter", "What they took, together.", threads.wait_total_s),
        ("thread_waits_exhausted", "counter", "Of them, those that ended without one.", threads.exhausted_count),
        ("database_connections", "gauge", "Open connections to databases.", database.open_count),
        ("database_connections_opened", "counter", "Connections to databases that were opened.", database.opened_count),
    ):
        yield f"fullduplex_{name}", kind, text, value

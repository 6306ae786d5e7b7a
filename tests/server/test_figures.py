"""Figures add up over workers, and never become less by the death of one."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fullduplex.gateway.gateway import Gateway
from fullduplex.limits import ConnectionLimits, WebSocketLimits
from fullduplex.net.seats import Seats
from fullduplex.server.books import Books
from fullduplex.server.children import Child
from fullduplex.server.counting import MOST_COUNT, CountingAccessLog, WorkerFigures
from fullduplex.server.exposition import expose
from fullduplex.server.figures import Family, Histogram, counter, gauge, histogram, to_json
from fullduplex.server.overview import State
from tests.gateway.wired import ok

SCOPE: dict[str, Any] = {"client": None}


def child(slot: int) -> Child:
    process: Any = SimpleNamespace(pid=1)
    made = Child(process, slot, 1, 0.0)
    made.state = State.READY
    return made


def text_of(books: Books, *children: Child, now_s: float = 1.0) -> str:
    text = expose(books.overview(children, False, now_s), now_s).decode()
    assert [*text_string_to_metric_families(text)], "whoever reads the format can read it"
    return text


def say(books: Books, one: Child, *families: Family) -> None:
    books.take(one, json.loads(json.dumps(to_json(families))), 0.5)


def test_counters_outlive_their_worker_and_gauges_do_not() -> None:
    books, first, second, other = Books(), child(0), child(0), child(1)
    seconds = Histogram()
    seconds.add(0.3)
    say(books, first, counter("asked", "", 5), gauge("open", "", 3), histogram("took", "", seconds))
    say(books, other, counter("asked", "", 1), gauge("open", "", 2))
    books.bury(first)
    say(books, second, counter("asked", "", 2), gauge("open", "", 1), histogram("took", "", seconds))
    text = text_of(books, second, other)
    for line in (
        'asked_total{worker="1"} 7.0',
        'asked_total{worker="2"} 1.0',
        'open{worker="1"} 1.0',
        'open{worker="2"} 2.0',
        'took_bucket{le="0.25",worker="1"} 0.0',
        'took_bucket{le="0.5",worker="1"} 2.0',
        'took_count{worker="1"} 2.0',
        'took_sum{worker="1"} 0.6',
    ):
        assert f"{line}\n" in text
    books.bury(second)
    assert 'asked_total{worker="1"} 7.0\n' in text_of(books, other)


def test_two_workers_of_a_slot_while_one_takes_over_are_one_sample() -> None:
    books, old, new = Books(), child(0), child(0)
    say(books, old, gauge("open", "", 3), Family("lag", "maximum", "", {(): [2.0]}))
    say(books, new, gauge("open", "", 4), Family("lag", "maximum", "", {(): [1.0]}))
    text = text_of(books, old, new)
    assert 'open{worker="1"} 7.0\n' in text
    assert 'lag{worker="1"} 2.0\n' in text


def test_a_name_that_means_something_else_in_new_code_breaks_nothing() -> None:
    books, old, new = Books(), child(0), child(1)
    say(books, old, counter("jobs", "", 3))
    say(books, new, gauge("jobs", "", 4))
    assert 'jobs_total{worker="1"} 3.0\n' in text_of(books, old, new)


def test_a_worker_whose_loop_does_not_run_is_told_with_the_age_of_its_figures() -> None:
    books, one = Books(), child(0)
    say(books, one, gauge("open", "", 3))
    one.beat_s = 0.5
    text = text_of(books, one, now_s=10.0)
    assert 'fullduplex_worker_blocked_seconds{worker="1"} 9.5\n' in text
    assert 'fullduplex_worker_figures_age_seconds{worker="1"} 9.5\n' in text
    assert 'open{worker="1"} 3.0\n' in text
    one.beat_s = 9.9
    assert 'fullduplex_worker_blocked_seconds{worker="1"} 0.0\n' in text_of(books, one, now_s=10.0)


def test_why_workers_were_replaced() -> None:
    books = Books()
    books.restarted(1, "died")
    books.restarted(1, "died")
    books.reloaded("failed")
    text = text_of(books)
    assert 'fullduplex_worker_restarts_total{reason="died",worker="2"} 2.0\n' in text
    assert 'fullduplex_reloads_total{outcome="failed"} 1.0\n' in text


def figures(*sources: Any, log: CountingAccessLog | None = None) -> dict[str, Family]:
    gateway = Gateway(ok(), None, WebSocketLimits(), ConnectionLimits())
    taken = WorkerFigures(log or CountingAccessLog(None), gateway, Seats(10), sources).take()
    return {family.name: family for family in taken}


def test_what_an_access_log_is_told_is_counted_and_passed_on() -> None:
    told: list[tuple[Any, ...]] = []
    inner: Any = SimpleNamespace(
        http=lambda *args: told.append(args),
        http_refuse=lambda *args: told.append(args),
        websocket_accept=lambda *args: told.append(args),
        websocket_handshake=lambda *args: told.append(args),
        websocket_refuse=lambda *args: told.append(args),
        websocket_close=lambda *args: told.append(args),
    )
    log = CountingAccessLog(inner)
    log.http(SCOPE, 200, 3, 0.02)
    log.http(SCOPE, 200, 3, 20.0)
    log.http(SCOPE, 404, 3, 0.02)
    log.http_refuse(SCOPE, 408, "too slow")
    for _ in range(2):
        log.websocket_handshake(SCOPE)
        log.websocket_accept(SCOPE)
    log.websocket_refuse(SCOPE, 403)
    log.websocket_close(SCOPE, 1000, "", "client", 1.0)
    assert len(told) == 10
    found = figures(log=log)
    assert found["fullduplex_requests"].samples == {(("status", "200"),): [2], (("status", "404"),): [1]}
    assert found["fullduplex_refusals"].samples == {(("status", "408"),): [1]}
    assert found["fullduplex_websockets"].samples == {(): [1]}
    assert found["fullduplex_websockets_closed"].samples == {(("by", "client"),): [1]}
    assert sum(found["fullduplex_request_duration_seconds"].samples[()][:-1]) == 3


def test_without_access_lines_a_refusal_is_still_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fullduplex.server")
    CountingAccessLog(None).http_refuse(SCOPE, 400, "no request at all")
    assert [record.getMessage() for record in caplog.records] == ["Refused a request from -: 400 no request at all"]


def test_an_application_adds_its_own_within_a_bound(caplog: pytest.LogCaptureFixture) -> None:
    found = figures(lambda: [("jobs_waiting", "gauge", "Jobs.", 4), ("jobs", "counter", "Jobs.", 9)])
    assert found["jobs_waiting"].samples == {(): [4.0]}
    assert found["jobs"].grows
    assert not caplog.records
    assert len(figures(lambda: ((f"a{number}", "gauge", "", 1) for number in range(10_000)))) == MOST_COUNT


@pytest.mark.parametrize(
    "wrong",
    [[("a b", "gauge", "", 1)], [("a", "histogram", "", 1)], [("fullduplex_connections", "gauge", "", 1)], [3], None],
)
def test_what_an_application_gets_wrong_is_told_and_costs_nobody_else_anything(
    wrong: Any, caplog: pytest.LogCaptureFixture
) -> None:
    found = figures(lambda: wrong, lambda: [("jobs", "counter", "", 9)])
    assert "fullduplex_connections" in found
    assert "jobs" in found
    assert "Figures of the application cannot be taken" in caplog.text
